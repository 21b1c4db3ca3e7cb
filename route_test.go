package guard_test

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

func newRoute(tb testing.TB, g *guard.Guard, name string, c guard.RouteConfig) *guard.Route {
	tb.Helper()
	r, err := g.Route(name, c)
	require.NoError(tb, err)
	return r
}

// byHeader is a client's key.
func byHeader(r *http.Request) string { return r.Header.Get("Client") }

// tokens is a limit whose buckets hold n, and never get another token.
func tokens(n int) guard.Limit { return guard.Limit{Burst: n} }

func ask(h http.Handler, client string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Client", client)
	h.ServeHTTP(w, r)
	return w
}

func admitted(h http.Handler, client string, tries int) (n int) {
	for range tries {
		if ask(h, client).Code == http.StatusNoContent {
			n++
		}
	}
	return n
}

var ok = http.HandlerFunc(noContent)

// Guarantee 2: a request refused at any stage leaves every other bucket as it was.
func TestGuarantee2RefusedRequestsCostNobodyAnything(t *testing.T) {
	for _, nested := range []bool{false, true} {
		g := newGuard(t, guard.Config{Limit: tokens(10), Clients: []guard.ClientLimit{{Limit: tokens(6), Key: byHeader}}})
		small := newRoute(t, g, "small", guard.RouteConfig{Limit: tokens(1)})
		dear := newRoute(t, g, "dear", guard.RouteConfig{Cost: 5, Clients: []guard.ClientLimit{{Limit: tokens(5), Key: byHeader}}})
		full := newRoute(t, g, "full", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 1}})
		wrap := func(h http.Handler) http.Handler {
			if nested {
				return g.Handler(h)
			}
			return h
		}
		// Its handler asks again while the one place is taken.
		var again http.Handler
		busy := wrap(full.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				for range 20 {
					assert.Equal(t, http.StatusServiceUnavailable, ask(again, r.Header.Get("Client")).Code)
				}
			}
			noContent(w, r)
		})))
		again = busy

		assert.Equal(t, 1, admitted(wrap(small.Handler(ok)), "a", 20), "a: 5 left of 6, all: 9 of 10")
		assert.Equal(t, 1, admitted(wrap(dear.Handler(ok)), "a", 20), "a: 0 left, all: 4")
		assert.Equal(t, 0, admitted(wrap(dear.Handler(ok)), "b", 20), "costs 5, all: 4")
		assert.Equal(t, 1, admitted(busy, "b", 1), "b: 5, all: 3")
		assert.Equal(t, 3, admitted(wrap(ok), "b", 20)-boolToInt(!nested)*17, "all: 0")
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Nested handlers of one guard count once, whatever stands between them, as long
// as the writers unwrap.
func TestNestedHandlersCountOnce(t *testing.T) {
	unwraps := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&statusRecorder{ResponseWriter: w}, r) })
	}
	hides := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(struct{ http.ResponseWriter }{w}, r) })
	}
	for name, test := range map[string]struct {
		stack func(g *guard.Guard, cheap, dear, dearer *guard.Route) http.Handler
		want  int // of 60 tokens
	}{
		"route":        {func(_ *guard.Guard, cheap, _, _ *guard.Route) http.Handler { return cheap.Handler(ok) }, 60},
		"guard":        {func(g *guard.Guard, _, _, _ *guard.Route) http.Handler { return g.Handler(ok) }, 60},
		"guard, guard": {func(g *guard.Guard, _, _, _ *guard.Route) http.Handler { return g.Handler(g.Handler(ok)) }, 60},
		"guard, route": {func(g *guard.Guard, cheap, _, _ *guard.Route) http.Handler { return g.Handler(cheap.Handler(ok)) }, 60},
		"dear":         {func(_ *guard.Guard, _, dear, _ *guard.Route) http.Handler { return dear.Handler(ok) }, 20},
		"guard, dear":  {func(g *guard.Guard, _, dear, _ *guard.Route) http.Handler { return g.Handler(dear.Handler(ok)) }, 20},
		"dear, guard":  {func(g *guard.Guard, _, dear, _ *guard.Route) http.Handler { return dear.Handler(g.Handler(ok)) }, 20},
		"dear, dearer": {func(_ *guard.Guard, _, dear, dearer *guard.Route) http.Handler {
			return dear.Handler(dearer.Handler(ok))
		}, 10},
		"dearer, dear": {func(_ *guard.Guard, _, dear, dearer *guard.Route) http.Handler {
			return dearer.Handler(dear.Handler(ok))
		}, 10},
		"guard, unwraps, dear": {func(g *guard.Guard, _, dear, _ *guard.Route) http.Handler {
			return g.Handler(unwraps(dear.Handler(ok)))
		}, 20},
		"guard, hides, dear": {func(g *guard.Guard, _, dear, _ *guard.Route) http.Handler { return g.Handler(hides(dear.Handler(ok))) }, 15},
		"guard, mux, dear": {func(g *guard.Guard, _, dear, _ *guard.Route) http.Handler {
			m := http.NewServeMux()
			m.Handle("/", dear.Handler(ok))
			return g.Mux(m)
		}, 20},
		"guard of another, dear": {func(_ *guard.Guard, _, dear, _ *guard.Route) http.Handler {
			return newGuard(t, guard.Config{Limit: tokens(60)}).Handler(dear.Handler(ok))
		}, 20},
	} {
		for _, byClient := range []bool{false, true} {
			c := guard.Config{Limit: tokens(60)}
			if byClient {
				c = guard.Config{Clients: []guard.ClientLimit{{Limit: tokens(60)}}}
			}
			g := newGuard(t, c)
			h := test.stack(g, newRoute(t, g, "cheap", guard.RouteConfig{}), newRoute(t, g, "dear", guard.RouteConfig{Cost: 3}),
				newRoute(t, g, "dearer", guard.RouteConfig{Cost: 6}))
			assert.Equal(t, test.want, admitted(h, "", 100), "%s, by client: %v", name, byClient)
		}
	}
}

// The bound of the guard counts a request once, however many stages it has.
func TestNestedHandlersAreInFlightOnce(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}})
	route := newRoute(t, g, "r", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 1}})
	h := g.Handler(g.Handler(route.Handler(ok)))
	assert.Equal(t, 10, admitted(h, "", 10))
}

// Guarantee 4: a client that waits exactly as long as it is told, and is alone,
// is admitted; it is told the longest time over all buckets.
func TestGuarantee4TheRightNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(200) {
			r := rand.New(rand.NewPCG(seed, 3))
			limit := func(least int) guard.Limit {
				if r.IntN(3) == 0 {
					return guard.Limit{}
				}
				return guard.Limit{Rate: []rate.Limit{0.01, 0.3, 1, 2.5, 100}[r.IntN(5)], Burst: least + r.IntN(4)}
			}
			cost := 1 + r.IntN(4)
			g := newGuard(t, guard.Config{Limit: limit(cost), Clients: []guard.ClientLimit{{Limit: limit(cost)}, {Limit: limit(cost), Key: byHeader}}})
			route := newRoute(t, g, "r", guard.RouteConfig{Limit: limit(cost), Cost: cost, Clients: []guard.ClientLimit{{Limit: limit(cost)}}})
			h := route.Handler(ok)
			stages := 1
			if r.IntN(2) == 0 {
				h = g.Handler(h)
				stages = 2 // each of which answers for itself
			}
			other := g.Handler(ok)
			for range 30 {
				if r.IntN(3) == 0 {
					ask(other, strconv.Itoa(r.IntN(3)))
				}
				w := ask(h, "a")
				if w.Code == http.StatusNoContent {
					time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
					continue
				}
				for stage := 0; stage < stages && w.Code != http.StatusNoContent; stage++ {
					require.Equal(t, http.StatusServiceUnavailable, w.Code)
					wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
					require.NoError(t, err)
					require.Positive(t, wait)
					time.Sleep(time.Duration(wait) * time.Second)
					w = ask(h, "a")
				}
				require.Equal(t, http.StatusNoContent, w.Code, "%+v %+v", g.Config(), route.Config())
			}
		}
	})
}

// Guarantee 3: places in flight come back, and there are never more than allowed.
func TestGuarantee3PlacesComeBack(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 3}})
	route := newRoute(t, g, "r", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 2}})
	var in, most, served atomic.Int64
	h := g.Handler(route.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := in.Add(1)
		for m := most.Load(); n > m; m = most.Load() {
			most.CompareAndSwap(m, n)
		}
		defer in.Add(-1)
		if served.Add(1)%3 == 0 {
			panic("now and then")
		}
	})))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				ask(h, "")
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, most.Load(), int64(2))
	assert.Positive(t, served.Load())
	for range 10 {
		before := served.Load()
		ask(h, "")
		assert.Equal(t, before+1, served.Load(), "all places are free")
	}
}

func TestRouteErrorsNameFieldAndValue(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: tokens(3), Clients: []guard.ClientLimit{{Limit: tokens(4)}}})
	newRoute(t, g, "taken", guard.RouteConfig{})
	for _, test := range []struct {
		name   string
		config guard.RouteConfig
		want   []string
	}{
		{"", guard.RouteConfig{}, []string{`name`, `""`}},
		{"taken", guard.RouteConfig{}, []string{`"taken"`}},
		{"r", guard.RouteConfig{Limit: guard.Limit{Rate: -1}}, []string{`"r"`, "Limit.Rate", "-1"}},
		{"r", guard.RouteConfig{Limit: guard.Limit{Burst: -1}}, []string{"Limit.Burst", "-1"}},
		{"r", guard.RouteConfig{Clients: []guard.ClientLimit{{Limit: guard.Limit{Burst: -1}}}}, []string{"Clients[0].Limit.Burst", "-1"}},
		{"r", guard.RouteConfig{Concurrency: guard.Concurrency{Max: -2}}, []string{"Concurrency.Max", "-2"}},
		{"r", guard.RouteConfig{Cost: -3}, []string{"Cost", "-3"}},
		{"r", guard.RouteConfig{Cost: 4}, []string{"Cost", "4", "Limit.Burst", "3"}},
		{"r", guard.RouteConfig{Cost: 2, Limit: tokens(1)}, []string{"Cost", "2", "Limit.Burst", "1"}},
		{"r", guard.RouteConfig{Cost: 2, Clients: []guard.ClientLimit{{Limit: tokens(1)}}}, []string{"Cost", "2", "Clients[0].Limit.Burst", "1"}},
	} {
		route, err := g.Route(test.name, test.config)
		assert.Nil(t, route)
		for _, want := range test.want {
			require.ErrorContains(t, err, want)
		}
	}
	route := newRoute(t, g, "r", guard.RouteConfig{Cost: 3})
	assert.Equal(t, "r", route.Name())
	assert.Equal(t, guard.RouteConfig{Cost: 3}, route.Config())
}

// Guarantee 2 gives back what a refused request took, not what work was done for.
func TestServedWorkIsPaidFor(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: tokens(3)})
	work := newRoute(t, g, "work", guard.RouteConfig{})
	dry := newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(1)})
	require.Equal(t, 1, admitted(dry.Handler(ok), "", 5), "dry for ever; 2 tokens left")
	served := 0
	batch := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		work.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })).ServeHTTP(w, r)
		dry.Handler(ok).ServeHTTP(w, r)
		dry.Handler(ok).ServeHTTP(httptest.NewRecorder(), r)
	}))
	for range 10 {
		ask(batch, "")
	}
	assert.Equal(t, 2, served)

	// Nor does a request that is refused twice get its tokens back twice.
	g = newGuard(t, guard.Config{Limit: tokens(3)})
	dry = newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(1)})
	require.Equal(t, 1, admitted(dry.Handler(ok), "", 5))
	twice := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			dry.Handler(ok).ServeHTTP(w, r)
		}
	}))
	for range 10 {
		func() {
			defer func() { _ = recover() }() // it is too late for a second answer
			ask(twice, "")
		}()
	}
	assert.Equal(t, 2, admitted(g.Handler(ok), "", 10))
}

// Inner stages that run at once, on writers around the same outer one, return
// its tokens once.
func TestConcurrentInnerStages(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: tokens(100)})
	dry := newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(1)})
	require.Equal(t, 1, admitted(dry.Handler(ok), "", 5))
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { dry.Handler(ok).ServeHTTP(&unwrapsTo{httptest.NewRecorder(), w}, r.WithContext(r.Context())) })
		}
		wg.Wait()
	}))
	for range 300 {
		ask(h, "")
	}
	assert.Equal(t, 99, admitted(g.Handler(ok), "", 300))
}

// unwrapsTo writes to one writer and unwraps to another.
type unwrapsTo struct {
	http.ResponseWriter
	to http.ResponseWriter
}

func (u *unwrapsTo) Unwrap() http.ResponseWriter { return u.to }

// In shadow mode a request that an outer stage would have refused would not have
// reached the inner ones.
func TestShadowSparesInnerStages(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}, Shadow: true})
	route := newRoute(t, g, "r", guard.RouteConfig{Limit: tokens(5)})
	first := true
	var again http.Handler
	h := g.Handler(route.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first {
			first = false
			assert.Equal(t, 3, admitted(again, "", 3), "each is one too many, but let in")
		}
		noContent(w, r)
	})))
	again = h
	require.Equal(t, 1, admitted(h, "", 1))
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Shadow = false }))
	assert.Equal(t, 4, admitted(h, "", 10))
}

// Guarantee 4: a client for whom the table has no room is told the wait of the
// bucket that it will draw from.
func TestGuarantee4KnowsOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Clients: []guard.ClientLimit{
			{Limit: guard.Limit{Rate: 1, Burst: 1}, Key: func(*http.Request) string { return "all" }},
			{Limit: guard.Limit{Rate: 1.0 / 60, Burst: 2}, Key: byHeader, MaxKeys: 1},
		}})
		h := g.Handler(ok)
		for _, client := range []string{"a", "b", "b"} { // "a" has the table, "b" drains overflow
			require.Equal(t, http.StatusNoContent, ask(h, client).Code)
			time.Sleep(time.Second)
		}
		require.Equal(t, http.StatusNoContent, ask(h, "a").Code, "and takes the token of all")
		w := ask(h, "c")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "58", w.Header().Get("Retry-After"))
		time.Sleep(58 * time.Second)
		require.Equal(t, http.StatusNoContent, ask(h, "c").Code)
	})
}

// Guarantee 2 holds for any number of stages.
func TestGuarantee2ThreeStages(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: tokens(100), Clients: []guard.ClientLimit{{Limit: tokens(100)}}})
	api := newRoute(t, g, "api", guard.RouteConfig{Limit: tokens(100), Cost: 2})
	dry := newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(5), Cost: 5})
	h := g.Handler(api.Handler(dry.Handler(ok)))
	require.Equal(t, 1, admitted(h, "", 200), "it costs 5 of what all share, and 2 of the api")
	require.NoError(t, api.Tune(func(c *guard.RouteConfig) { c.Cost = 1 }))
	assert.Equal(t, 95, admitted(g.Handler(api.Handler(ok)), "", 200))
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit, c.Clients[0].Limit = guard.Limit{}, guard.Limit{} }))
	assert.Equal(t, 3, admitted(api.Handler(ok), "", 200))
}

// Inner stages that come one after the other pay for the dearest, also where a
// refusal lies between.
func TestInnerStagesPayForTheDearest(t *testing.T) {
	for name, test := range map[string]struct {
		costs []int // 0: a stage that is refused
		paid  int
	}{
		"one": {[]int{5}, 5}, "twice": {[]int{5, 5}, 5}, "rising": {[]int{1, 3, 5}, 5}, "falling": {[]int{5, 3, 1}, 5},
		"refused": {[]int{0}, 0}, "refused twice": {[]int{0, 0}, 0}, "refused first": {[]int{0, 5, 5}, 5},
		"refused last": {[]int{5, 0}, 5}, "refused between": {[]int{3, 0, 5}, 5},
	} {
		g := newGuard(t, guard.Config{Limit: tokens(100)})
		dry := newRoute(t, g, "dry", guard.RouteConfig{Limit: tokens(1)})
		require.Equal(t, 1, admitted(dry.Handler(ok), "", 1))
		h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, cost := range test.costs {
				inner := dry
				if cost > 0 {
					var err error
					if inner, err = g.Route(name+strconv.Itoa(cost), guard.RouteConfig{Cost: cost}); err != nil {
						inner, err = g.Route(name+strconv.Itoa(cost)+"again", guard.RouteConfig{Cost: cost})
					}
					assert.NoError(t, err)
				}
				inner.Handler(ok).ServeHTTP(&unwrapsTo{httptest.NewRecorder(), w}, r)
			}
		}))
		ask(h, "")
		left := admitted(newRoute(t, g, "count", guard.RouteConfig{}).Handler(ok), "", 200)
		assert.Equal(t, 99-test.paid, left, name)
	}
}
