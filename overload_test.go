package guard_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

func TestConcurrencyIsChecked(t *testing.T) {
	for want, c := range map[string]guard.Concurrency{
		"Concurrency.Max is -1, want >= 0":                                      {Max: -1},
		"Concurrency.Floor is -2, want >= 0":                                    {SelfTuned: true, Floor: -2},
		"Concurrency.Ceiling is -3, want >= 0":                                  {SelfTuned: true, Ceiling: -3},
		"Concurrency.MaxWait is -1ns, want >= 0":                                {Max: 1, MaxWait: -1},
		"Concurrency.Max is 5 beside SelfTuned, want one of them, or a Ceiling": {Max: 5, SelfTuned: true},
		"Concurrency.Floor is 5, want 0 without SelfTuned":                      {Max: 9, Floor: 5},
		"Concurrency.Ceiling is 5, want 0 without SelfTuned":                    {Ceiling: 5},
		"Concurrency.MaxWait is 1s, want 0 where there is no bound":             {MaxWait: time.Second},
		"Concurrency.Floor is 5, more than the Ceiling of 4":                    {SelfTuned: true, Floor: 5, Ceiling: 4},
	} {
		_, err := guard.New(guard.Config{Concurrency: c})
		require.EqualError(t, err, "guard: "+want)
		g := newGuard(t, guard.Config{})
		_, err = g.Route("r", guard.RouteConfig{Concurrency: c})
		require.EqualError(t, err, `guard: route "r": `+want)
		_, err = g.Dependency("d", guard.DependencyConfig{Concurrency: c})
		require.EqualError(t, err, `guard: dependency "d": `+want)
		before := g.Config().Concurrency
		require.Error(t, g.Tune(func(gc *guard.Config) { gc.Concurrency = c }))
		require.Equal(t, before, g.Config().Concurrency)
	}
	for _, c := range []guard.Concurrency{
		{}, {Max: 1}, {Max: 1, MaxWait: 1}, {SelfTuned: true}, {SelfTuned: true, MaxWait: time.Hour}, {SelfTuned: true, Floor: 3, Ceiling: 3},
	} {
		newGuard(t, guard.Config{Concurrency: c})
	}
}

func TestPriorityIsChecked(t *testing.T) {
	hop := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	_, err := guard.New(guard.Config{PriorityHeader: "a b", TrustedProxies: hop})
	require.EqualError(t, err, `guard: PriorityHeader is "a b", want the name of a header`)
	_, err = guard.New(guard.Config{PriorityHeader: "X-Priority"})
	require.EqualError(t, err, `guard: PriorityHeader is "X-Priority", but there are no TrustedProxies to believe it from`)
	g := newGuard(t, guard.Config{PriorityHeader: "X-Priority", TrustedProxies: hop})
	require.Error(t, g.Tune(func(c *guard.Config) { c.TrustedProxies = nil }))
	for _, p := range []guard.Priority{-1, 3, 99} {
		_, err = g.Route("r", guard.RouteConfig{Priority: p})
		require.EqualError(t, err, `guard: route "r": Priority is `+strconv.Itoa(int(p))+", want a Priority")
	}
	for p, name := range map[guard.Priority]string{guard.PriorityNormal: `"normal"`, guard.PriorityCritical: `"critical"`, guard.PrioritySheddable: `"sheddable"`} {
		text, err := json.Marshal(p)
		require.NoError(t, err)
		require.Equal(t, name, string(text))
		back := guard.Priority(77)
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, p, back)
	}
	var p guard.Priority
	for _, name := range []string{"", "Critical", "critical ", "unknown 3", "priorities", "1"} {
		require.Error(t, p.UnmarshalText([]byte(name)), name)
	}
}

// A header says what the priority is only if it comes from a trusted hop, and
// only if it says one thing.
func TestPriorityHeader(t *testing.T) {
	for name, test := range map[string]struct {
		from    string
		headers []string
		want    guard.ShedCounts
	}{
		"trusted":     {"10.1.2.3:4", []string{"critical"}, guard.ShedCounts{Critical: 1}},
		"not trusted": {"192.0.2.1:4", []string{"critical"}, guard.ShedCounts{Sheddable: 1}},
		"spoofed":     {"192.0.2.1:4", []string{"critical", "critical"}, guard.ShedCounts{Sheddable: 1}},
		"no address":  {"@", []string{"critical"}, guard.ShedCounts{Sheddable: 1}},
		"none":        {"10.1.2.3:4", nil, guard.ShedCounts{Sheddable: 1}},
		"two":         {"10.1.2.3:4", []string{"critical", "normal"}, guard.ShedCounts{Sheddable: 1}},
		"unknown":     {"10.1.2.3:4", []string{"vital"}, guard.ShedCounts{Sheddable: 1}},
		"a list":      {"10.1.2.3:4", []string{"critical, normal"}, guard.ShedCounts{Sheddable: 1}},
		"huge":        {"10.1.2.3:4", []string{strings.Repeat("critical", 1<<16)}, guard.ShedCounts{Sheddable: 1}},
		"normal":      {"10.1.2.3:4", []string{"normal"}, guard.ShedCounts{Normal: 1}},
		"in IPv6":     {"[::ffff:10.1.2.3]:4", []string{"critical"}, guard.ShedCounts{Critical: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuard(t, guard.Config{
				Shadow: true, Concurrency: guard.Concurrency{Max: 1, MaxWait: 1}, PriorityHeader: "x-PRIORITY",
				TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				PriorityOf:     func(*http.Request) guard.Priority { return guard.PrioritySheddable },
			})
			var all sync.WaitGroup
			for i := range 2 {
				all.Go(func() {
					time.Sleep(time.Duration(i))
					r := httptest.NewRequest(http.MethodGet, "/", nil)
					r.RemoteAddr = test.from
					r.Header["X-Priority"] = test.headers
					g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })).ServeHTTP(httptest.NewRecorder(), r)
				})
			}
			all.Wait()
			require.Equal(t, test.want, g.Snapshot().Requests.Bound.Shed, name)
		})
	}
}

// Each overload is told of twice, by a line and an event: as it begins, and a
// second after the last refusal, with how many there were. Floods are silent.
func TestOverloadIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []guard.OverloadEvent
		var at []time.Duration
		start := time.Now()
		j := &journal{}
		var g *guard.Guard
		g = newGuard(t, guard.Config{
			Logger: j.json(), Concurrency: guard.Concurrency{Max: 1, MaxWait: ms / 3}, PriorityOf: byRank,
			Hooks: guard.Hooks{OverloadChanged: func(ctx context.Context, e guard.OverloadEvent) {
				require.NoError(t, ctx.Err())
				events, at = append(events, e), append(at, time.Since(start))
				g.Snapshot()
			}},
		})
		for round := range 2 {
			visits := []*visit{{takes: 3 * time.Second}}
			for i := range 3000 { // for as many milliseconds
				visits = append(visits, &visit{at: time.Duration(i+1)*ms - 1, priority: guard.Priority(i % 3)})
			}
			desk(t, g.Handler, visits)
			require.True(t, g.Snapshot().Requests.Bound.Shedding)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.False(t, g.Snapshot().Requests.Bound.Shedding)
			s := g.Snapshot().Requests
			require.Len(t, events, 2*round+2)
			begun, over := events[2*round], events[2*round+1]
			require.False(t, begun.Over)
			require.Equal(t, 1, begun.InFlight)
			require.True(t, begun.Shedding)
			require.Equal(t, 1, begun.Limit)
			require.True(t, over.Over)
			require.Equal(t, s.Counts.Refused.Overloaded, uint64(round+1)*over.Refused)
			require.Equal(t, s.Bound.Shed.Critical+s.Bound.Shed.Normal+s.Bound.Shed.Sheddable, s.Counts.Refused.Overloaded)
			require.Equal(t, at[2*round+1]-at[2*round]-time.Second, over.Lasted)
		}
		lines := strings.Split(strings.TrimSpace(j.text()), "\n")
		var told []string
		for _, line := range lines {
			var l map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &l))
			if msg := l["msg"].(string); strings.HasPrefix(msg, "guard: overload") {
				told = append(told, msg)
				require.EqualValues(t, 1, l["limit"])
				require.Equal(t, msg == "guard: overload is over", l["refused"] != nil)
			}
		}
		require.Equal(t, []string{"guard: overload", "guard: overload is over", "guard: overload", "guard: overload is over"}, told)
		require.Less(t, len(lines), 20, "no line for each refusal")
	})
}

// A slow hook is never told of two things at once, nor of one thing late as two.
func TestOverloadHookIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside := 0
		var over []bool
		g := newGuard(t, guard.Config{
			Concurrency: guard.Concurrency{Max: 1, MaxWait: ms},
			Hooks: guard.Hooks{OverloadChanged: func(_ context.Context, e guard.OverloadEvent) {
				inside++
				require.Equal(t, 1, inside)
				over = append(over, e.Over)
				time.Sleep(7 * time.Second)
				inside--
				panic("p")
			}},
		})
		for range 5 {
			desk(t, g.Handler, []*visit{{takes: 10 * ms}, {at: ms}, {at: 2 * ms}})
			time.Sleep(3 * time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, o := range over {
			require.Equal(t, i%2 == 1, o)
		}
		require.Zero(t, len(over)%2)
	})
}

// What Snapshot tells of a bound, in JSON.
func TestBoundInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}})
		desk(t, g.Handler, []*visit{{takes: ms}})
		b := g.Snapshot().Requests.Bound
		b.LastMove.At = b.LastMove.At.UTC()
		text, err := json.Marshal(b)
		require.NoError(t, err)
		require.JSONEq(t, `{"selfTuned":true,"limit":8,"waiting":0,"shedding":false,"shed":{"critical":0,"normal":0,"sheddable":0},
			"noQueue":0,"lastMove":{"at":"2000-01-01T00:00:00Z","from":0,"to":8,"reason":"tuned"}}`, string(text))
		require.NoError(t, g.Tune(func(c *guard.Config) { c.Concurrency = guard.Concurrency{Max: 3} }))
		require.Equal(t, guard.BoundSnapshot{}, g.Snapshot().Requests.Bound)
		require.Equal(t, 3, g.Snapshot().Requests.MaxInFlight)
	})
}

// Who is refused comes back at a time of its own, later the more are.
func TestOverloadSpreadsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}})
		h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) }))
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
		synctest.Wait()
		told := map[int]bool{}
		for range 5000 {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			n, err := strconv.Atoi(w.Header().Get("Retry-After"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, 1)
			require.LessOrEqual(t, n, 30)
			told[n] = true
			time.Sleep(ms)
		}
		require.Len(t, told, 30)
		time.Sleep(time.Hour)
	})
}

// Neither to be let in through a bound nor to be refused by it allocates more than
// without one.
func TestBoundAllocatesNothing(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := &sink{h: http.Header{}}
	serve := func(h http.Handler) float64 {
		return testing.AllocsPerRun(1000, func() { clear(w.h); h.ServeHTTP(w, r) })
	}
	plain := serve(newGuard(t, guard.Config{}).Handler(http.HandlerFunc(noContent)))
	full := func(c guard.Concurrency) float64 {
		g := newGuard(t, guard.Config{Concurrency: c})
		in, out := make(chan bool), make(chan bool)
		h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				in <- true
				<-out
			}
		}))
		var work sync.WaitGroup
		work.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/", nil)) })
		<-in
		defer work.Wait()
		defer close(out)
		past, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0)) // so that nobody waits
		defer cancel()
		late := r.WithContext(past)
		h.ServeHTTP(w, late)
		return testing.AllocsPerRun(1000, func() { clear(w.h); h.ServeHTTP(w, late) })
	}
	for _, c := range []guard.Concurrency{{Max: 5, MaxWait: time.Second}, {SelfTuned: true}} {
		require.LessOrEqual(t, serve(newGuard(t, guard.Config{Concurrency: c}).Handler(http.HandlerFunc(noContent))), plain)
	}
	refused := full(guard.Concurrency{Max: 1})
	require.LessOrEqual(t, full(guard.Concurrency{Max: 1, MaxWait: time.Second}), refused)
	require.LessOrEqual(t, full(guard.Concurrency{SelfTuned: true, Ceiling: 1}), refused)
}
