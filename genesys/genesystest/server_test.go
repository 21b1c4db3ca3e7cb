package genesystest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard/genesys/genesystest"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	look := time.NewTicker(time.Millisecond)
	for deadline := time.Now().Add(10 * time.Second); code == 0; <-look.C {
		stacks := make([]byte, 1<<20)
		left := string(stacks[:runtime.Stack(stacks, true)])
		if strings.Count(left, "genesystest.(*Service)") == 0 {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

func start(t *testing.T) *genesystest.Server {
	t.Helper()
	s, err := genesystest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// call sends a request on a connection of its own. who is "", "basic" or a token.
func call(t *testing.T, method, address, who, body string) (*http.Response, string, error) {
	t.Helper()
	return callWith(t.Context(), t, method, address, who, body)
}

func callWith(ctx context.Context, t *testing.T, method, address, who, body string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	require.NoError(t, err)
	switch who {
	case "":
	case "basic":
		r.SetBasicAuth(genesystest.Username, genesystest.Password)
	default:
		r.Header.Set("Authorization", "Bearer "+who)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// token gets a token.
func token(t *testing.T, s *genesystest.Server) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Login.URL+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
	require.NoError(t, err)
	r.SetBasicAuth(genesystest.ClientID, genesystest.ClientSecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var got struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	return got.Token
}

func TestPaths(t *testing.T) {
	s := start(t)
	bearer := token(t, s)
	for _, test := range []struct {
		service      *genesystest.Service
		method, path string
		who, body    string
		status       int
		says         string
	}{
		{s.GWE, "GET", "/backend/data/visits", "basic", "", 200, `"visitId":"v-a-1"`},
		{s.GWE, "GET", "/backend/data/visits?userId=ben@contact.example", "basic", "", 200, `"visitId":"v-a-2"`},
		{s.GWE, "GET", "/backend/data/visits?userId=nobody", "basic", "", 204, ""},
		{s.GWE, "GET", "/backend/data/visits/v-a-1", "basic", "", 200, `"pages":3`},
		{s.GWE, "GET", "/backend/data/visits/none", "basic", "", 404, `"message"`},
		{s.GWE, "GET", "/backend/data/visits", "", "", 401, `"message"`},

		{s.GMS, "GET", "/genesys/1/admin/node/status", "basic", "", 200, "ONLINE"},
		{s.GMS, "GET", "/genesys/1/admin/node/status", "", "", 401, `"exception"`},
		{s.GMS, "POST", "/genesys/1/statistic", "basic", "objectId=q-care", 200, `{"value":5}`},
		{s.GMS, "POST", "/genesys/1/statistic", "basic", "objectId=none", 400, `"exception"`},
		{s.GMS, "POST", "/genesys/1/service/callback/sales", "", "", 200, `"_id"`},
		{s.GMS, "POST", "/genesys/2/chat/sales", "", "", 200, `"statusCode":0`},
		{s.GMS, "POST", "/genesys/2/chat/sales/1/send", "", "", 200, `"chatEnded":false`},
		{s.GMS, "POST", "/genesys/2/chat/sales/1/disconnect", "", "", 200, `"chatEnded":true`},
		{s.GMS, "POST", "/genesys/2/chat/sales/1/dance", "", "", 404, `"message"`},

		{s.GWS, "GET", "/api/v2/users", "basic", "", 200, `"statusCode":0`},
		{s.GWS, "GET", "/api/v2/users", bearer, "", 200, `"firstName":"Ada Marsh"`},
		{s.GWS, "GET", "/api/v2/users/a-1", bearer, "", 200, `"user":`},
		{s.GWS, "GET", "/api/v2/users/none", bearer, "", 404, `"statusCode":6`},
		{s.GWS, "GET", "/api/v2/users", "", "", 401, `"statusCode":20`},
		{s.GWS, "GET", "/api/v2/queues", bearer, "", 200, `"agentsReady":1`},
		{s.GWS, "GET", "/api/v2/queues/q-care", bearer, "", 200, `"longestWait":75`},
		{s.GWS, "GET", "/api/v2/queues/none", bearer, "", 404, `"statusCode":6`},

		{s.UCS, "GET", "/server/status", "", "", 200, `"mode":"production"`},
		{s.UCS, "GET", "/profiles/a-1", "", "", 200, `"customer_id":"a-1"`},
		{s.UCS, "GET", "/profiles/none", "", "", 404, `"exception"`},

		{s.GRE, "GET", "/genesys-rules-engine/status.jsp", "", "", 200, "SYSTEM_STATUS_OK"},
		{s.GRE, "POST", "/genesys-rules-engine/rest/knowledge-base/routing", "", "{}", 200, `"queue":"q-sales"`},
		{s.GRE, "POST", "/genesys-rules-engine/rest/knowledge-base/routing", "", "", 400, "bad request"},

		{s.Cloud, "GET", "/api/v2/users", bearer, "", 200, `"total":4`},
		{s.Cloud, "GET", "/api/v2/users/a-2", bearer, "", 200, `"status":"INTERACTING"`},
		{s.Cloud, "GET", "/api/v2/users/none", bearer, "", 404, `"code":"not.found"`},
		{s.Cloud, "GET", "/api/v2/users", "", "", 401, `"code":"bad.credentials"`},
		{s.Cloud, "GET", "/api/v2/routing/queues", bearer, "", 200, `"name":"Customer Care"`},
		{s.Cloud, "GET", "/api/v2/routing/queues/q-care", bearer, "", 200, `"id":"q-care"`},
		{s.Cloud, "GET", "/api/v2/routing/queues/none", bearer, "", 404, `"contextId"`},
		{s.Cloud, "POST", "/api/v2/analytics/queues/observations/query", bearer, "{}", 200, `{"count":5}`},
		{s.Cloud, "POST", "/api/v2/analytics/queues/observations/query", bearer, "", 400, `"bad.request"`},

		{s.Login, "POST", "/oauth/token", "", "", 401, `"invalid_client"`},
		{s.Cloud, "GET", "/nothing", "", "", 404, `"contextId"`},
		{s.GMS, "GET", "/nothing", "", "", 404, ""},
		{s.GWS, "GET", "/nothing", "", "", 404, ""},
		{s.GWE, "GET", "/nothing", "", "", 404, ""},
		{s.UCS, "GET", "/nothing", "", "", 404, ""},
		{s.GRE, "GET", "/nothing", "", "", 404, ""},
	} {
		before := test.service.Requests("")
		resp, body, err := call(t, test.method, test.service.URL+test.path, test.who, test.body)
		require.NoError(t, err)
		require.Equal(t, test.status, resp.StatusCode, test.path)
		require.Contains(t, body, test.says, test.path)
		require.Equal(t, before+1, test.service.Requests(""))
		u, _ := url.Parse(test.path)
		require.Positive(t, test.service.Requests(u.Path))
	}
}

func TestFaults(t *testing.T) {
	s := start(t)
	users := s.GWS.URL + "/api/v2/users"
	for _, test := range []struct {
		name   string
		fault  genesystest.Fault
		status int // 0: no answer
		says   string
		broken bool // the body is
	}{
		{"none", genesystest.Fault{}, 200, "Ada", false},
		{"down", genesystest.Down(), 0, "", false},
		{"status", genesystest.Status(503), 503, `"statusCode":4`, false},
		{"failure", genesystest.Failure(12), 200, `"statusCode":12`, false},
		{"throttle", genesystest.Throttle(1500 * time.Millisecond), 429, `"statusCode"`, false},
		{"reset", genesystest.Reset(), 200, "Ada", true},
		{"slow", genesystest.Slow(time.Millisecond), 200, "Ada", false},
		{"elsewhere", genesystest.Down().On("/api/v2/queues"), 200, "Ada", false},
		{"here", genesystest.Status(500).On("/api/v2/u"), 500, "", false},
		{"none again", genesystest.Fault{}, 200, "Ada", false},
	} {
		s.GWS.Inject(test.fault)
		resp, body, err := call(t, http.MethodGet, users, "basic", "")
		require.Equal(t, test.status == 0 || test.broken, err != nil, test.name)
		if test.status == 0 {
			continue
		}
		require.Equal(t, test.status, resp.StatusCode, test.name)
		require.Contains(t, body, test.says, test.name)
		if test.status == 429 {
			require.Equal(t, "2", resp.Header.Get("Retry-After"), "rounded up")
		}
	}
	s.GWS.Inject(genesystest.Throttle(0))
	resp, _, err := call(t, http.MethodGet, users, "basic", "")
	require.NoError(t, err)
	require.Empty(t, resp.Header.Get("Retry-After"))
}

func TestFlap(t *testing.T) {
	s := start(t)
	s.UCS.Inject(genesystest.Status(500).Flap(2, 1).On("/profiles"))
	var got []int
	for range 7 {
		resp, _, err := call(t, http.MethodGet, s.UCS.URL+"/profiles/a-1", "", "")
		require.NoError(t, err)
		got = append(got, resp.StatusCode)
		resp, _, err = call(t, http.MethodGet, s.UCS.URL+"/server/status", "", "")
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
	}
	require.Equal(t, []int{200, 200, 500, 200, 200, 500, 200}, got)
}

// What hangs does so until its client hangs up, the fault is gone, or the server
// is closed.
func TestHang(t *testing.T) {
	s := start(t)
	s.Inject(genesystest.Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := callWith(ctx, t, http.MethodPost, s.GMS.URL+"/genesys/2/chat/x", "", "body")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	hang(t, s, func() { s.GMS.Inject(genesystest.Fault{}) })
	s.Inject(genesystest.Hang())
	hang(t, s, func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Close(), "again")
}

// hang sends a request that hangs, and expects that end ends it.
func hang(t *testing.T, s *genesystest.Server, end func()) {
	t.Helper()
	before, done := s.GMS.Requests(""), make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.GMS.URL+"/genesys/1/admin/node/status", nil)
		if err != nil {
			done <- err
			return
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for s.GMS.Requests("") == before {
		<-look.C
	}
	end()
	require.Error(t, <-done)
}

func TestTokens(t *testing.T) {
	s := start(t)
	status := func(token string) int {
		resp, _, err := call(t, http.MethodGet, s.Cloud.URL+"/api/v2/users", token, "")
		require.NoError(t, err)
		return resp.StatusCode
	}
	first := token(t, s)
	require.Equal(t, 200, status(first))
	s.ExpireTokens()
	require.Equal(t, 401, status(first))
	second := token(t, s)
	require.Equal(t, 200, status(second))
	require.Equal(t, 401, status("invented"))
	s.SetTokenLife(0)
	require.Equal(t, 401, status(token(t, s)))
	require.Equal(t, 3, s.Login.Requests("/oauth/token"))
}

func TestData(t *testing.T) {
	s := start(t)
	require.Len(t, s.Agents(), 4)
	require.Len(t, s.Queues(), 2)
	s.SetAgents(genesystest.Agent{ID: "z", Name: "Zoe", State: "Ready", Queue: "q"})
	s.SetQueues(genesystest.Queue{ID: "q", Name: "Q", Waiting: 9})
	_, body, err := call(t, http.MethodGet, s.GWS.URL+"/api/v2/users", "basic", "")
	require.NoError(t, err)
	require.Contains(t, body, "Zoe")
	require.NotContains(t, body, "Ada")
	_, body, err = call(t, http.MethodGet, s.GWS.URL+"/api/v2/queues", "basic", "")
	require.NoError(t, err)
	require.Contains(t, body, `"agentsReady":1`)
	s.Agents()[0].Name = "changed"
	require.Equal(t, "Zoe", s.Agents()[0].Name, "what is handed out is a copy")
}

func TestHealth(t *testing.T) {
	s := start(t)
	s.GMS.SetHealth("OFFLINE")
	resp, body, err := call(t, http.MethodGet, s.GMS.URL+"/genesys/1/admin/node/status", "basic", "")
	require.NoError(t, err)
	require.Equal(t, "200 OFFLINE", fmt.Sprint(resp.StatusCode, " ", body))
	s.UCS.SetHealth("maintenance")
	_, body, err = call(t, http.MethodGet, s.UCS.URL+"/server/status", "", "")
	require.NoError(t, err)
	require.Contains(t, body, `"mode":"maintenance"`)
	resp, _, err = call(t, http.MethodGet, s.UCS.URL+"/profiles/a-1", "", "")
	require.NoError(t, err)
	require.Equal(t, 503, resp.StatusCode)
	s.GRE.SetHealth("SYSTEM_STATUS_ENGINE_NOT_INITIALIZED")
	resp, body, err = call(t, http.MethodGet, s.GRE.URL+"/genesys-rules-engine/status.jsp", "", "")
	require.NoError(t, err)
	require.Equal(t, 503, resp.StatusCode)
	require.Contains(t, body, "SYSTEM_STATUS_ENGINE_NOT_INITIALIZED")
	require.Equal(t, "OFFLINE", s.GMS.Health())
}

// However many paths there are, no more than some are told apart.
func TestCountersAreBounded(t *testing.T) {
	s := start(t)
	h := s.GRE
	for i := range 1100 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprint("/p/", i), http.NoBody)
		require.NoError(t, err)
		h.ServeHTTP(discard{}, r)
	}
	require.Equal(t, 1100, h.Requests(""))
	require.Equal(t, 1, h.Requests("/p/1"))
	require.Zero(t, h.Requests("/p/1099"))
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func Example() {
	fake, err := genesystest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fake.Close()

	chat := func() {
		resp, err := http.Post(fake.GMS.URL+"/genesys/2/chat/request-chat", "", nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		var answer struct{ StatusCode int }
		_ = json.NewDecoder(resp.Body).Decode(&answer)
		fmt.Println(resp.StatusCode, answer.StatusCode)
	}
	chat()
	fake.GMS.Inject(genesystest.Failure(1)) // 200, but failed
	chat()
	fake.GMS.Inject(genesystest.Throttle(30 * time.Second))
	chat()
	fake.GMS.Inject(genesystest.Fault{}) // as good as new
	chat()
	fmt.Println(fake.GMS.Requests("/genesys/2/chat/request-chat"), "requests")
	// Output:
	// 200 0
	// 200 1
	// 429 0
	// 200 0
	// 4 requests
}
