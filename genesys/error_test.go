package genesys_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// What support asks for is in the log, and in no body, in whatever format.
func TestContextIDIsLoggedAndNeverSent(t *testing.T) {
	fake := start(t)
	tokens := tokensOf(t, fake)
	formats := []string{"application/problem+json", "application/problem+xml", "text/plain", "text/html"}
	for name, f := range map[string]genesystest.Fault{
		"failed": genesystest.Status(500), "refused": genesystest.Status(403), "throttled": genesystest.Throttle(0),
	} {
		for _, format := range formats {
			t.Run(name+"/"+format, func(t *testing.T) {
				d := depend(t, genesys.Cloud, guard.DependencyConfig{MinCalls: 100}, tokens)
				fake.Cloud.Inject(f)
				var found *genesys.Error
				h := d.guard.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
					out, err := http.NewRequestWithContext(r.Context(), http.MethodGet, fake.Cloud.URL+"/api/v2/users", nil)
					if err != nil {
						return err
					}
					resp, err := d.client.Do(out)
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					err = genesys.Cloud.CheckResponse(d.Dependency, resp)
					assert.ErrorAs(t, err, &found)
					return err
				})
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "/agents", nil)
				r.Header.Set("Accept", format)
				h.ServeHTTP(w, r)
				require.Equal(t, http.StatusBadGateway, w.Code)
				require.Contains(t, w.Header().Get("Content-Type"), format)
				require.NotEmpty(t, found.ContextID)
				require.Contains(t, d.log.String(), found.ContextID)
				for _, secret := range []string{found.ContextID, found.Code, found.Message, "127.0.0.1"} {
					require.NotContains(t, w.Body.String(), secret)
					require.NotContains(t, w.Header(), secret)
				}
			})
		}
	}
}

// The same in a proxy, where nobody writes a handler.
func TestCheckResponseInAReverseProxy(t *testing.T) {
	fake := start(t)
	d := depend(t, genesys.GWS, guard.DependencyConfig{MinCalls: 100}, nil)
	to, err := url.Parse(fake.GWS.URL)
	require.NoError(t, err)
	h := d.guard.Handler(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.SetBasicAuth(genesystest.Username, genesystest.Password)
		},
		Transport:      d.client.Transport,
		ModifyResponse: func(resp *http.Response) error { return genesys.GWS.CheckResponse(d.Dependency, resp) },
		ErrorHandler:   d.guard.WriteError,
	})
	call := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	w := call("/api/v2/users")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "Ada Marsh")
	fake.GWS.Inject(genesystest.Failure(4)) // with 200
	w = call("/api/v2/users")
	require.Equal(t, http.StatusBadGateway, w.Code)
	require.NotContains(t, w.Body.String(), "failed by order")
	require.Contains(t, d.log.String(), "failed by order")
	fake.GWS.Inject(genesystest.Fault{})
	w = call("/api/v2/users/nobody")
	require.Equal(t, http.StatusBadGateway, w.Code, "what was refused is not a success, either")
}

func TestErrorFields(t *testing.T) {
	for _, test := range []struct {
		product genesys.Product
		status  int
		body    string
		want    genesys.Error
		says    string
	}{
		{
			genesys.Cloud, 429, `{"message":"Rate limit","code":"too.many.requests.retry.after","status":429,"contextId":"c-1","details":[],"errors":[]}`,
			genesys.Error{Product: genesys.Cloud, Outcome: answered, Status: 429, Code: "too.many.requests.retry.after", Message: "Rate limit", ContextID: "c-1"},
			`genesys: Cloud answered 429, code "too.many.requests.retry.after", message "Rate limit", contextId "c-1": `,
		},
		{
			genesys.GWS, 500, `{"statusCode":4,"statusMessage":"Cassandra\nis gone","code":7}`,
			genesys.Error{Product: genesys.GWS, Outcome: failed, Status: 500, Code: "4", Message: "Cassandra\nis gone", ContextID: "h-1"},
			`message "Cassandra\nis gone"`,
		},
		{
			genesys.GMS, 200, `{"statusCode":1}`,
			genesys.Error{Product: genesys.GMS, Outcome: failed, Status: 200, Code: "1", ContextID: "h-1"},
			`genesys: GMS answered 200, code "1"`,
		},
		{
			genesys.UCS, 503, `{"message":"maintenance","exception":"com.genesyslab.gsg.X"}`,
			genesys.Error{Product: genesys.UCS, Outcome: failed, Status: 503, Code: "com.genesyslab.gsg.X", Message: "maintenance", ContextID: "h-1"},
			`code "com.genesyslab.gsg.X"`,
		},
		{
			genesys.GMS, 500, `{"code":500,"message":"m","corrId":"u-1"}`, // the callback service
			genesys.Error{Product: genesys.GMS, Outcome: failed, Status: 500, Code: "500", Message: "m", ContextID: "u-1"}, "",
		},
		{
			genesys.GWE, 502, `<html>bad gateway</html>`,
			genesys.Error{Product: genesys.GWE, Outcome: failed, Status: 502, ContextID: "h-1"},
			`genesys: GWE answered 502, contextId "h-1": `,
		},
		{
			genesys.Cloud, 500, `{"message":"` + strings.Repeat("é", 1000) + `","code":"` + strings.Repeat("c", 1000) + `","contextId":["x"]}`,
			genesys.Error{Product: genesys.Cloud, Outcome: failed, Status: 500, Code: strings.Repeat("c", 128), Message: strings.Repeat("é", 128), ContextID: "h-1"},
			"",
		},
		{
			genesys.Cloud, 500, `{"message":"` + strings.Repeat("x", 255) + `é"}`,
			genesys.Error{Product: genesys.Cloud, Outcome: failed, Status: 500, Message: strings.Repeat("x", 255), ContextID: "h-1"},
			"",
		},
	} {
		err := test.product.CheckResponse(nil, answer(test.status, test.body, "ININ-Correlation-Id", "h-1"))
		var e *genesys.Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.Error(), test.says)
		got := *e
		require.Equal(t, test.want.Message, got.Message)
		require.Equal(t, []any{test.want.Product, test.want.Outcome, test.want.Status, test.want.Code, test.want.ContextID},
			[]any{got.Product, got.Outcome, got.Status, got.Code, got.ContextID}, test.body)
		var own *guard.Error
		require.ErrorAs(t, err, &own, "without a dependency it is a 502 all the same")
		require.Equal(t, http.StatusBadGateway, own.Status)
	}
	var none *genesys.Error
	require.NotEmpty(t, none.Error())
	require.NoError(t, none.Unwrap())
	require.False(t, none.NotFound())
	require.False(t, none.Invalid())
	long := genesys.Cloud.CheckResponse(nil, answer(500, "", "ININ-Correlation-Id", strings.Repeat("x", 1<<20)))
	require.Less(t, len(long.Error()), 1<<10)
}

func TestNotFoundAndInvalid(t *testing.T) {
	for _, test := range []struct {
		product           genesys.Product
		status            int
		body              string
		notFound, invalid bool
	}{
		{genesys.Cloud, 404, "", true, false},
		{genesys.Cloud, 400, "", false, true},
		{genesys.Cloud, 422, "", false, true},
		{genesys.Cloud, 403, "", false, false},
		{genesys.Cloud, 500, "", false, false},
		{genesys.GWS, 404, `{"statusCode":6}`, true, false},
		{genesys.GWS, 200, `{"statusCode":"6"}`, true, false},
		{genesys.GWS, 500, `{"statusCode":1}`, false, true},
		{genesys.GWS, 200, `{"statusCode":2}`, false, true},
		{genesys.GWS, 200, `{"statusCode":10}`, false, true},
		{genesys.GWS, 400, `{"statusCode":3}`, false, false},
		{genesys.GWS, 400, ``, false, true},
		{genesys.GWS, 404, `{"statusCode":4}`, false, false},
		{genesys.GMS, 200, `{"statusCode":2}`, false, false},
	} {
		var e *genesys.Error
		require.ErrorAs(t, test.product.CheckResponse(nil, answer(test.status, test.body)), &e)
		require.Equal(t, test.notFound, e.NotFound(), "%+v", test)
		require.Equal(t, test.invalid, e.Invalid(), "%+v", test)
	}
}

// CheckResponse goes by what the transport went by, carries the time to wait, and
// leaves the body whole.
func TestCheckResponseOfADependency(t *testing.T) {
	big := `{"statusCode":1,"x":"` + strings.Repeat("x", 200<<10) + `"}`
	for _, test := range []struct {
		name    string
		config  guard.DependencyConfig
		resp    func() *http.Response
		err     bool
		is      error
		waits   time.Duration
		timeout bool
	}{
		{"success", guard.DependencyConfig{}, func() *http.Response { return answer(200, `{"statusCode":0}`) }, false, nil, 0, false},
		{"no body", guard.DependencyConfig{}, func() *http.Response { return answer(204, "") }, false, nil, 0, false},
		{"failure", guard.DependencyConfig{}, func() *http.Response { return answer(200, big) }, true, nil, -1, false},
		{"failure, and http.Client's own Timeout", guard.DependencyConfig{}, func() *http.Response { return answer(200, big) }, true, nil, -1, true},
		{"refusal", guard.DependencyConfig{}, func() *http.Response { return answer(200, `{"statusCode":2}`) }, true, nil, -1, false},
		{"throttled", guard.DependencyConfig{}, func() *http.Response { return answer(429, "{}", "Retry-After", "9") }, true, guard.ErrThrottled, 9 * time.Second, false},
		{"busy", guard.DependencyConfig{}, func() *http.Response { return answer(503, "{}", "Retry-After", "9999") }, true, nil, time.Minute, false},
		{"event stream", guard.DependencyConfig{}, func() *http.Response { return answer(200, `{"statusCode":1}`, "Content-Type", "text/event-stream") }, false, nil, 0, false},
		{
			"their own word",
			guard.DependencyConfig{ClassifyResponse: func(*http.Response) guard.Outcome { return guard.OutcomeSucceeded }},
			func() *http.Response { return answer(500, "") }, false, nil, 0, false,
		},
		{
			"their own word on the body",
			guard.DependencyConfig{ClassifyBody: func(*http.Response, []byte) guard.Outcome { return guard.OutcomeIgnored }},
			func() *http.Response { return answer(200, `{"statusCode":1}`) }, false, nil, 0, false,
		},
		{
			"their own failure",
			guard.DependencyConfig{ClassifyResponse: func(*http.Response) guard.Outcome { return guard.OutcomeFailed }},
			func() *http.Response { return answer(200, "fine") }, true, nil, -1, false,
		},
		{
			"they call all refusals",
			guard.DependencyConfig{ClassifyResponse: func(*http.Response) guard.Outcome { return guard.OutcomeAnswered }},
			func() *http.Response { return answer(200, "fine") }, true, nil, 0, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := depend(t, genesys.GMS, test.config, roundTrip(func(*http.Request) (*http.Response, error) { return test.resp(), nil }))
			if test.timeout {
				d.client.Timeout = time.Hour
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gms/", nil)
			require.NoError(t, err)
			resp, err := d.client.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			err = genesys.GMS.CheckResponse(d.Dependency, resp)
			want, _ := io.ReadAll(test.resp().Body)
			got, readErr := io.ReadAll(resp.Body)
			require.NoError(t, readErr)
			require.Equal(t, string(want), string(got))
			if !test.err {
				require.NoError(t, err)
				return
			}
			var e *genesys.Error
			require.ErrorAs(t, err, &e)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			w := httptest.NewRecorder()
			d.guard.WriteError(w, httptest.NewRequest(http.MethodGet, "/", nil), err)
			require.Equal(t, http.StatusBadGateway, w.Code)
			if test.waits != 0 {
				var guarded *guard.DependencyError
				require.ErrorAs(t, err, &guarded)
				require.InDelta(t, test.waits, guarded.RetryAfter(), float64(time.Second))
			}
		})
	}
}

// A body that breaks off is for its reader to find out.
func TestCheckResponseOfABodyThatBreaksOff(t *testing.T) {
	fake := start(t)
	fake.GMS.Inject(genesystest.Reset())
	d := depend(t, genesys.GMS, guard.DependencyConfig{MinCalls: 100}, nil)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, fake.GMS.URL+"/genesys/2/chat/x", nil)
	require.NoError(t, err)
	resp, err := d.client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, genesys.GMS.CheckResponse(d.Dependency, resp))
	var into any
	err = json.NewDecoder(resp.Body).Decode(&into)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	var guarded *guard.DependencyError
	require.ErrorAs(t, err, &guarded, "which is a 502")
	require.Equal(t, guard.CallCounts{Failed: 1}, d.counts())
}
