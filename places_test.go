package guard_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// In whatever way a request ends, the next one finds the place in flight free.
func TestGuarantee3PlacesInFlightComeBack(t *testing.T) {
	hijack := func(w http.ResponseWriter) {
		_, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
	}
	for _, end := range []struct {
		name   string
		handle guard.HandlerFunc
	}{
		{"return", func(http.ResponseWriter, *http.Request) error { return nil }},
		{"an error", func(http.ResponseWriter, *http.Request) error { return errors.New(secret) }},
		{"an error after the header", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			return errors.New(secret)
		}},
		{"a panic", func(http.ResponseWriter, *http.Request) error { panic(secret) }},
		{"a panic after the header", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			panic(secret)
		}},
		{"http.ErrAbortHandler", func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }},
		{"runtime.Goexit", func(http.ResponseWriter, *http.Request) error { runtime.Goexit(); return nil }},
		{"a hijack", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); return nil }},
		{"a panic after a hijack", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); panic(secret) }},
		{"an error after a hijack", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); return errors.New(secret) }},
		{"Goexit after a hijack", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); runtime.Goexit(); return nil }},
	} {
		one := guard.Concurrency{Max: 1}
		route := func(t *testing.T, c guard.Config) (*guard.Guard, *guard.Route) {
			t.Helper()
			g := newGuard(t, c)
			rt, err := g.Route("route", guard.RouteConfig{Concurrency: one})
			require.NoError(t, err)
			return g, rt
		}
		for _, place := range []struct {
			name string
			wrap func(*testing.T, guard.HandlerFunc) http.Handler
		}{
			{"guard", func(t *testing.T, fn guard.HandlerFunc) http.Handler {
				t.Helper()
				return newGuard(t, guard.Config{Concurrency: one}).HandlerFunc(fn)
			}},
			{"route", func(t *testing.T, fn guard.HandlerFunc) http.Handler {
				t.Helper()
				_, rt := route(t, guard.Config{})
				return rt.HandlerFunc(fn)
			}},
			{"both", func(t *testing.T, fn guard.HandlerFunc) http.Handler {
				t.Helper()
				_, rt := route(t, guard.Config{Concurrency: one})
				return rt.HandlerFunc(fn)
			}},
			{"nested", func(t *testing.T, fn guard.HandlerFunc) http.Handler {
				t.Helper()
				g, rt := route(t, guard.Config{Concurrency: one})
				return g.Handler(rt.HandlerFunc(fn))
			}},
		} {
			t.Run(end.name+"/"+place.name, func(t *testing.T) {
				served := 0
				h := place.wrap(t, func(w http.ResponseWriter, r *http.Request) error {
					served++
					return end.handle(w, r)
				})
				conn, peer := net.Pipe()
				defer conn.Close()
				defer peer.Close()
				for range 1000 {
					ended := make(chan struct{})
					go func() {
						defer close(ended)
						serveHere(h, &hijackable{ResponseRecorder: httptest.NewRecorder(), conn: conn}, httptest.NewRequest(http.MethodGet, "/", nil))
					}()
					<-ended
				}
				require.Equal(t, 1000, served)
			})
		}
	}
}

// The same over a server, where the connection is what is left.
func TestGuarantee3GoexitAndHijackOverAServer(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}})
	conns, returned := make(chan net.Conn, 1), make(chan struct{}, 1)
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/exit":
			runtime.Goexit()
		case "/hijack":
			conn, _, err := http.NewResponseController(w).Hijack()
			assert.NoError(t, err)
			conns <- conn
		}
	}))
	server := serveOn(t, "HTTP/1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { returned <- struct{}{} }()
		h.ServeHTTP(w, r)
	}))
	for range 3 {
		require.Error(t, fetch(t, server, http.MethodPost, "/exit", "").err) // a GET would be tried again
		<-returned
		client, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(client, "GET /hijack HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		conn := <-conns
		<-returned
		require.Equal(t, http.StatusOK, fetch(t, server, http.MethodGet, "/", "").status, "the connection is open, but no request is in flight")
		<-returned
		conn.Close()
		client.Close()
	}
}

// Guarantee 3: a hijacked connection is no request in flight any more.
func TestGuarantee3HijackFreesThePlaceAtOnce(t *testing.T) {
	for name, wrap := range map[string]func(g *guard.Guard, h http.Handler) http.Handler{
		"guard":       func(g *guard.Guard, h http.Handler) http.Handler { return g.Handler(h) },
		"guard twice": func(g *guard.Guard, h http.Handler) http.Handler { return g.Handler(g.Handler(h)) },
	} {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}})
		hijacked, done := make(chan struct{}), make(chan struct{})
		server := serveOn(t, "HTTP/1.1", wrap(g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/socket" {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				defer conn.Close()
			}
			close(hijacked)
			<-done
		})))
		socket := make(chan error, 1)
		go func() {
			resp, err := http.Get(server.URL + "/socket")
			if err == nil {
				_ = resp.Body.Close()
			}
			socket <- err
		}()
		<-hijacked
		resp, err := http.Get(server.URL + "/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, name)
		close(done)
		require.Error(t, <-socket)
	}
}

// Guarantee 5: a response that was begun around a stage is begun for it too.
func TestGuarantee5BegunAroundAStage(t *testing.T) {
	g := newGuard(t, guard.Config{})
	dry := newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(1)})
	require.Equal(t, 1, admitted(dry.Handler(ok), "", 1))
	for name, inner := range map[string]http.Handler{
		"error":   g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return guard.NotFound("none") }),
		"panic":   g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("inside") })),
		"refusal": dry.Handler(ok),
	} {
		w := httptest.NewRecorder()
		h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "part")
			inner.ServeHTTP(w, r)
		}))
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil)) }, name)
		require.Equal(t, "part", w.Body.String(), name)
	}
}

// A call that has given its place back early does not, as it ends, let in more
// than may be.
func TestPlacesOfThoseWhoLeaveEarly(t *testing.T) {
	d, err := newGuard(t, guard.Config{}).Dependency("api", guard.DependencyConfig{Timeout: guard.NoTimeout})
	require.NoError(t, err)
	rt := d.Transport(base(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(nil)}, nil
	}))
	for range 10 {
		require.NoError(t, d.Tune(func(c *guard.DependencyConfig) { c.Concurrency.Max = 0 }))
		bodies := make([]io.Closer, 20_000)
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://api.test/", http.NoBody)
		require.NoError(t, err)
		for i := range bodies {
			resp, err := rt.RoundTrip(r)
			require.NoError(t, err)
			bodies[i] = resp.Body
		}
		require.NoError(t, d.Tune(func(c *guard.DependencyConfig) { c.Concurrency.Max = 1 }))
		_, held, err := d.Acquire(context.Background()) // the one place
		require.NoError(t, err)
		var over atomic.Bool
		var extra atomic.Int64
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for !over.Load() {
					_ = d.Do(context.Background(), func(context.Context) error {
						extra.Add(1)
						return nil
					})
				}
			})
		}
		for _, b := range bodies {
			_ = b.Close()
		}
		over.Store(true)
		all.Wait()
		held.Done(nil)
		require.Zero(t, extra.Load(), "calls beside the one that has the place")
	}
}
