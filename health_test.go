package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

func TestHealth(t *testing.T) {
	for _, protocol := range protocols {
		for _, draining := range []bool{false, true} {
			g := newGuard(t, guard.Config{})
			mux := http.NewServeMux()
			mux.Handle("/livez", g.Live())
			mux.Handle("/readyz", g.Ready())
			server := serveOn(t, protocol, mux)
			if draining {
				g.Drain()
			}
			for _, test := range []struct {
				path, body string
				status     int
				draining   bool
			}{
				{"/livez", "{\"status\":\"pass\"}\n", http.StatusOK, false},
				{"/livez?verbose", "[+]server ok\nlivez check passed\n", http.StatusOK, false},
				{"/livez", "{\"status\":\"pass\"}\n", http.StatusOK, true},
				{"/livez?verbose", "[+]server ok\nlivez check passed\n", http.StatusOK, true},
				{"/readyz", "{\"status\":\"pass\"}\n", http.StatusOK, false},
				{"/readyz?verbose=0", "[+]server ok\nreadyz check passed\n", http.StatusOK, false},
				{"/readyz", "{\"status\":\"fail\",\"phase\":\"draining\"}\n", http.StatusServiceUnavailable, true},
				{"/readyz?a&verbose", "[-]server failed: draining\nreadyz check failed\n", http.StatusServiceUnavailable, true},
			} {
				if test.draining != draining {
					continue
				}
				t.Run(protocol+test.path, func(t *testing.T) {
					got := fetch(t, server, http.MethodGet, test.path, "")
					require.NoError(t, got.err)
					require.Equal(t, test.status, got.status)
					require.Equal(t, test.body, got.body)
					require.Equal(t, "no-store", got.header.Get("Cache-Control"))
					require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
					if json.Valid([]byte(test.body)) {
						require.Equal(t, "application/json", got.header.Get("Content-Type"))
					} else {
						require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
					}
					head := fetch(t, server, http.MethodHead, test.path, "")
					require.NoError(t, head.err)
					require.Equal(t, test.status, head.status)
					require.Empty(t, head.body)
					require.Equal(t, got.header.Get("Content-Type"), head.header.Get("Content-Type"))
					w := httptest.NewRecorder() // which, unlike a server, keeps the body of a HEAD
					mux.ServeHTTP(w, httptest.NewRequest(http.MethodHead, test.path, nil))
					require.Empty(t, w.Body)
				})
			}
		}
	}
}

// Overload is no reason to leave, and the probes are not limited.
func TestHealthUnderOverload(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: tokens(1), Concurrency: guard.Concurrency{Max: 1}})
	mux := http.NewServeMux()
	mux.Handle("/livez", g.Live())
	mux.Handle("/readyz", g.Ready())
	mux.HandleFunc("/", noContent)
	h := g.Mux(mux)
	require.Equal(t, http.StatusNoContent, status(h, http.MethodGet, "/"))
	for range 10 {
		require.Equal(t, http.StatusServiceUnavailable, status(h, http.MethodGet, "/"))
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			require.Equal(t, http.StatusOK, status(h, method, "/livez"))
			require.Equal(t, http.StatusOK, status(h, method, "/readyz"))
		}
	}
	require.Equal(t, http.StatusServiceUnavailable, status(h, http.MethodPost, "/livez"))
}

// While it drains, a server asks for each connection to be closed, whatever it
// answers on it. With HTTP/2 that is a GOAWAY, after which a client opens
// another one.
func TestDrainClosesConnections(t *testing.T) {
	for _, protocol := range protocols {
		for path, want := range map[string]int{
			"/":        http.StatusNoContent,
			"/error":   http.StatusForbidden,
			"/panic":   http.StatusInternalServerError,
			"/nowhere": http.StatusNotFound,
			"/readyz":  http.StatusServiceUnavailable,
			"/limited": http.StatusServiceUnavailable,
		} {
			t.Run(protocol+path, func(t *testing.T) {
				g := newGuard(t, guard.Config{})
				limited, err := g.Route("limited", guard.RouteConfig{Limit: tokens(1)})
				require.NoError(t, err)
				mux := http.NewServeMux()
				mux.HandleFunc("/{$}", noContent)
				mux.Handle("/error", g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return guard.Forbidden("") }))
				mux.Handle("/panic", g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { panic(secret) }))
				mux.Handle("/readyz", g.Ready())
				all := http.NewServeMux()
				all.Handle("/", g.Mux(mux))
				all.Handle("/limited", limited.Handler(http.HandlerFunc(noContent)))
				server := serveOn(t, protocol, all)
				fetch(t, server, http.MethodGet, "/limited", "") // takes the only token
				for range 2 {
					got := fetch(t, server, http.MethodGet, path, "")
					require.NoError(t, got.err)
					require.True(t, got.reused, "a connection is kept before")
				}
				g.Drain()
				g.Drain()
				got := fetch(t, server, http.MethodGet, path, "")
				require.NoError(t, got.err)
				require.Equal(t, want, got.status, "requests are still served")
				for tries := 0; ; tries++ { // the client may not have read the GOAWAY yet
					got := fetch(t, server, http.MethodGet, path, "")
					require.NoError(t, got.err)
					require.Equal(t, want, got.status)
					if !got.reused {
						break
					}
					require.Equal(t, "HTTP/2.0", protocol)
					require.Less(t, tries, 1000, "the connection is still in use")
				}
			})
		}
	}
}

// stoppable is a server of whose Shutdown a test hears.
type stoppable func(context.Context) error

func (s stoppable) Shutdown(ctx context.Context) error { return s(ctx) }

// fakeServer takes a while to shut down.
type fakeServer struct {
	takes time.Duration
	err   error
	began time.Time
}

func (s *fakeServer) Shutdown(ctx context.Context) error {
	s.began = time.Now()
	select {
	case <-time.After(s.takes):
		return s.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestShutdownOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{DrainDelay: 5 * time.Second})
		h, ready := g.Handler(http.HandlerFunc(noContent)), g.Ready()
		servers := []*fakeServer{{takes: 3 * time.Second}, {takes: 2 * time.Second}, {}}
		start := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- g.Shutdown(t.Context(), servers[0], servers[1], servers[2]) }()
		synctest.Wait()
		require.Equal(t, http.StatusServiceUnavailable, status(ready, http.MethodGet, "/"), "at once")
		require.Equal(t, http.StatusNoContent, status(h, http.MethodGet, "/"))
		require.NoError(t, g.Tune(func(c *guard.Config) { c.DrainDelay = 0 }), "comes too late for a shutdown under way")
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		require.Equal(t, http.StatusNoContent, status(h, http.MethodGet, "/"), "to the last moment")
		time.Sleep(time.Nanosecond)
		synctest.Wait()

		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Equal(t, "close", w.Header().Get("Connection"))
		require.Contains(t, w.Body.String(), `"code":"draining"`)
		require.Equal(t, http.StatusNoContent, status(h, http.MethodGet, "/livez"), "what is exempt is served")

		require.NoError(t, <-ended)
		require.Equal(t, 8*time.Second, time.Since(start), "the servers shut down side by side")
		for i, s := range servers {
			require.Equal(t, 5*time.Second, s.began.Sub(start), "server %d", i)
		}
		require.Equal(t, http.StatusServiceUnavailable, status(h, http.MethodGet, "/"), "for good")
		g.Drain()
		require.Equal(t, http.StatusServiceUnavailable, status(h, http.MethodGet, "/"), "Drain does not go back")
		require.Equal(t, http.StatusServiceUnavailable, status(ready, http.MethodGet, "/"))
	})
}

func TestShutdownEnds(t *testing.T) {
	errOne, errTwo := errors.New("one"), errors.New("two")
	for _, test := range []struct {
		name    string
		delay   time.Duration
		patient time.Duration
		servers []*fakeServer
		want    []error // nil: no error
		takes   time.Duration
	}{
		{"with no server", 0, time.Hour, nil, nil, 0},
		{"with no server, after the delay", time.Second, time.Hour, nil, nil, time.Second},
		{"without a delay", 0, time.Hour, []*fakeServer{{}}, nil, 0},
		{"with the errors of all servers", 0, time.Hour, []*fakeServer{{err: errOne}, {}, {err: errTwo, takes: time.Second}}, []error{errOne, errTwo}, time.Second},
		{"with ctx, in the delay", time.Hour, time.Second, []*fakeServer{{}}, []error{context.DeadlineExceeded}, time.Second},
		{"with ctx, in the delay with no server", time.Hour, time.Second, nil, []error{context.DeadlineExceeded}, time.Second},
		{"with ctx, in a server", time.Second, 3 * time.Second, []*fakeServer{{takes: time.Hour}, {err: errOne}}, []error{context.DeadlineExceeded, errOne}, 3 * time.Second},
		{"with ctx, at the start", time.Hour, 0, []*fakeServer{{takes: time.Hour}}, []error{context.DeadlineExceeded}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, guard.Config{DrainDelay: test.delay})
				ctx, cancel := context.WithTimeout(t.Context(), test.patient)
				defer cancel()
				var servers []interface{ Shutdown(context.Context) error }
				for _, s := range test.servers {
					servers = append(servers, s)
				}
				start := time.Now()
				err := g.Shutdown(ctx, servers...)
				require.Equal(t, test.takes, time.Since(start))
				if test.want == nil {
					require.NoError(t, err)
				}
				for _, want := range test.want {
					require.ErrorIs(t, err, want)
				}
				for _, s := range test.servers {
					require.False(t, s.began.IsZero(), "every server is shut down, whatever happens")
				}
				h := g.Handler(http.HandlerFunc(noContent))
				require.Equal(t, http.StatusServiceUnavailable, status(h, http.MethodGet, "/"))
			})
		})
	}
}

// Two calls at once are two calls: both see the servers shut down.
func TestShutdownRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{DrainDelay: time.Second})
		var calls atomic.Int32
		server := stoppable(func(context.Context) error {
			calls.Add(1)
			return nil
		})
		ended := make(chan error, 3)
		for range 3 {
			go func() { ended <- g.Shutdown(t.Context(), server) }()
		}
		for range 3 {
			require.NoError(t, <-ended)
		}
		require.EqualValues(t, 3, calls.Load())
		require.NoError(t, g.Shutdown(t.Context()))
	})
}

// A server under traffic: nothing that has begun is cut, and nothing is refused
// before the servers are told to shut down.
func TestShutdownUnderTraffic(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := newGuard(t, guard.Config{DrainDelay: 50 * time.Millisecond})
			entered, finish := make(chan struct{}), make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/readyz", g.Ready())
			mux.HandleFunc("/", noContent)
			mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) {
				close(entered)
				<-finish
			})
			server := serveOn(t, protocol, g.Mux(mux))
			slow, ended := make(chan reply, 1), make(chan error, 1)
			go func() { slow <- fetch(t, server, http.MethodGet, "/slow", "") }()
			<-entered
			require.Equal(t, http.StatusOK, fetch(t, server, http.MethodGet, "/readyz", "").status)

			told, proceed := make(chan struct{}), make(chan struct{})
			go func() {
				ended <- g.Shutdown(t.Context(), stoppable(func(ctx context.Context) error {
					close(told)
					<-proceed
					return server.Config.Shutdown(ctx)
				}))
			}()
			served := 0
			for refused := false; !refused; {
				ready := fetch(t, server, http.MethodGet, "/readyz", "")
				got := fetch(t, server, http.MethodGet, "/", "")
				require.NoError(t, got.err)
				switch got.status {
				case http.StatusNoContent:
					if ready.status == http.StatusServiceUnavailable {
						served++
					}
				default:
					refused = true
					<-told // not before
					require.Equal(t, http.StatusServiceUnavailable, got.status)
					require.Equal(t, "1", got.header.Get("Retry-After"))
					require.Contains(t, got.body, `"code":"draining"`)
				}
			}
			require.Positive(t, served, "requests are served while readiness fails")
			require.Equal(t, http.StatusServiceUnavailable, fetch(t, server, http.MethodGet, "/readyz", "").status)

			close(proceed)
			select {
			case err := <-ended:
				t.Fatalf("Shutdown returned %v with a request in flight", err)
			default:
			}
			address := server.Listener.Addr().String()
			require.Eventually(t, func() bool {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					conn.Close()
				}
				return err != nil
			}, 10*time.Second, time.Millisecond, "no connection is accepted any more")
			select {
			case err := <-ended:
				t.Fatalf("Shutdown returned %v with a request in flight", err)
			default:
			}
			close(finish)
			require.NoError(t, <-ended)
			got := <-slow
			require.NoError(t, got.err)
			require.Equal(t, http.StatusOK, got.status)
		})
	}
}

// When patience ends before the requests do, Shutdown says so.
func TestShutdownCutShort(t *testing.T) {
	g := newGuard(t, guard.Config{})
	entered, finish := make(chan struct{}), make(chan struct{})
	server := serveOn(t, "HTTP/1.1", g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-finish
	})))
	slow := make(chan reply, 1)
	go func() { slow <- fetch(t, server, http.MethodGet, "/", "") }()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	err := g.Shutdown(ctx, stoppable(func(ctx context.Context) error {
		cancel()
		return server.Config.Shutdown(ctx)
	}))
	require.ErrorIs(t, err, context.Canceled)
	close(finish)
	got := <-slow
	assert.NoError(t, got.err, "what was in flight is not cut by the guard")
}
