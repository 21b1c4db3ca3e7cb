package guard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// requireNeeded requires that a request is refused for what its route needs.
func requireNeeded(t *testing.T, h http.Handler, wait string) {
	t.Helper()
	w := ask(h, "a")
	require.Equal(t, http.StatusBadGateway, w.Code)
	require.Equal(t, "dependency-open", readJSON(t, w.Body.String()).Code)
	require.Equal(t, wait, w.Header().Get("Retry-After"))
}

// nestings are the places in which a route can stand.
var nestings = map[string]func(*guard.Guard, *guard.Route, http.Handler) http.Handler{
	"alone":        func(_ *guard.Guard, rt *guard.Route, h http.Handler) http.Handler { return rt.Handler(h) },
	"in its guard": func(g *guard.Guard, rt *guard.Route, h http.Handler) http.Handler { return g.Handler(rt.Handler(h)) },
	"in a mux": func(g *guard.Guard, rt *guard.Route, h http.Handler) http.Handler {
		m := http.NewServeMux()
		m.Handle("/", rt.Handler(h))
		return g.Mux(m)
	},
	"twice": func(g *guard.Guard, rt *guard.Route, h http.Handler) http.Handler {
		return g.Handler(g.Handler(rt.Handler(h)))
	},
}

// Guarantee 2: what a route needs is looked at before a token is spent, of
// whatever bucket, and what an outer stage has spent comes back.
func TestGuarantee2NeedsCostNothing(t *testing.T) {
	for where, nest := range nestings {
		for bucket, set := range map[string]func(*guard.Config, *guard.RouteConfig, guard.Limit){
			"guard": func(c *guard.Config, _ *guard.RouteConfig, l guard.Limit) { c.Limit = l },
			"clients of the guard": func(c *guard.Config, _ *guard.RouteConfig, l guard.Limit) {
				c.Clients = []guard.ClientLimit{{}, {Limit: l, Key: byHeader}}
			},
			"route": func(_ *guard.Config, c *guard.RouteConfig, l guard.Limit) { c.Limit = l },
			"clients of the route": func(_ *guard.Config, c *guard.RouteConfig, l guard.Limit) {
				c.Clients = []guard.ClientLimit{{Limit: l, Key: byHeader}}
			},
		} {
			for _, cost := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s, %s, cost %d", where, bucket, cost), func(t *testing.T) {
					gc := guard.Config{Concurrency: guard.Concurrency{Max: 1}}
					rc := guard.RouteConfig{Cost: cost, Concurrency: guard.Concurrency{Max: 1}}
					set(&gc, &rc, tokens(6))
					g, d := guardedCalls(t, gc, guard.DependencyConfig{})
					other, err := g.Dependency("other", guard.DependencyConfig{})
					require.NoError(t, err)
					rc.Needs = []*guard.Dependency{other, d}
					h := nest(g, newRoute(t, g, "r", rc), ok)
					d.Force(guard.ModeOpen)
					for range 20 {
						requireNeeded(t, h, "")
					}
					counts := g.Snapshot()
					require.Equal(t, guard.RefusalCounts{Dependency: 20}, counts.Requests.Counts.Refused)
					require.Equal(t, guard.RefusalCounts{Dependency: 20}, counts.Routes[0].Counts.Refused)
					require.Zero(t, counts.Requests.InFlight+counts.Routes[0].InFlight)
					require.Equal(t, guard.CallCounts{}, callsOf(g), "a request is no call")
					d.Force(guard.ModeAuto)
					require.Equal(t, 6/max(cost, 1), admitted(h, "a", 20))
				})
			}
		}
	}
}

// Nor does it push the next token back.
func TestGuarantee2NeedsLeaveTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for where, nest := range nestings {
			one := guard.Limit{Rate: 1, Burst: 1}
			g, d := guardedCalls(t, guard.Config{Limit: one, Clients: []guard.ClientLimit{{Limit: one}}}, guard.DependencyConfig{})
			h := nest(g, newRoute(t, g, "r", guard.RouteConfig{Limit: one, Needs: []*guard.Dependency{d}}), ok)
			require.Equal(t, 1, admitted(h, "a", 1))
			d.Force(guard.ModeOpen)
			for range 100 {
				time.Sleep(10 * time.Millisecond)
				ask(h, "a")
			}
			d.Force(guard.ModeClosed)
			require.Equal(t, 1, admitted(h, "a", 5), where)
		}
	})
}

// A half-open breaker gets its probe from a request, and only that.
func TestNeedsLetTheProbeThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, down := range []bool{false, true} {
			g, d := guardedCalls(t, guard.Config{Limit: tokens(2)}, guard.DependencyConfig{OpenFor: 10 * time.Second})
			var again http.Handler
			again = newRoute(t, g, "r", guard.RouteConfig{Needs: []*guard.Dependency{d}}).HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
				err := d.Do(r.Context(), func(context.Context) error {
					requireNeeded(t, again, "1") // while the probe is out
					if down {
						return io.EOF
					}
					return nil
				})
				if err == nil {
					noContent(w, r)
				}
				return err
			})
			tripByFailures(d)
			time.Sleep(8 * time.Second)
			require.Equal(t, http.StatusBadGateway, ask(again, "").Code)
			time.Sleep(3 * time.Second)
			if down {
				require.Contains(t, ask(again, "").Body.String(), "dependency-failed")
				require.Equal(t, guard.StateOpen, d.State())
				require.Contains(t, ask(again, "").Body.String(), "dependency-open")
			} else {
				require.Equal(t, http.StatusNoContent, ask(again, "").Code)
				require.Equal(t, guard.StateClosed, d.State())
			}
			require.InDelta(t, 1, g.Snapshot().Requests.Limit.Tokens, 0, "one was spent, for the probe")
		}
	})
}

// A route that only looks must not take the probe from who calls, and a request
// that is refused for another reason does not use it up.
func TestNeedsTakeNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
		needs := []*guard.Dependency{d}
		looks := newRoute(t, g, "looks", guard.RouteConfig{Needs: needs}).Handler(ok)
		dry := newRoute(t, g, "dry", guard.RouteConfig{Needs: needs, Limit: tokens(1)}).Handler(ok)
		require.Equal(t, 1, admitted(dry, "", 2))
		tripByFailures(d)
		time.Sleep(time.Minute)
		require.Equal(t, 20, admitted(looks, "", 20), "half-open, and none has called")
		for range 20 {
			require.Equal(t, http.StatusServiceUnavailable, ask(dry, "").Code)
		}
		require.NoError(t, d.Do(t.Context(), comesTo(nil)))
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// What does not refuse by the breaker does not refuse by Needs.
func TestNeedsAreOfTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}, PauseOn429: true})
		h := newRoute(t, g, "r", guard.RouteConfig{Needs: []*guard.Dependency{d}}).Handler(ok)
		_, permit, err := d.Acquire(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, admitted(h, "", 1), "saturated: it may be free again when the request calls")
		permit.Done(nil)
		resp, err := d.Transport(always429{}).RoundTrip(newRequest())
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		requireNeeded(t, h, "7")
		time.Sleep(7*time.Second - 1)
		requireNeeded(t, h, "1")
		time.Sleep(time.Nanosecond)
		require.Equal(t, 1, admitted(h, "", 1), "the pause is over")

		d.Force(guard.ModeOpen)
		exempt := newRoute(t, g, "exempt", guard.RouteConfig{Needs: []*guard.Dependency{d}}).Handler(ok)
		require.Equal(t, http.StatusNoContent, status(exempt, http.MethodGet, "/livez"))
		require.Equal(t, http.StatusBadGateway, status(exempt, http.MethodPost, "/livez"))
		require.NoError(t, g.Shutdown(t.Context()))
		require.Equal(t, http.StatusServiceUnavailable, status(exempt, http.MethodGet, "/"), "that the server has drained comes first")
	})
}

// In shadow mode a request passes, and its calls do, and it is told once.
func TestShadowOfNeeds(t *testing.T) {
	for where, nest := range nestings {
		var told []guard.RefusalEvent
		j := &journal{}
		g, d := guardedCalls(t, guard.Config{Shadow: true, Logger: j.json(), Limit: tokens(5), Hooks: guard.Hooks{
			Refused: func(_ context.Context, e guard.RefusalEvent) { told = append(told, e) },
		}}, guard.DependencyConfig{})
		d.Force(guard.ModeOpen)
		rt := newRoute(t, g, "r", guard.RouteConfig{Limit: tokens(5), Needs: []*guard.Dependency{d}})
		require.Equal(t, 30, admitted(nest(g, rt, ok), "", 30), where)
		require.Len(t, told, 30)
		require.Equal(t, "r", told[0].Route)
		require.Equal(t, "db", told[0].Dependency)
		require.True(t, told[0].Shadow)
		require.ErrorIs(t, told[0].Err, guard.ErrOpen)
		counts := g.Snapshot()
		require.EqualValues(t, 30, counts.Requests.Counts.Refused.Dependency)
		require.EqualValues(t, 30, counts.Routes[0].Counts.Refused.Dependency)
		require.EqualValues(t, 30, counts.Requests.Counts.Served)
		require.NoError(t, g.Close())
		lines := j.lines(t)
		require.EqualValues(t, 30, lines[len(lines)-1]["dependency"])

		require.NoError(t, g.Tune(func(c *guard.Config) { c.Shadow = false }))
		d.Force(guard.ModeAuto)
		require.Equal(t, 5, admitted(nest(g, rt, ok), "", 30), "what would have been refused has taken nothing")
	}
}

// Needs are validated and tuned as everything else.
func TestNeedsAreTuned(t *testing.T) {
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
	other, err := g.Dependency("other", guard.DependencyConfig{})
	require.NoError(t, err)
	_, err = g.Route("bad", guard.RouteConfig{Needs: []*guard.Dependency{d, nil}})
	require.ErrorContains(t, err, `"bad": Needs[1] is nil`)
	require.Empty(t, g.Snapshot().Routes)

	given := []*guard.Dependency{d}
	rt := newRoute(t, g, "r", guard.RouteConfig{Needs: given})
	given[0] = nil
	require.Equal(t, []*guard.Dependency{d}, rt.Config().Needs, "it is a copy")
	rt.Config().Needs[0] = nil
	h := rt.Handler(ok)
	d.Force(guard.ModeOpen)
	requireNeeded(t, h, "")
	err = rt.Tune(func(c *guard.RouteConfig) { c.Limit, c.Needs[0] = tokens(1), nil })
	require.ErrorContains(t, err, `"r": Needs[0] is nil`)
	require.Equal(t, guard.RouteConfig{Needs: []*guard.Dependency{d}}, rt.Config(), "an error changes nothing")
	requireNeeded(t, h, "")

	require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Needs[0] = other }))
	require.Equal(t, 3, admitted(h, "", 3))
	require.Equal(t, []string{"other"}, g.Snapshot().Routes[0].Needs)
	require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Needs = append(c.Needs, d, d) }))
	requireNeeded(t, h, "")
	require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Needs = nil }))
	require.Equal(t, 3, admitted(h, "", 3))
	require.Empty(t, g.Snapshot().Routes[0].Needs)
}

// Guarantee 4: who needs several things is told the longest of their times, in
// whatever order they are, and is let through then.
func TestGuarantee4NeedsNameTheLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reverse := range []bool{false, true} {
			g := newGuard(t, guard.Config{})
			var needs []*guard.Dependency
			for i := range 3 {
				openFor := time.Duration(5*(i+1)) * time.Second
				d, err := g.Dependency(strconv.Itoa(i), guard.DependencyConfig{OpenFor: openFor})
				require.NoError(t, err)
				tripByFailures(d)
				needs = append(needs, d)
				if reverse {
					needs[0], needs[i] = needs[i], needs[0]
				}
			}
			requireAdmittedAfterOneWait(t, newRoute(t, g, "r", guard.RouteConfig{Needs: needs}).Handler(ok))
		}
	})
}

// Guarantee 4: the longest is over all that the request would draw from, its
// buckets included.
func TestGuarantee4NeedsAndBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := guard.Limit{Rate: 1.0 / 60, Burst: 1}
		for name, c := range map[string]guard.RouteConfig{
			"route": {Limit: slow}, "clients": {Clients: []guard.ClientLimit{{Limit: slow, Key: byHeader}}},
		} {
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{OpenFor: 5 * time.Second})
			c.Needs = []*guard.Dependency{d}
			h := newRoute(t, g, name, c).Handler(ok)
			require.Equal(t, 1, admitted(h, "", 1))
			tripByFailures(d)
			requireAdmittedAfterOneWait(t, h)
		}
	})
}

func requireAdmittedAfterOneWait(t *testing.T, h http.Handler) {
	t.Helper()
	w := ask(h, "")
	require.Equal(t, http.StatusBadGateway, w.Code)
	seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
	require.NoError(t, err)
	time.Sleep(time.Duration(seconds) * time.Second)
	w = ask(h, "")
	assert.Equal(t, http.StatusNoContent, w.Code, "it was told to wait %d s, and then: %s", seconds, strings.TrimSpace(w.Body.String()))
}

// Never is the longest wait of all, in whichever order a route names what it needs.
func TestNeedsOneForcedOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		a, err := g.Dependency("a", guard.DependencyConfig{})
		require.NoError(t, err)
		b, err := g.Dependency("b", guard.DependencyConfig{})
		require.NoError(t, err)
		tripByFailures(a)
		b.Force(guard.ModeOpen)
		for _, needs := range [][]*guard.Dependency{{a, b}, {b, a}} {
			h := newRoute(t, g, needs[0].Name(), guard.RouteConfig{Needs: needs}).Handler(ok)
			w := ask(h, "")
			require.Equal(t, http.StatusBadGateway, w.Code)
			assert.Empty(t, w.Header().Get("Retry-After"), "b is open until somebody says otherwise")
		}
	})
}

// Who waits for the breaker is going to meet a bucket that never fills.
func TestNeedsBehindABucketThatNeverFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
		h := newRoute(t, g, "r", guard.RouteConfig{Limit: guard.Limit{Burst: 1}, Needs: []*guard.Dependency{d}}).Handler(ok)
		require.Equal(t, http.StatusNoContent, ask(h, "").Code)
		tripByFailures(d)
		w := ask(h, "")
		require.Equal(t, http.StatusBadGateway, w.Code)
		assert.Empty(t, w.Header().Get("Retry-After"))
	})
}
