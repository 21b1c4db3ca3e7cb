package guard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A visit is a request that comes at an instant and takes a while, unless it is
// refused; and what became of it.
type visit struct {
	name      string
	at, takes time.Duration
	from      string // the client; "": 192.0.2.1
	priority  guard.Priority
	limit     time.Duration // of its context; 0: none
	leaves    time.Duration // when its client does; 0: never

	status int
	waited time.Duration // until it was served or refused
}

// A desk serves visits in a bubble: wrap is around what takes their time. It
// returns their names in the order in which they were served.
func desk(t *testing.T, wrap func(http.Handler) http.Handler, visits []*visit) (served []string) {
	t.Helper()
	type key struct{}
	start := time.Now()
	var mu sync.Mutex
	h := wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		v := r.Context().Value(key{}).(*visit)
		mu.Lock()
		v.waited = time.Since(start) - v.at
		served = append(served, v.name)
		mu.Unlock()
		time.Sleep(v.takes)
	}))
	var all sync.WaitGroup
	for _, v := range visits {
		all.Go(func() {
			time.Sleep(v.at)
			ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, v))
			defer cancel()
			if v.limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, v.limit)
				defer cancel()
			}
			if v.leaves > 0 {
				defer time.AfterFunc(v.leaves, cancel).Stop()
			}
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			r.Header.Set("Rank", v.priority.String())
			if v.from != "" {
				r.RemoteAddr = v.from + ":1234"
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			v.status = w.Code
			if v.status == http.StatusServiceUnavailable {
				v.waited = time.Since(start) - v.at
			}
		})
	}
	all.Wait()
	return served
}

func byRank(r *http.Request) (p guard.Priority) {
	_ = p.UnmarshalText([]byte(r.Header.Get("Rank")))
	return p
}

const ms = time.Millisecond

// Who waits is served by priority, then by what the client has had, then by time;
// nobody waits for longer than MaxWait, and who would is refused at once.
func TestBoundOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}, PriorityOf: byRank})
		desk(t, g.Handler, []*visit{{takes: 10 * ms}}) // so that it is known how long one takes
		visits := []*visit{
			{name: "first", at: 0, takes: 100 * ms},
			{name: "sheddable", at: 1 * ms, takes: 10 * ms, priority: guard.PrioritySheddable},
			{name: "a", at: 2 * ms, takes: 10 * ms},
			{name: "b", at: 3 * ms, takes: 10 * ms},
			{name: "critical", at: 4 * ms, takes: 10 * ms, priority: guard.PriorityCritical},
			{name: "c", at: 5 * ms, takes: 10 * ms},
		}
		require.Equal(t, []string{"first", "critical", "a", "b", "c", "sheddable"}, desk(t, g.Handler, visits))
		s := g.Snapshot().Requests
		require.Zero(t, s.InFlight)
		require.Zero(t, s.Bound.Waiting)
		require.Zero(t, s.Bound.Shed)
	})
}

// Where there are too many, who would be served last is refused, at once, and not
// who has just come.
func TestBoundRefusesTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: 250 * ms}, PriorityOf: byRank})
		desk(t, g.Handler, []*visit{{takes: 100 * ms}}) // so there is room for two to wait
		visits := []*visit{
			{name: "first", takes: 100 * ms},
			{name: "sheddable", at: ms, priority: guard.PrioritySheddable},
			{name: "normal", at: 2 * ms},
			{name: "critical", at: 3 * ms, priority: guard.PriorityCritical},
			{name: "too late", at: 4 * ms},
		}
		require.Equal(t, []string{"first", "critical", "normal"}, desk(t, g.Handler, visits))
		require.Equal(t, 2*ms, visits[1].waited)
		require.Zero(t, visits[4].waited)
		require.Equal(t, guard.ShedCounts{Normal: 1, Sheddable: 1}, g.Snapshot().Requests.Bound.Shed)
	})
}

// MaxWait is exact, where nothing comes back.
func TestBoundMaxWaitIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: 70 * ms}})
		visits := []*visit{{at: 0, takes: time.Hour}, {at: ms}, {at: 2 * ms}, {at: 3 * ms}, {at: 4 * ms}}
		desk(t, g.Handler, visits)
		for _, v := range visits[1:4] {
			require.Equal(t, 503, v.status)
			require.Equal(t, 70*ms, v.waited)
		}
		require.Zero(t, visits[4].waited, "as yet nobody knows how long it takes, but there are enough")
		require.EqualValues(t, 4, g.Snapshot().Requests.Counts.Refused.Overloaded)
		require.EqualValues(t, 4, g.Snapshot().Requests.Bound.Shed.Normal)
	})
}

// Of one priority, who has had the most of late is served last; but what was an
// hour ago is not of late.
func TestBoundIsFair(t *testing.T) {
	for name, test := range map[string]struct {
		later time.Duration
		want  []string
	}{
		"of late": {0, []string{"light", "heavy"}}, "an hour ago": {time.Hour, []string{"heavy", "light"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}})
				visits := []*visit{{at: 0, takes: ms}}
				for i := range 20 {
					visits = append(visits, &visit{at: time.Duration(i+1) * 1000, takes: ms, from: "192.0.2.7"})
				}
				desk(t, g.Handler, visits)
				time.Sleep(test.later)
				served := desk(t, g.Handler, []*visit{
					{takes: 10 * ms, name: "first"}, {at: ms, name: "heavy", from: "192.0.2.7"}, {at: 2 * ms, name: "light", from: "192.0.2.8"},
				})
				require.Equal(t, test.want, served[1:])
			})
		})
	}
}

// Who leaves is gone at once, and is nobody who was refused; who runs out of time
// is; and neither keeps a place, or holds anybody up.
func TestBoundLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{
			Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}, Limit: guard.Limit{Rate: 1e-6, Burst: 10},
			Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 1e-6, Burst: 10}}},
		})
		visits := []*visit{
			{name: "first", takes: 100 * ms},
			{name: "left", at: ms, leaves: 10 * ms},
			{name: "late", at: 2 * ms, limit: 20 * ms},
			{name: "third", at: 3 * ms},
		}
		require.Equal(t, []string{"first", "third"}, desk(t, g.Handler, visits))
		require.Equal(t, 20*ms, visits[2].waited)
		require.Equal(t, 97*ms, visits[3].waited)
		s := g.Snapshot().Requests
		require.EqualValues(t, 1, s.Counts.Canceled)
		require.EqualValues(t, 1, s.Counts.Refused.Overloaded)
		require.EqualValues(t, 1, s.Bound.Shed.Normal, "only who was out of time")
		require.InDelta(t, 8, s.Limit.Tokens, 1e-3, "who is refused pays nothing")
		require.Zero(t, s.InFlight)
	})
}

// Whatever Tune makes of the bound, who waits is let in as soon as there is room
// by the new one, and all places come back.
func TestBoundTuned(t *testing.T) {
	kinds := map[string]guard.Concurrency{
		"none": {}, "max": {Max: 2}, "many": {Max: 100}, "queue": {Max: 2, MaxWait: 50 * ms}, "long queue": {Max: 100, MaxWait: time.Second},
		"self-tuned": {SelfTuned: true}, "floor": {SelfTuned: true, Floor: 50}, "ceiling": {SelfTuned: true, Ceiling: 1, MaxWait: 5 * ms},
	}
	room := map[string]bool{"none": true, "many": true, "long queue": true, "floor": true}
	for from, before := range kinds {
		for to, after := range kinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGuard(t, guard.Config{Concurrency: before})
					var visits []*visit
					for i := range 12 {
						visits = append(visits, &visit{at: time.Duration(i), takes: 500 * ms})
					}
					waiting := 0
					go func() {
						time.Sleep(ms)
						synctest.Wait()
						waiting = g.Snapshot().Requests.Bound.Waiting
						assert.NoError(t, g.Tune(func(c *guard.Config) { c.Concurrency = after }))
						synctest.Wait()
						s := g.Snapshot().Requests
						assert.GreaterOrEqual(t, s.InFlight, int64(1))
						if room[to] {
							assert.Zero(t, s.Bound.Waiting)
						}
					}()
					served := len(desk(t, g.Handler, visits))
					s := g.Snapshot().Requests
					require.Zero(t, s.InFlight)
					require.Zero(t, s.Bound.Waiting)
					require.EqualValues(t, 12-served, s.Counts.Refused.Overloaded)
					if room[to] {
						refusedBefore := 0
						for _, v := range visits {
							if v.status == 503 && v.waited < ms {
								refusedBefore++
							}
						}
						require.Equal(t, 12-refusedBefore, served, "%d were waiting", waiting)
					}
					served = len(desk(t, g.Handler, []*visit{{}, {at: 1}, {at: 2}}))
					require.Equal(t, 3, served, "the next find their places")
				})
			})
		}
	}
}

// While Tune puts a bound there or takes it away, nobody is refused who would be
// by neither.
func TestBoundTuneRefusesNobody(t *testing.T) {
	g := newGuard(t, guard.Config{})
	h := g.Handler(http.HandlerFunc(noContent))
	var stop atomic.Bool
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for !stop.Load() {
				h.ServeHTTP(&sink{h: http.Header{}}, r)
			}
		})
	}
	for i := range 400 {
		require.NoError(t, g.Tune(func(c *guard.Config) {
			c.Concurrency = []guard.Concurrency{{}, {Max: 100, MaxWait: time.Second}, {SelfTuned: true, Floor: 100}}[i%3]
		}))
		runtime.Gosched()
	}
	stop.Store(true)
	work.Wait()
	s := g.Snapshot().Requests
	require.Zero(t, s.Counts.Refused.Overloaded)
	require.Zero(t, s.InFlight)
}

// Shutdown while some wait: they are served, and nobody after them.
func TestBoundShutdownWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}})
		time.AfterFunc(5*ms, func() { assert.NoError(t, g.Shutdown(context.Background())) })
		visits := []*visit{{name: "a", takes: 100 * ms}, {name: "b", at: ms}, {name: "c", at: 10 * ms}}
		require.Equal(t, []string{"a", "b"}, desk(t, g.Handler, visits))
		require.Zero(t, visits[2].waited)
		require.Zero(t, g.Snapshot().Requests.InFlight)
	})
}

// Shadow mode counts, and neither refuses nor lets anybody wait.
func TestBoundShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Shadow: true, Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}, PriorityOf: byRank})
		rt, err := g.Route("r", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}})
		require.NoError(t, err)
		visits := []*visit{{takes: 100 * ms}, {at: 1}, {at: 2, priority: guard.PriorityCritical}}
		served := desk(t, func(h http.Handler) http.Handler { return g.Handler(rt.Handler(h)) }, visits)
		require.Len(t, served, 3)
		for _, v := range visits {
			require.Equal(t, 200, v.status)
			require.Zero(t, v.waited)
		}
		s := g.Snapshot()
		require.Equal(t, guard.ShedCounts{Critical: 1, Normal: 1}, s.Requests.Bound.Shed)
		require.Zero(t, s.Requests.InFlight)
		require.Zero(t, s.Routes[0].InFlight)
	})
}

// Nested stages: who is refused by the inner one leaves nothing behind in the
// outer one, nor in any bucket.
func TestBoundNested(t *testing.T) {
	for name, mux := range map[string]bool{"handler": false, "mux": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 1e-6, Burst: 100}, Concurrency: guard.Concurrency{SelfTuned: true, Floor: 8}})
				rt, err := g.Route("r", guard.RouteConfig{
					Limit: guard.Limit{Rate: 1e-6, Burst: 100}, Cost: 5, Priority: guard.PriorityCritical,
					Concurrency: guard.Concurrency{Max: 1, MaxWait: 10 * ms},
				})
				require.NoError(t, err)
				visits := []*visit{{takes: time.Second}, {at: 1}, {at: 2}, {at: 3, leaves: ms}}
				desk(t, func(h http.Handler) http.Handler {
					if !mux {
						return g.Handler(rt.Handler(h))
					}
					m := http.NewServeMux()
					m.Handle("/", rt.Handler(h))
					return g.Mux(m)
				}, visits)
				s := g.Snapshot()
				require.InDelta(t, 95, s.Requests.Limit.Tokens, 1e-3)
				require.InDelta(t, 95, s.Routes[0].Limit.Tokens, 1e-3)
				require.Zero(t, s.Requests.InFlight)
				require.Zero(t, s.Routes[0].InFlight)
				require.Equal(t, guard.ShedCounts{Critical: 2}, s.Routes[0].Bound.Shed)
				require.Equal(t, 10*ms, visits[1].waited)
			})
		})
	}
}

// The mux knows the priority of the route that it will find.
func TestBoundPriorityOfMuxRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Second}})
		m := http.NewServeMux()
		var order []string
		for name, p := range map[string]guard.Priority{"low": guard.PrioritySheddable, "high": guard.PriorityCritical, "mid": guard.PriorityNormal} {
			rt, err := g.Route(name, guard.RouteConfig{Priority: p})
			require.NoError(t, err)
			m.Handle("/"+name+"/{id}", rt.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				order = append(order, name)
				time.Sleep(10 * ms)
			})))
		}
		h := g.Mux(m)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/mid/0", nil))
		order = nil
		var all sync.WaitGroup
		for i, name := range []string{"mid", "low", "mid", "high", "none"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * ms)
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/"+name+"/1", nil))
			})
		}
		all.Wait()
		require.Equal(t, []string{"mid", "high", "mid", "low"}, order)
	})
}
