package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

func newGuard(tb testing.TB, c guard.Config) *guard.Guard {
	tb.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g, err := guard.New(c)
	require.NoError(tb, err)
	return g
}

// The contract: every status, in every format, by GET and HEAD, over HTTP/1.1
// and HTTP/2, from a real server.
func TestContract(t *testing.T) {
	for _, row := range []struct {
		name       string
		config     guard.Config
		handler    guard.HandlerFunc
		before     func(g *guard.Guard, url string, c *http.Client) // brings the server into the state
		status     int
		code       string
		detail     string
		retryAfter int
		header     map[string]string
	}{
		{name: "200", status: 200, handler: func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "the result")
			return err
		}},
		{name: "204", status: 204, handler: func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
		{
			name: "400", status: 400, code: "bad-request", detail: "Parameter from is missing.",
			handler: answer(guard.BadRequest("Parameter from is missing.")),
		},
		{
			name: "401", status: 401, code: "unauthorized", detail: "Log in.",
			header:  map[string]string{"Www-Authenticate": `Basic realm="admin"`},
			handler: answer(guard.Unauthorized("admin", "Log in.")),
		},
		{
			name: "403", status: 403, code: "forbidden", detail: "The event is closed.",
			handler: answer(fmt.Errorf("wrapped: %w", guard.Forbidden("The event is closed."))),
		},
		{
			name: "404", status: 404, code: "not-found", detail: "There is no visit 1.",
			handler: answer(guard.NotFound("There is no visit 1.")),
		},
		{
			name: "409", status: 409, code: "conflict", detail: "It is there already.",
			header:  map[string]string{"X-Of-The-Handler": "kept"},
			handler: answer(&guard.Error{Status: 409, Detail: "It is there already.", Header: http.Header{"X-Of-The-Handler": {"kept"}}}),
		},
		{
			name: "413", status: 413, code: "request-entity-too-large", detail: "The request body is larger than 10 bytes.",
			handler: answer(&http.MaxBytesError{Limit: 10}),
		},
		{
			name: "500 by an error", status: 500, code: "internal", config: guard.Config{Support: "care@example.com"},
			detail:  "The server met an unexpected error. Please forward the logs of this request to care@example.com.",
			handler: answer(errors.New("SELECT secret FROM table: no host 10.0.0.1")),
		},
		{
			name: "500 by a panic", status: 500, code: "internal",
			detail: "The server met an unexpected error. Please forward the logs of this request to support.",
			handler: func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Length", "99")
				w.Header().Set("Content-Encoding", "gzip")
				w.Header().Set("Etag", `"secret"`)
				w.Header().Set("Set-Cookie", "secret=1")
				panic("secret")
			},
		},
		{
			name: "502", status: 502, code: "dependency-failed", detail: "Cassandra does not answer.", retryAfter: 2,
			handler: answer(&guard.Error{Status: 502, Detail: "Cassandra does not answer.", RetryAfter: 1001 * time.Millisecond, Err: errors.New("secret")}),
		},
		{
			name: "503 for all", status: 503, code: "rate-limited", detail: "The server receives too many requests.", retryAfter: 100,
			config: guard.Config{Limit: guard.Limit{Rate: 0.01, Burst: 1}}, before: requestOnce,
		},
		{
			name: "503 for ever", status: 503, code: "rate-limited", detail: "The server receives too many requests.",
			config: guard.Config{Limit: guard.Limit{Rate: 0, Burst: 1}}, before: requestOnce,
		},
		{
			name: "503 for a client", status: 503, code: "rate-limited", detail: "This client sends too many requests.", retryAfter: 1000,
			config: guard.Config{Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 0.001, Burst: 1}}}}, before: requestOnce,
		},
		{
			name: "429 for a client", status: 429, code: "rate-limited", detail: "This client sends too many requests.", retryAfter: 1000,
			config: guard.Config{
				Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 0.001, Burst: 1}}},
				Status:  guard.Statuses{Client: 429},
			}, before: requestOnce,
		},
		{
			name: "503 while overloaded", status: 503, code: "overloaded", detail: "The server is handling as many requests as it can.", retryAfter: 1,
			config: guard.Config{Concurrency: guard.Concurrency{Max: 1}}, before: requestForever,
		},
		{
			name: "503 while draining", status: 503, code: "draining", detail: "The server is shutting down.", retryAfter: 1,
			before: func(g *guard.Guard, _ string, _ *http.Client) { _ = g.Shutdown(context.Background()) },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGuard(t, row.config)
			var forever atomic.Pointer[chan struct{}]
			handler := row.handler
			if handler == nil {
				handler = func(_ http.ResponseWriter, r *http.Request) error {
					if r.URL.Path == "/forever" {
						<-*forever.Load()
					}
					return nil
				}
			}
			eachServer(t, g.HandlerFunc(handler), func(t *testing.T, url string, c *http.Client) {
				blocked := make(chan struct{})
				defer close(blocked)
				forever.Store(&blocked)
				if row.before != nil {
					row.before(g, url, c)
				}
				eachFormat(t, func(t *testing.T, accept, contentType string) {
					get, body := send(t, c, http.MethodGet, url+"/a%22b", accept)
					head, nothing := send(t, c, http.MethodHead, url+"/a%22b", accept)
					assert.Empty(t, nothing)
					assert.Equal(t, row.status, get.StatusCode)
					assert.Equal(t, row.status, head.StatusCode)
					for name, value := range row.header {
						assert.Equal(t, value, get.Header.Get(name), name)
					}
					if row.status < 400 {
						if row.status == http.StatusNoContent {
							assert.Empty(t, get.Header.Get("Content-Type"))
							assert.Empty(t, body)
						}
						assert.Empty(t, get.Header.Get("Cache-Control"), "a success is the handler's own")
						return
					}
					assert.Equal(t, contentType, get.Header.Get("Content-Type"))
					assert.Equal(t, "Accept", get.Header.Get("Vary"))
					assert.Equal(t, "no-store", get.Header.Get("Cache-Control"))
					assert.Equal(t, "nosniff", get.Header.Get("X-Content-Type-Options"))
					for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Set-Cookie"} {
						assert.Empty(t, get.Header.Get(name), name)
					}
					assert.Equal(t, strconv.Itoa(len(body)), get.Header.Get("Content-Length"))
					assert.NotContains(t, body, "secret")
					assertSameHeader(t, get.Header, head.Header)
					if row.retryAfter > 0 {
						seconds, err := strconv.Atoi(get.Header.Get("Retry-After"))
						require.NoError(t, err)
						assert.InDelta(t, row.retryAfter, seconds, 2)
					} else {
						assert.Empty(t, get.Header.Get("Retry-After"))
					}
					assertBody(t, accept, body, members{
						Type: "about:blank", Title: http.StatusText(row.status), Status: row.status, Detail: row.detail, Instance: "/a%22b",
						Code: row.code, RetryAfter: int64(atoi(get.Header.Get("Retry-After"))), RequestID: get.Header.Get("X-Request-Id"),
					})
				})
			})
		})
	}
}

func answer(err error) guard.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func requestOnce(_ *guard.Guard, url string, c *http.Client) {
	if resp, err := c.Get(url); err == nil {
		_ = resp.Body.Close()
	}
}

// requestForever returns when one request is being served that does not end.
func requestForever(_ *guard.Guard, url string, c *http.Client) {
	go func() {
		for refused := true; refused; { // by the place that those below take
			resp, err := c.Get(url + "/forever")
			if err != nil {
				return
			}
			_ = resp.Body.Close()
			refused = resp.StatusCode != http.StatusOK
		}
	}()
	for {
		resp, err := c.Get(url)
		if err != nil {
			return
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return
		}
	}
}

func eachServer(t *testing.T, h http.Handler, f func(t *testing.T, url string, c *http.Client)) {
	for _, http2 := range []bool{false, true} {
		name := "HTTP1"
		if http2 {
			name = "HTTP2"
		}
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(h)
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			s.EnableHTTP2 = http2
			s.StartTLS()
			defer s.Close()
			f(t, s.URL, s.Client())
		})
	}
}

func eachFormat(t *testing.T, f func(t *testing.T, accept, contentType string)) {
	for accept, contentType := range map[string]string{
		"":                         "application/problem+json",
		"application/problem+json": "application/problem+json",
		"application/problem+xml":  "application/problem+xml",
		"text/plain":               "text/plain; charset=utf-8",
		"text/html":                "text/html; charset=utf-8",
	} {
		t.Run(accept, func(t *testing.T) { f(t, accept, contentType) })
	}
}

func send(t *testing.T, c *http.Client, method, url, accept string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	resp, err := c.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// assertSameHeader ignores what differs between any two responses.
func assertSameHeader(t *testing.T, a, b http.Header) {
	t.Helper()
	for name := range a {
		switch name {
		case "Date", "X-Request-Id":
		case "Retry-After":
			assert.InDelta(t, atoi(a.Get(name)), atoi(b.Get(name)), 2)
		default:
			assert.Equal(t, a[name], b[name], name)
		}
	}
	assert.Len(t, b, len(a))
}

func assertBody(t *testing.T, accept, body string, want members) {
	t.Helper()
	switch accept {
	case "", "application/problem+json":
		assert.Equal(t, want, readJSON(t, body))
	case "application/problem+xml":
		assert.Equal(t, want, readXML(t, body))
	default:
		for _, text := range []string{strconv.Itoa(want.Status), want.Title, want.Detail, want.Code, want.RequestID} {
			assert.Contains(t, body, text)
		}
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// What no pattern of a mux matches gets the contract's bodies too.
func TestContractOfMux(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /visits/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "0" {
			http.Error(w, "the handler's own", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "visit "+r.PathValue("id"))
	})
	mux.HandleFunc("/tree/", func(http.ResponseWriter, *http.Request) {})
	inner := http.NewServeMux()
	inner.HandleFunc("GET /inner/a", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/inner/", inner)
	g := newGuard(t, guard.Config{})
	eachServer(t, g.Mux(mux), func(t *testing.T, url string, c *http.Client) {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, body := send(t, c, http.MethodGet, url+"/visits/7", "")
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, "visit 7", body)
		resp, body = send(t, c, http.MethodGet, url+"/visits/0", "")
		assert.Equal(t, 404, resp.StatusCode)
		assert.Equal(t, "the handler's own\n", body)
		resp, _ = send(t, c, http.MethodGet, url+"/tree", "")
		assert.Contains(t, []int{301, 307}, resp.StatusCode)
		eachFormat(t, func(t *testing.T, accept, contentType string) {
			for _, path := range []string{"/nowhere", "/inner/b"} {
				resp, body := send(t, c, http.MethodGet, url+path, accept)
				assert.Equal(t, 404, resp.StatusCode)
				assert.Equal(t, contentType, resp.Header.Get("Content-Type"))
				assert.Contains(t, body, "not-found")
				head, _ := send(t, c, http.MethodHead, url+path, accept)
				assertSameHeader(t, resp.Header, head.Header)
			}
			resp, body = send(t, c, http.MethodDelete, url+"/visits/7", accept)
			assert.Equal(t, 405, resp.StatusCode)
			assert.Equal(t, contentType, resp.Header.Get("Content-Type"))
			assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
			assert.Contains(t, body, "method-not-allowed")
		})
	})
}

// Guarantee 11: the middleware allocates one object.
func TestGuarantee11MiddlewareAllocatesOnce(t *testing.T) {
	many := guard.Limit{Rate: 1e9, Burst: 1 << 30}
	g := newGuard(t, guard.Config{Limit: many, Clients: []guard.ClientLimit{{Limit: many}}, Concurrency: guard.Concurrency{Max: 100}})
	route, err := g.Route("route", guard.RouteConfig{Limit: many})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := &sink{h: http.Header{}}
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, test := range map[string]struct {
		http.Handler
		most float64
	}{
		"guard":          {g.Handler(nothing), 1},
		"route":          {route.Handler(nothing), 1},
		"guard and mux":  {g.Mux(http.NewServeMux()), 40},
		"route in guard": {g.Handler(route.Handler(nothing)), 2},
	} {
		assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { test.ServeHTTP(w, r) }), test.most, name)
	}
}

func TestConfigIsCopied(t *testing.T) {
	c := guard.Config{Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 1, Burst: 1}}}}
	g := newGuard(t, c)
	c.Clients[0].Limit.Rate = -5
	require.NoError(t, g.Tune(func(*guard.Config) {}))
	got := g.Config()
	got.Clients[0].Limit.Rate = -5
	require.NoError(t, g.Tune(func(*guard.Config) {}))
	assert.EqualValues(t, 1, g.Config().Clients[0].Limit.Rate)
}

func TestExempt(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 0, Burst: 1}, Concurrency: guard.Concurrency{Max: 1}})
	h := g.Handler(http.HandlerFunc(noContent))
	for range 3 {
		assert.Equal(t, 204, status(h, "GET", "/livez"))
		assert.Equal(t, 204, status(h, "HEAD", "/readyz"))
	}
	assert.Equal(t, 204, status(h, "POST", "/livez"), "takes the only token")
	assert.Equal(t, 503, status(h, "POST", "/livez"))
	assert.Equal(t, 503, status(h, "GET", "/livez/"))
	assert.Equal(t, 204, status(h, "GET", "/livez"))

	g = newGuard(t, guard.Config{
		Limit:  guard.Limit{Rate: 0, Burst: 1},
		Exempt: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/static/") },
	})
	route, err := g.Route("r", guard.RouteConfig{Limit: guard.Limit{Rate: 0, Burst: 1}})
	require.NoError(t, err)
	h = g.Handler(http.StripPrefix("/static", route.Handler(http.HandlerFunc(noContent))))
	for range 3 {
		assert.Equal(t, 204, status(h, "GET", "/static/x"), "inner stages pass what the outer one does")
	}
	assert.Equal(t, 204, status(g.Handler(http.HandlerFunc(noContent)), "GET", "/livez"))
	assert.Equal(t, 503, status(g.Handler(http.HandlerFunc(noContent)), "GET", "/livez"))
}

func TestShadowRefusesNothing(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 0, Burst: 1}, Concurrency: guard.Concurrency{Max: 1}, Shadow: true})
	h := g.Handler(http.HandlerFunc(noContent))
	for range 5 {
		assert.Equal(t, 204, status(h, "GET", "/"))
	}
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Shadow = false }))
	assert.Equal(t, 503, status(h, "GET", "/"))
}

func status(h http.Handler, method, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code
}
