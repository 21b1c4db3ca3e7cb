package browsertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

// A world is a guarded server with load on it, as the pictures show it.
type world struct {
	guard                      *guard.Guard
	dash                       *dashboard.Dashboard
	cassandra, genesys, search *guard.Dependency
	handler                    http.Handler
	broken                     atomic.Bool   // Cassandra
	places                     chan struct{} // what the server can do at once
	addr                       string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g, err := guard.New(guard.Config{
		Limit:       guard.Limit{Rate: 1000, Burst: 500},
		Clients:     []guard.ClientLimit{{Limit: guard.Limit{Rate: 200, Burst: 200}}},
		Concurrency: guard.Concurrency{SelfTuned: true},
		Logger:      slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	w := &world{guard: g, addr: "127.0.0.1:0", places: make(chan struct{}, 8)}
	add := func(name string, c guard.DependencyConfig) *guard.Dependency {
		d, err := g.Dependency(name, c)
		require.NoError(t, err)
		return d
	}
	w.cassandra = add("cassandra", guard.DependencyConfig{
		Timeout: 600 * time.Millisecond, SlowCall: 250 * time.Millisecond, Concurrency: guard.Concurrency{Max: 64}, Required: true, OpenFor: 4 * time.Second,
	})
	w.genesys = add("genesys", guard.DependencyConfig{SlowCall: 500 * time.Millisecond, Concurrency: guard.Concurrency{Max: 16}, MinCalls: 20})
	w.search = add("search", guard.DependencyConfig{Concurrency: guard.Concurrency{SelfTuned: true}})
	add("mail", guard.DependencyConfig{})
	route := func(name string, c guard.RouteConfig) *guard.Route {
		r, err := g.Route(name, c)
		require.NoError(t, err)
		return r
	}
	mux := http.NewServeMux()
	handle := func(r *guard.Route, path string, ds ...*guard.Dependency) {
		mux.Handle("GET "+path, r.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) error {
			if err := w.work(r.Context()); err != nil {
				return err
			}
			for _, d := range ds {
				if err := d.Do(r.Context(), w.call(d)); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(rw, "ok")
			return err
		}))
	}
	handle(route("GET /visits/{id}", guard.RouteConfig{Needs: []*guard.Dependency{w.cassandra}, Concurrency: guard.Concurrency{SelfTuned: true}}), "/visits", w.cassandra)
	handle(route("POST /engagements", guard.RouteConfig{Priority: guard.PriorityCritical}), "/engagements", w.genesys)
	handle(route("GET /reports/{id}", guard.RouteConfig{Cost: 5, Limit: guard.Limit{Rate: 25, Burst: 20}, Priority: guard.PrioritySheddable}), "/reports", w.search)
	handle(route("GET /administration", guard.RouteConfig{}), "/administration")
	w.handler = g.Mux(mux)
	w.dash = dashboard.New(g, dashboard.Title("web engagement"))
	t.Cleanup(func() { require.NoError(t, w.dash.Close()) })
	return w
}

// work takes a place for 14 ms or so: with 8 of them, 570 requests a second.
func (w *world) work(ctx context.Context) error {
	select {
	case w.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.places }()
	time.Sleep(time.Duration((0.7 + 0.6*rand.Float64()) * 14e6))
	return nil
}

func (w *world) call(d *guard.Dependency) func(context.Context) error {
	return func(ctx context.Context) error {
		base := map[string]float64{"cassandra": 4, "genesys": 22, "search": 11}[d.Name()]
		if d == w.cassandra && w.broken.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
		took := time.Duration(base * (0.6 + rand.ExpFloat64()*0.4) * 1e6)
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return ctx.Err()
		}
		if d == w.genesys && rand.IntN(200) == 0 {
			return errors.New("not available")
		}
		return nil
	}
}

// load sends requests, of so many a second, until the test or stop ends.
func (w *world) load(t *testing.T, perSecond func() float64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		due := 0.0
		for ctx.Err() == nil {
			for due += perSecond() / 50; due >= 1; due-- {
				wg.Go(func() { w.request(ctx) })
			}
			<-tick.C
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func (w *world) request(ctx context.Context) {
	path := "/visits"
	switch n := rand.IntN(100); {
	case n < 20:
		path = "/engagements"
	case n < 24:
		path = "/reports"
	case n < 30:
		path = "/administration"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return
	}
	r.RemoteAddr = fmt.Sprintf("10.0.0.%d:1234", 1+rand.IntN(40))
	w.handler.ServeHTTP(&sink{header: http.Header{}}, r)
}

// A sink is a ResponseWriter that keeps nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}

// serve serves the dashboard, at the same address as the last time.
func (w *world) serve(t *testing.T) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", w.addr)
	require.NoError(t, err)
	w.addr = l.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("/debug/guard/", w.dash)
	s := &http.Server{Handler: mux, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			require.NoError(t, s.Close())
			require.ErrorIs(t, <-done, http.ErrServerClosed)
		})
	}
	t.Cleanup(stop)
	return "http://" + w.addr + "/debug/guard/", stop
}
