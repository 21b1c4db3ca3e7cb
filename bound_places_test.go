package guard_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// In whatever way a request ends that had to wait, the next one gets its place.
func TestBoundPlacesComeBack(t *testing.T) {
	ends := map[string]func(w http.ResponseWriter){
		"return": func(http.ResponseWriter) {}, "panic": func(http.ResponseWriter) { panic("p") },
		"abort": func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "exit": func(http.ResponseWriter) { runtime.Goexit() },
		"flush":            func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"flush, panic":     func(w http.ResponseWriter) { w.(http.Flusher).Flush(); panic("p") },
		"flushes":          func(w http.ResponseWriter) { w.(http.Flusher).Flush(); w.(http.Flusher).Flush() },
		"hijack":           func(w http.ResponseWriter) { _, _, _ = w.(http.Hijacker).Hijack() },
		"flush and hijack": func(w http.ResponseWriter) { w.(http.Flusher).Flush(); _, _, _ = w.(http.Hijacker).Hijack() },
		"hijack and exit":  func(w http.ResponseWriter) { _, _, _ = w.(http.Hijacker).Hijack(); runtime.Goexit() },
		"hijack, panic":    func(w http.ResponseWriter) { _, _, _ = w.(http.Hijacker).Hijack(); panic("p") },
	}
	for name, c := range map[string]guard.Concurrency{"static": {Max: 2, MaxWait: time.Minute}, "self-tuned": {SelfTuned: true, Ceiling: 2}} {
		for end, f := range ends {
			t.Run(name+"/"+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGuard(t, guard.Config{Concurrency: c})
					rt, err := g.Route("r", guard.RouteConfig{Concurrency: c})
					require.NoError(t, err)
					fn := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { time.Sleep(ms); f(w) })
					handlers := []http.Handler{g.Handler(fn), rt.Handler(fn), g.Handler(rt.Handler(fn)), rt.Handler(g.Handler(fn))}
					var all sync.WaitGroup
					for i := range 200 {
						all.Go(func() {
							time.Sleep(time.Duration(i) * 300 * time.Microsecond)
							serveHere(handlers[i%len(handlers)], &hijackable{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
						})
					}
					all.Wait()
					s := g.Snapshot()
					require.Zero(t, s.Requests.InFlight)
					require.Zero(t, s.Requests.Bound.Waiting)
					require.Zero(t, s.Routes[0].InFlight)
					require.Zero(t, s.Routes[0].Bound.Waiting)
				})
			})
		}
	}
}

// User code that is asked for the priority, the key or an address panics, exits
// or calls back: no place is lost, and no lock held.
func TestBoundHostileUserCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *guard.Guard
		var h http.Handler
		depth := 0
		g = newGuard(t, guard.Config{
			Concurrency: guard.Concurrency{Max: 1, MaxWait: 20 * ms},
			PriorityOf: func(r *http.Request) guard.Priority {
				g.Snapshot()
				assert.NoError(t, g.Tune(func(c *guard.Config) { c.Support = "x" }))
				switch r.URL.Path {
				case "/panic":
					panic("p")
				case "/exit":
					runtime.Goexit()
				case "/again":
					if depth++; depth < 3 {
						h.ServeHTTP(httptest.NewRecorder(), r.Clone(context.Background()))
					}
				}
				return 99
			},
			Hooks: guard.Hooks{
				Refused:         func(context.Context, guard.RefusalEvent) { g.Snapshot(); panic("p") },
				OverloadChanged: func(context.Context, guard.OverloadEvent) { g.Snapshot(); runtime.Goexit() },
			},
		})
		h = g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				time.Sleep(time.Second)
			}
		}))
		var all sync.WaitGroup
		for i, path := range []string{"/", "/panic", "/exit", "/again", "/x"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * ms)
				serveHere(h, httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
			})
		}
		all.Wait()
		s := g.Snapshot().Requests
		require.Zero(t, s.InFlight)
		require.Zero(t, s.Bound.Waiting)
		time.Sleep(5 * time.Second)
		require.False(t, g.Snapshot().Requests.Bound.Shedding, "told to its end, though the hook exits")
	})
}

// A hostile context panics where it is asked for its end.
type hostileContext struct {
	context.Context
	done, err bool
}

func (h hostileContext) Done() <-chan struct{} {
	if h.done {
		panic("done")
	}
	return h.Context.Done()
}

func (h hostileContext) Err() error {
	if h.err {
		panic("err")
	}
	return h.Context.Err()
}

func TestBoundHostileContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: 20 * ms}})
		h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(10 * ms) }))
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * ms)
				r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(hostileContext{context.Background(), i == 1, i == 2})
				serveHere(h, httptest.NewRecorder(), r)
			})
		}
		all.Wait()
		s := g.Snapshot().Requests
		require.Zero(t, s.InFlight)
		require.Zero(t, s.Bound.Waiting)
	})
}

// Exempt requests, panics and hijacked connections teach a self-tuned bound
// nothing.
func TestBoundLearnsNothing(t *testing.T) {
	for name, f := range map[string]func(http.ResponseWriter){
		"panic": func(http.ResponseWriter) { panic("p") }, "abort": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"exit": func(http.ResponseWriter) { runtime.Goexit() }, "hijack": func(w http.ResponseWriter) { _, _, _ = w.(http.Hijacker).Hijack() },
		"exempt": nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}, Exempt: func(*http.Request) bool { return f == nil }})
				h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(ms)
					if f != nil {
						f(w)
					}
				}))
				for range 500 {
					done := make(chan bool)
					go func() {
						defer close(done)
						serveHere(h, &hijackable{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
					}()
					<-done
				}
				require.Zero(t, g.Snapshot().Requests.Bound.NoQueue)
			})
		})
	}
}

// Many at once: never more than Max are inside, no place and no wake-up is lost,
// and what was told adds up.
func TestBoundUnderLoad(t *testing.T) {
	const most, workers, each = 3, 16, 400
	var inside, over, served, refused atomic.Int64
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: most, MaxWait: time.Minute}, PriorityOf: byRank})
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if inside.Add(1) > most {
			over.Add(1)
		}
		runtime.Gosched()
		inside.Add(-1)
		served.Add(1)
	}))
	var work sync.WaitGroup
	for i := range workers {
		work.Go(func() {
			for range each {
				ctx, cancel := context.WithCancel(context.Background())
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
				r.RemoteAddr = "192.0.2." + strconv.Itoa(i) + ":1"
				r.Header.Set("Rank", guard.Priority(rand.IntN(3)).String())
				if rand.IntN(8) == 0 {
					go cancel()
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				cancel()
				if w.Code == http.StatusServiceUnavailable {
					refused.Add(1)
				}
			}
		})
	}
	work.Wait()
	s := g.Snapshot().Requests
	require.Zero(t, over.Load())
	require.Zero(t, s.InFlight)
	require.Zero(t, s.Bound.Waiting)
	c := s.Counts
	require.EqualValues(t, workers*each, c.Served+c.Canceled+c.Refused.Overloaded)
	require.EqualValues(t, refused.Load(), c.Refused.Overloaded)
	require.GreaterOrEqual(t, served.Load(), int64(c.Served))
}
