package dashboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 2, Burst: 2}})
		rt, err := g.Route("visits", guard.RouteConfig{})
		require.NoError(t, err)
		h := rt.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			time.Sleep(10 * time.Millisecond)
			if r.URL.Query().Has("fail") {
				return errors.New("broken")
			}
			return nil
		})
		d := start(t, g, dashboard.Title("web"))
		time.Sleep(time.Second / 2)
		require.Empty(t, poll(t, d, "").Times, "the first sample needs a second")
		answer(h, ask("", nil))
		answer(h, ask("?fail", nil))
		answer(h, ask("", nil))
		time.Sleep(time.Second)
		u := poll(t, d, "")
		require.Equal(t, "web", u.Title)
		require.Equal(t, uint64(1), u.Seq)
		require.Len(t, u.Times, 1)
		require.Equal(t, []float64{1}, u.Server["served"])
		require.Equal(t, []float64{1}, u.Server["failed"])
		require.Equal(t, []float64{1}, u.Server["limits"])
		require.Equal(t, []float64{0}, u.Server["overload"])
		require.InDelta(t, 10, u.Server["p50"][0], 1.5)
		require.Equal(t, []float64{1}, u.Routes[0].Refused)

		time.Sleep(time.Second)
		next := poll(t, d, fmt.Sprintf("%s.%d", u.Boot, u.Seq))
		require.Len(t, next.Times, 1, "what has not been seen")
		require.Equal(t, int64(1000), next.Times[0]-u.Times[0])
		require.Equal(t, []float64{0}, next.Server["served"])
		for _, other := range []string{"", "another.1", u.Boot, u.Boot + ".x", u.Boot + ".-1", "." + u.Boot} {
			require.Len(t, poll(t, d, other).Times, 2, other)
		}
		require.Empty(t, poll(t, d, u.Boot+".18446744073709551615").Times, "from the future")

		time.Sleep(10 * time.Minute)
		u = poll(t, d, "")
		require.Len(t, u.Times, 300)
		for i := range u.Times[1:] {
			require.Equal(t, int64(1000), u.Times[i+1]-u.Times[i])
		}
		require.Equal(t, u.Times[299], u.Now.Time.UnixMilli())
		require.Len(t, u.Server["served"], 300)
		require.Len(t, u.Routes[0].P99, 300)

		require.NoError(t, d.Close())
		require.NoError(t, d.Close())
		time.Sleep(time.Minute)
		require.Equal(t, u.Seq, poll(t, d, "").Seq, "nothing is looked at any more")
	})
}

// What shadow mode would have refused is served and counted as refused, but is one
// request.
func TestShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 1, Burst: 1}, Shadow: true})
		h := g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		d := start(t, g)
		for range 3 {
			answer(h, ask("", nil))
		}
		time.Sleep(1500 * time.Millisecond)
		u := poll(t, d, "")
		require.Equal(t, []float64{1}, u.Server["served"])
		require.Equal(t, []float64{2}, u.Server["limits"])
	})
}

func TestSnapshot(t *testing.T) {
	g := newGuard(t, guard.Config{})
	dependency(t, g, "<b>\u202e", guard.DependencyConfig{})
	var s guard.Snapshot
	w := answer(start(t, g), ask("?format=json", nil))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
	require.Equal(t, "<b>\u202e", s.Dependencies[0].Name)
}

// Routes and dependencies may come later, and any number of them.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		d := start(t, g)
		time.Sleep(3 * time.Second)
		for i := range 250 {
			_, err := g.Route(fmt.Sprint("route ", i), guard.RouteConfig{})
			require.NoError(t, err)
			dependency(t, g, fmt.Sprint("dependency ", i), guard.DependencyConfig{})
		}
		time.Sleep(3 * time.Second)
		u := poll(t, d, "")
		require.Len(t, u.Now.Routes, 250)
		require.Len(t, u.Now.Dependencies, 250)
		require.Len(t, u.Routes, 200)
		require.Len(t, u.Dependencies, 100)
	})
}

// The package comment says how much it is.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		for i := range 100 {
			_, err := g.Route(fmt.Sprint("route ", i), guard.RouteConfig{})
			require.NoError(t, err)
			if i < 50 {
				dependency(t, g, fmt.Sprint("dependency ", i), guard.DependencyConfig{})
			}
		}
		inUse := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := inUse()
		d := start(t, g)
		time.Sleep(12 * time.Minute)
		used := int64(inUse()) - int64(before)
		t.Logf("%d KiB", used>>10)
		require.Less(t, used, int64(5<<19), "the machine keeps some itself")
		require.Len(t, poll(t, d, "").Times, 300)
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 10, Burst: 10}})
		db := dependency(t, g, "db", guard.DependencyConfig{MinCalls: 1, OpenFor: 5 * time.Second, Required: true})
		rt, err := g.Route("visits", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 1, MaxWait: time.Millisecond}})
		require.NoError(t, err)
		d := start(t, g)
		time.Sleep(1500 * time.Millisecond)
		var seen update
		step := func(want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			u := poll(t, d, fmt.Sprintf("%s.%d", seen.Boot, seen.Seq))
			require.Equal(t, want, told(u))
			seen = u
		}
		step()
		call := func(err error) { _ = db.Do(t.Context(), func(context.Context) error { return err }) }
		call(errors.New("secret"))
		opened := time.Now().UnixMilli()
		step("dependency db: bad opened: *errors.errorString", "server : bad not ready: readiness fails")
		require.Equal(t, opened, seen.Events[0].Time, "when it was, not when it was seen")
		time.Sleep(5 * time.Second)
		step("dependency db: warn half-open: probing", "server : good ready again")
		call(errors.New("secret"))
		step("dependency db: bad probe failed, open again: *errors.errorString", "server : bad not ready: readiness fails")
		db.Force(guard.ModeClosed)
		step("dependency db: warn held closed by the operator", "server : good ready again")
		db.Force(guard.ModeAuto)
		step("dependency db: info back to automatic")

		require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit, c.Shadow = guard.Limit{Rate: 20, Burst: 15}, true }))
		require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Cost, c.Needs = 2, []*guard.Dependency{db} }))
		require.NoError(t, db.Tune(func(c *guard.DependencyConfig) {
			c.FailureRate, c.SlowCall, c.Concurrency.Max = 0.25, time.Second, 7
		}))
		step("server : info shadow mode on", "server : info tuned: limit 10 → 20/s, burst 10 → 15",
			"route visits: info tuned: cost 1 → 2, needs nothing → db",
			"dependency db: info tuned: in flight none → 7, failure rate 50 → 25 %, slow call 0s → 1s")
		require.NoError(t, g.Tune(func(c *guard.Config) { c.Shadow = false }))
		step("server : info shadow mode off")

		// Two at once where there is room for one, several times: one overload.
		release := make(chan struct{})
		h := rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			<-release
			return nil
		})
		go answer(h, ask("", nil))
		synctest.Wait()
		require.Equal(t, http.StatusServiceUnavailable, answer(h, ask("", nil)).Code)
		step("route visits: bad overload: refuses what is above a bound of 1")
		time.Sleep(3 * time.Second)
		step()
		require.Equal(t, http.StatusServiceUnavailable, answer(h, ask("", nil)).Code)
		close(release)
		time.Sleep(14 * time.Second)
		u := poll(t, d, fmt.Sprintf("%s.%d", seen.Boot, seen.Seq))
		require.Len(t, u.Events, 1)
		require.Contains(t, u.Events[0].Text, "overload is over")
		seen = u

		g.Drain()
		step("server : warn draining")
		require.NoError(t, g.Shutdown(t.Context()))
		step("server : warn refusing")
	})
}

// A flood of events takes no more room.
func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		db := dependency(t, g, "db", guard.DependencyConfig{})
		d := start(t, g)
		for i := range 500 {
			db.Force(guard.Mode(i%2 + 1))
			time.Sleep(time.Second)
		}
		u := poll(t, d, "")
		require.Len(t, u.Events, 200)
		require.Less(t, u.Seq-u.Events[199].Seq, uint64(3), "the newest are kept")
	})
}

// A hook of the guard runs when the dashboard looks, and may do what it likes.
func TestHooks(t *testing.T) {
	for name, hook := range map[string]func(d *dashboard.Dashboard){
		"panics":          func(*dashboard.Dashboard) { panic("a hook") },
		"ends":            func(*dashboard.Dashboard) { runtime.Goexit() },
		"asks":            func(d *dashboard.Dashboard) { answer(d, ask("?format=poll", nil)) },
		"closes and asks": func(d *dashboard.Dashboard) { _ = d.Close(); answer(d, ask("", nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d atomic.Pointer[dashboard.Dashboard]
				var called atomic.Int32
				g := newGuard(t, guard.Config{Hooks: guard.Hooks{BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
					if e.To == guard.StateHalfOpen {
						called.Add(1)
						hook(d.Load())
					}
				}}})
				db := dependency(t, g, "db", guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second})
				d.Store(start(t, g))
				_ = db.Do(t.Context(), func(context.Context) error { return errors.New("broken") })
				time.Sleep(10 * time.Second)
				require.Equal(t, int32(1), called.Load())
				if name != "closes and asks" {
					require.Greater(t, poll(t, d.Load(), "").Seq, uint64(7), "it looks on")
				}
			})
		})
	}
}

func TestNoGuard(t *testing.T) {
	require.Panics(t, func() { dashboard.New(nil) })
}
