package genesys_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// GMS answers 200 and means a failure: by its status alone the breaker would
// never open.
func TestBreakerOpensOnFailuresOf200(t *testing.T) {
	fake := start(t)
	chat := fake.GMS.URL + "/genesys/2/chat/request-chat"
	d := depend(t, genesys.GMS, guard.DependencyConfig{MinCalls: 4, OpenFor: time.Hour}, nil)

	fake.GMS.Inject(genesystest.Failure(2)) // it is alive, and refuses these
	for range 20 {
		resp, body, err := do(t, d.client, http.MethodPost, chat, "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.JSONEq(t, `{"statusCode":2,"statusMessage":"failed by order"}`, body, "the body is handed on whole")
	}
	require.Equal(t, guard.StateClosed, d.State())
	require.Equal(t, guard.CallCounts{Answered: 20}, d.counts())

	fake.GMS.Inject(genesystest.Failure(1))
	for range 4 {
		_, body, err := do(t, d.client, http.MethodPost, chat, "")
		require.NoError(t, err)
		require.Contains(t, body, `"statusCode":1`)
	}
	require.Equal(t, guard.StateOpen, d.State())
	_, _, err := do(t, d.client, http.MethodPost, chat, "")
	require.ErrorIs(t, err, guard.ErrOpen)
	require.Equal(t, 24, fake.GMS.Requests("/genesys/2/chat/request-chat"), "the one refused did not get there")

	plain, err := d.guard.Dependency("by status", guard.DependencyConfig{MinCalls: 4})
	require.NoError(t, err)
	for range 20 {
		_, _, err := do(t, &http.Client{Transport: plain.Transport(transport(t))}, http.MethodPost, chat, "")
		require.NoError(t, err)
	}
	require.Equal(t, guard.StateClosed, plain.State(), "what this package is for")
}

func TestStatusCodesOfGWSOverTheTransport(t *testing.T) {
	fake := start(t)
	d := depend(t, genesys.GWS, guard.DependencyConfig{MinCalls: 100}, nil)
	call := func(path string) {
		t.Helper()
		_, _, err := do(t, d.client, http.MethodGet, fake.GWS.URL+path, "")
		require.NoError(t, err)
	}
	call("/api/v2/users")
	call("/api/v2/queues/q-care")
	require.Equal(t, guard.CallCounts{Succeeded: 2}, d.counts())
	call("/api/v2/users/nobody")
	fake.GWS.Inject(genesystest.Failure(12))
	call("/api/v2/users")
	require.Equal(t, guard.CallCounts{Succeeded: 2, Answered: 2}, d.counts())
	fake.GWS.Inject(genesystest.Failure(4))
	call("/api/v2/users")
	fake.GWS.Inject(genesystest.Status(500))
	call("/api/v2/users")
	_, _, err := get(t, d.client, fake.GWS.URL+"/api/v2/users")
	require.NoError(t, err)
	require.Equal(t, guard.CallCounts{Succeeded: 2, Answered: 2, Failed: 3}, d.counts())
}

// What breaks on the way is a failure of any product.
func TestFaultsAreFailures(t *testing.T) {
	fake := start(t)
	d := depend(t, genesys.GMS, guard.DependencyConfig{MinCalls: 100, Timeout: 50 * time.Millisecond}, nil)
	chat := fake.GMS.URL + "/genesys/2/chat/request-chat"
	var failures uint64
	for name, f := range map[string]genesystest.Fault{
		"down": genesystest.Down(), "hang": genesystest.Hang(), "slow": genesystest.Slow(time.Hour), "reset": genesystest.Reset(),
	} {
		fake.GMS.Inject(f)
		_, _, err := do(t, d.client, http.MethodPost, chat, "")
		var guarded *guard.DependencyError
		require.ErrorAs(t, err, &guarded, name)
		failures++
		require.Equal(t, guard.CallCounts{Failed: failures}, d.counts(), name)
	}
}

// A 429 of Cloud pauses the calls, for no longer than MaxOpenFor, and counts
// for nothing.
func TestPauseOn429(t *testing.T) {
	fake := start(t)
	tokens := tokensOf(t, fake)
	users := fake.Cloud.URL + "/api/v2/users"
	for _, test := range []struct {
		name    string
		asked   time.Duration
		atLeast time.Duration
		atMost  time.Duration
	}{
		{"as asked", 30 * time.Second, 25 * time.Second, 30 * time.Second},
		{"capped", 5 * time.Hour, 55 * time.Second, time.Minute},
	} {
		d := depend(t, genesys.Cloud, guard.DependencyConfig{}, tokens)
		fake.Cloud.Inject(genesystest.Throttle(test.asked))
		resp, _, err := get(t, d.client, users)
		require.NoError(t, err, test.name)
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		require.Equal(t, guard.CallCounts{Answered: 1}, d.counts())

		before := fake.Cloud.Requests("")
		_, _, err = get(t, d.client, users)
		require.ErrorIs(t, err, guard.ErrThrottled, test.name)
		var guarded *guard.DependencyError
		require.ErrorAs(t, err, &guarded)
		require.GreaterOrEqual(t, guarded.RetryAfter(), test.atLeast, test.name)
		require.LessOrEqual(t, guarded.RetryAfter(), test.atMost, test.name)
		require.Equal(t, before, fake.Cloud.Requests(""), "nothing is sent during the pause")
	}
}

// Without a Retry-After the pause goes by the reset of the limit, and a second.
func TestPauseByReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		header := []string{"inin-ratelimit-reset", "6", "inin-ratelimit-allowed", "300", "inin-ratelimit-count", "301"}
		status := http.StatusTooManyRequests
		d := depend(t, genesys.Cloud, guard.DependencyConfig{}, roundTrip(func(*http.Request) (*http.Response, error) {
			return answer(status, "{}", header...), nil
		}))
		resp, _, err := get(t, d.client, "http://cloud/")
		require.NoError(t, err)
		require.Equal(t, "7", resp.Header.Get("Retry-After"))
		time.Sleep(7*time.Second - 1)
		_, _, err = get(t, d.client, "http://cloud/")
		require.ErrorIs(t, err, guard.ErrThrottled)
		time.Sleep(time.Nanosecond)
		status = http.StatusOK
		_, _, err = get(t, d.client, "http://cloud/")
		require.NoError(t, err)
	})
}

func TestRetryAfterIsOnlyAddedWhereItIsMissing(t *testing.T) {
	for _, test := range []struct {
		product           genesys.Product
		status            int
		after, reset, now string
	}{
		{genesys.Cloud, 429, "", "61", "62"},
		{genesys.Cloud, 429, " ", "61", "62"},
		{genesys.Cloud, 429, "3", "61", "3"},
		{genesys.Cloud, 429, "0", "61", "0"},
		{genesys.Cloud, 429, "99999999999999999999", "61", "99999999999999999999"},
		{genesys.Cloud, 429, "Mon, 02 Jan 2006 15:04:05 GMT", "61", "Mon, 02 Jan 2006 15:04:05 GMT"},
		{genesys.Cloud, 429, "1.5", "61", "62"}, // of no form that there is
		{genesys.Cloud, 429, "-5", "61", "62"},
		{genesys.Cloud, 429, "soon", "", "soon"},
		{genesys.Cloud, 429, "", "", ""},
		{genesys.Cloud, 429, "", "-1", ""},
		{genesys.Cloud, 429, "", "1.5", ""},
		{genesys.Cloud, 429, "", "99999999999999999999", ""},
		{genesys.Cloud, 429, "", "1073741824", "1073741825"},
		{genesys.Cloud, 200, "", "61", ""},
		{genesys.Cloud, 503, "", "61", ""},
		{genesys.GMS, 429, "", "61", ""},
	} {
		resp := answer(test.status, "", "Retry-After", test.after, "ININ-RateLimit-Reset", test.reset)
		test.product.ClassifyResponse(resp)
		require.Equal(t, test.now, strings.TrimSpace(resp.Header.Get("Retry-After")), "%+v", test)
	}
}

func TestParseRateLimit(t *testing.T) {
	l, ok := genesys.ParseRateLimit(answer(200, "", "inin-ratelimit-count", "1", "ININ-RATELIMIT-ALLOWED", " 180 ", "Inin-Ratelimit-Reset", "61").Header)
	require.True(t, ok)
	require.Equal(t, genesys.RateLimit{Count: 1, Allowed: 180, Reset: 61 * time.Second}, l)
	for _, bad := range [][]string{
		{},
		{"inin-ratelimit-count", "1", "inin-ratelimit-allowed", "180"},
		{"inin-ratelimit-count", "1", "inin-ratelimit-allowed", "180", "inin-ratelimit-reset", "-1"},
		{"inin-ratelimit-count", "1", "inin-ratelimit-allowed", "x", "inin-ratelimit-reset", "1"},
		{"inin-ratelimit-count", "2147483648", "inin-ratelimit-allowed", "1", "inin-ratelimit-reset", "1"},
	} {
		l, ok := genesys.ParseRateLimit(answer(200, "", bad...).Header)
		require.False(t, ok, bad)
		require.Zero(t, l)
	}
	fake := start(t)
	resp, _, err := get(t, &http.Client{Transport: tokensOf(t, fake)}, fake.Cloud.URL+"/api/v2/users")
	require.NoError(t, err)
	l, ok = genesys.ParseRateLimit(resp.Header)
	require.True(t, ok)
	require.Equal(t, 300, l.Allowed)
}

// A service that flaps fails half of its calls, and half open a breaker does.
func TestFlappingOpensTheBreaker(t *testing.T) {
	fake := start(t)
	d := depend(t, genesys.UCS, guard.DependencyConfig{MinCalls: 10, FailureRate: 0.5}, nil)
	fake.UCS.Inject(genesystest.Status(503).Flap(1, 1).On("/profiles/"))
	calls := 0
	for ; calls < 30 && d.State() == guard.StateClosed; calls++ {
		_, _, err := get(t, d.client, fake.UCS.URL+"/profiles/a-1")
		require.NoError(t, err)
	}
	require.Equal(t, 10, calls)
	_, _, err := get(t, d.client, fake.UCS.URL+"/profiles/a-1")
	require.ErrorIs(t, err, guard.ErrOpen)
}

// A client that asks for gzip itself gets the body as it came, and the breaker
// knows what is in it.
func TestCompressedAnswers(t *testing.T) {
	packed := pack(t, `{"statusCode":1}`, gzipped)
	d := depend(t, genesys.GMS, guard.DependencyConfig{}, roundTrip(func(*http.Request) (*http.Response, error) {
		return answer(200, packed, "Content-Encoding", "gzip"), nil
	}))
	_, body, err := get(t, d.client, "http://gms/")
	require.NoError(t, err)
	require.Equal(t, packed, body)
	require.Equal(t, guard.CallCounts{Failed: 1}, d.counts())
}
