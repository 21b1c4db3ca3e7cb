package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// Every field, after traffic that is known.
func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := newGuard(t, guard.Config{
			Logger: slog.New(slog.DiscardHandler), Limit: guard.Limit{Rate: 2, Burst: 10}, Concurrency: guard.Concurrency{Max: 7},
			Clients: []guard.ClientLimit{{Name: "each", Limit: guard.Limit{Rate: 1, Burst: 5}, Key: byHeader, MaxKeys: 1000}, {}},
		})
		d, err := g.Dependency("db", guard.DependencyConfig{
			Concurrency: guard.Concurrency{Max: 3}, Window: 20 * time.Second, MinCalls: 4, FailureRate: 0.75,
			SlowCall: 2 * time.Second, SlowRate: 0.9, Required: true, Timeout: guard.NoTimeout,
		})
		require.NoError(t, err)
		rt := newRoute(t, g, "visits", guard.RouteConfig{
			Limit: guard.Limit{Rate: 3, Burst: 8}, Concurrency: guard.Concurrency{Max: 2}, Cost: 2, Needs: []*guard.Dependency{d},
		})
		release, entered := make(chan struct{}), make(chan struct{})
		h := rt.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			if r.Header.Get("Client") == "slow" {
				_, p, err := d.Acquire(r.Context())
				close(entered)
				<-release
				p.Done(errors.New(secret))
				return err
			}
			return d.Do(r.Context(), func(context.Context) error {
				time.Sleep(time.Second)
				return nil
			})
		})
		require.Equal(t, 200, ask(h, "a").Code)
		go ask(h, "slow")
		<-entered
		require.Equal(t, 200, ask(h, "a").Code)

		s := g.Snapshot()
		since := s.Dependencies[0].Since
		require.True(t, since.Equal(start))
		require.True(t, s.Time.Equal(time.Now()))
		s.Time, s.Dependencies[0].Since = time.Time{}, time.Time{}
		latency := s.Requests.Latency
		require.EqualValues(t, 2, latency.Count)
		require.GreaterOrEqual(t, latency.P50, time.Second)
		require.Equal(t, latency.Max, s.Routes[0].Latency.Max)
		require.Equal(t, latency.Max, s.Dependencies[0].Latency.Max)
		s.Requests.Latency, s.Routes[0].Latency, s.Dependencies[0].Latency = guard.Latency{}, guard.Latency{}, guard.Latency{}
		none := guard.BucketSnapshot{Unlimited: true}
		require.Equal(t, guard.Snapshot{
			Uptime: 2 * time.Second, Phase: "serving",
			Requests: guard.Traffic{
				Limit: guard.BucketSnapshot{Rate: 2, Burst: 10, Tokens: 10 - 2 + 2 - 4 + 2}, // it was full a second in
				Clients: []guard.ClientSnapshot{
					{Name: "each", Limit: guard.BucketSnapshot{Rate: 1, Burst: 5}, Keys: 2, MaxKeys: 1000},
					{Name: "client2", Limit: none, MaxKeys: 65536},
				},
				InFlight: 1, MaxInFlight: 7, Counts: guard.RequestCounts{Served: 2},
			},
			Routes: []guard.RouteSnapshot{{Name: "visits", Cost: 2, Needs: []string{"db"}, Traffic: guard.Traffic{
				Limit: guard.BucketSnapshot{Rate: 3, Burst: 8, Tokens: 7}, Clients: []guard.ClientSnapshot{},
				InFlight: 1, MaxInFlight: 2, Counts: guard.RequestCounts{Served: 2},
			}}},
			Dependencies: []guard.DependencySnapshot{{
				Name: "db", Required: true, InFlight: 1, MaxInFlight: 3, Counts: guard.CallCounts{Succeeded: 2},
				Window: guard.WindowSnapshot{
					Length: 20 * time.Second, Calls: 2, MinCalls: 4, FailureRate: 0.75, SlowCall: 2 * time.Second, SlowRate: 0.9,
				},
			}},
		}, s)

		time.Sleep(3 * time.Second)
		close(release)
		synctest.Wait()
		s = g.Snapshot()
		require.Zero(t, s.Requests.InFlight+s.Routes[0].InFlight+s.Dependencies[0].InFlight)
		require.Equal(t, guard.RequestCounts{Served: 3}, s.Requests.Counts)
		require.Equal(t, guard.CallCounts{Succeeded: 2, Failed: 1, Slow: 1}, s.Dependencies[0].Counts)
		w := s.Dependencies[0].Window
		require.Equal(t, [4]int64{3, 1, 1, 1}, [4]int64{w.Calls, w.Failed, w.Slow, w.Streak})
		require.Equal(t, "*errors.errorString", s.Dependencies[0].LastFailure)
		require.True(t, s.Dependencies[0].FailedAt.Equal(time.Now()))
		require.Equal(t, 10.0, s.Requests.Limit.Tokens)
		require.Zero(t, s.Requests.Clients[0].Limit.Tokens, "of nobody in particular")

		time.Sleep(time.Hour)
		require.Zero(t, g.Snapshot().Dependencies[0].Window.Calls, "long ago")
	})
}

// What there is to say of a breaker that is not closed.
func TestSnapshotOfBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
		d, err := g.Dependency("db", guard.DependencyConfig{PauseOn429: true, OpenFor: 10 * time.Second})
		require.NoError(t, err)
		look := func() guard.DependencySnapshot { return g.Snapshot().Dependencies[0] }
		tripped(t, d)
		opened := time.Now()
		s := look()
		require.Equal(t, [2]any{guard.StateOpen, guard.ModeAuto}, [2]any{s.State, s.Mode})
		require.InDelta(t, 10*time.Second, s.NextProbe, float64(time.Second))
		until := s.NextProbe
		require.True(t, s.Since.Equal(opened))
		require.Zero(t, s.PausedFor)
		require.Zero(t, s.Window.Calls+s.Window.Failed+s.Window.Streak)
		require.Equal(t, guard.HealthWarn, g.Snapshot().Health)

		time.Sleep(until - 1)
		require.Equal(t, time.Duration(1), look().NextProbe)
		time.Sleep(time.Nanosecond)
		s = look()
		require.Equal(t, guard.StateHalfOpen, s.State, "by the clock alone")
		require.Zero(t, s.NextProbe)
		require.True(t, s.Since.Equal(time.Now()))
		time.Sleep(time.Hour)
		require.True(t, look().Since.Equal(opened.Add(until)))
		require.NoError(t, d.Do(t.Context(), func(context.Context) error { return nil }))

		throttle(t, d)
		s = look()
		require.Equal(t, guard.StateOpen, s.State)
		require.Equal(t, 9*time.Second, s.PausedFor)
		require.True(t, s.Since.Equal(time.Now()), "of the pause, which is what shows")
		require.Zero(t, s.NextProbe, "the breaker is closed below")
		time.Sleep(4 * time.Second)
		require.Equal(t, 5*time.Second, look().PausedFor)
		time.Sleep(5 * time.Second)
		s = look()
		require.Equal(t, guard.StateClosed, s.State)
		require.Zero(t, s.PausedFor)

		for _, m := range []guard.Mode{guard.ModeOpen, guard.ModeClosed, guard.ModeAuto} {
			throttle(t, d)
			time.Sleep(time.Second)
			d.Force(m)
			s = look()
			require.Equal(t, m, s.Mode)
			require.Equal(t, m == guard.ModeOpen, s.State == guard.StateOpen)
			require.Zero(t, s.NextProbe)
			require.Zero(t, s.PausedFor)
			requireJSON(t, g.Snapshot())
			d.Force(guard.ModeAuto)
		}
	})
}

// throttle has the dependency ask for a pause of 9 s.
func throttle(t *testing.T, d *guard.Dependency) {
	t.Helper()
	_, err := d.Transport(tripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"9"}}}, nil
	})).RoundTrip(put())
	require.NoError(t, err)
}

// requireJSON fails if a snapshot does not survive JSON, but for what is
// documented to get lost.
func requireJSON(t *testing.T, s guard.Snapshot) string {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	for _, not := range []string{"NaN", "Inf", "null"} {
		require.NotContains(t, string(text), not)
	}
	var back guard.Snapshot
	require.NoError(t, json.Unmarshal(text, &back))
	again, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(text), string(again))
	require.Equal(t, s.Health, back.Health)
	require.Equal(t, s.Requests.Counts, back.Requests.Counts)
	require.Len(t, back.Routes, len(s.Routes))
	for i := range s.Routes {
		require.Equal(t, s.Routes[i].Limit, back.Routes[i].Limit)
	}
	for i := range s.Dependencies {
		require.Equal(t, s.Dependencies[i].State, back.Dependencies[i].State)
		require.Equal(t, s.Dependencies[i].Mode, back.Dependencies[i].Mode)
		require.True(t, s.Dependencies[i].Since.Equal(back.Dependencies[i].Since))
		require.Equal(t, s.Dependencies[i].Window, back.Dependencies[i].Window)
	}
	return string(text)
}

// Whatever the limits are, JSON has a number for what there is.
func TestSnapshotAsJSON(t *testing.T) {
	for _, l := range []guard.Limit{
		{},
		guard.Unlimited(),
		{Rate: rate.Limit(math.Inf(1))},
		{Rate: rate.Inf, Burst: 3},
		{Burst: math.MaxInt},
		{Rate: rate.Limit(math.Nextafter(math.MaxFloat64, 0)), Burst: 1},
		{Rate: rate.Limit(math.Nextafter(math.MaxFloat64, 0))},
		{Rate: math.SmallestNonzeroFloat64, Burst: 1},
		{Rate: 1e-300},
	} {
		c := guard.Config{Limit: l, Clients: []guard.ClientLimit{{Limit: l}}, Logger: slog.New(slog.DiscardHandler)}
		g := newGuard(t, c)
		rt := newRoute(t, g, "route", guard.RouteConfig{Limit: l, Clients: c.Clients})
		_, err := g.Dependency("odd \xff\n\"name", guard.DependencyConfig{Timeout: math.MaxInt64, MaxOpenFor: math.MaxInt64})
		require.NoError(t, err)
		g.Dependencies()[0].Force(guard.ModeOpen)
		for range 3 {
			_ = status(rt.Handler(ok), http.MethodGet, "/")
			requireJSON(t, g.Snapshot())
		}
	}
	text := requireJSON(t, newGuard(t, guard.Config{}).Snapshot())
	require.Contains(t, text, `"routes":[],"dependencies":[]`)
	require.Contains(t, text, `"clients":[]`)
	require.Contains(t, text, `"unlimited":true,"rate":0,"burst":0,"tokens":0`)
}

// A limit that is taken away while the snapshot is taken leaves no infinity in it.
func TestSnapshotWhileLimitGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g *guard.Guard
		var rt *guard.Route
		g = newGuard(t, guard.Config{Limit: tokens(1), Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
			BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
				if e.To == guard.StateHalfOpen { // which the snapshot finds out
					_ = g.Tune(func(c *guard.Config) { c.Limit = guard.Unlimited() })
					_ = rt.Tune(func(c *guard.RouteConfig) { c.Limit = guard.Unlimited() })
				}
			},
		}})
		rt = newRoute(t, g, "route", guard.RouteConfig{Limit: tokens(1)})
		d, err := g.Dependency("db", guard.DependencyConfig{})
		require.NoError(t, err)
		tripped(t, d)
		time.Sleep(time.Minute)
		requireJSON(t, g.Snapshot())
		requireJSON(t, g.Snapshot())
	})
}
