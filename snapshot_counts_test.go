package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Each request is counted once, for the guard and for its route, and each call,
// whatever becomes of them and in whatever order: the counts are those that a
// look at each one alone gives.
func TestSnapshotCountsAddUp(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newGuarded(t, guard.Config{Logger: slog.New(slog.DiscardHandler)}, guard.RouteConfig{}, false)
		refusals := map[string]*guard.Route{
			"limited":    newRoute(t, s.g, "limited", guard.RouteConfig{Limit: tokens(1)}),
			"client":     newRoute(t, s.g, "client", guard.RouteConfig{Clients: []guard.ClientLimit{{Limit: tokens(1)}}}),
			"overloaded": newRoute(t, s.g, "overloaded", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 1}}),
		}
		want, ofRoute := guard.RequestCounts{}, guard.RequestCounts{}
		var spent, requests uint64
		for _, rt := range refusals {
			if rt.Name() != "overloaded" {
				_ = runApart(rt.Handler(ok), put())
				spent++
			}
		}
		want.Served = spent
		nested := s.g.Handler
		for range 200 {
			requests++
			scene := requestScenes[random.IntN(len(requestScenes))]
			if scene.at != "" || scene.do == nil {
				kinds := []string{"limited", "client", "overloaded"}
				kind := kinds[random.IntN(3)]
				if kind == "overloaded" {
					var full http.Handler
					full = refusals[kind].HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
						full.ServeHTTP(opened(w), r) // its own request, which is refused
						return nil
					})
					_ = runApart(full, put())
					requests++
					want.Refused.Overloaded++
					want.Failed++ // its answer was a 503, of which this stage does not know why
					want.Status5xx += 2
					continue
				}
				_ = runApart(nested(refusals[kind].Handler(ok)), put())
				want.Status5xx++
				if kind == "limited" {
					want.Refused.Limited++
				} else {
					want.Refused.Client++
				}
				continue
			}
			r := put()
			if scene.outcome == guard.RequestCanceled {
				ctx, hangUp := context.WithCancel(r.Context())
				hangUp()
				r = r.WithContext(ctx)
			}
			_ = runApart(nested(s.rt.HandlerFunc(scene.do(s))), r)
			if strings.HasPrefix(scene.name, "a call") {
				s.d.Force(guard.ModeAuto) // lest it opens
			}
			for _, c := range []*guard.RequestCounts{&want, &ofRoute} {
				switch scene.outcome {
				case guard.RequestServed:
					c.Served++
				case guard.RequestFailed:
					c.Failed++
				case guard.RequestPanicked:
					c.Panicked++
				case guard.RequestAborted:
					c.Aborted++
				case guard.RequestCanceled:
					c.Canceled++
				case guard.RequestHijacked:
					c.Hijacked++
				case guard.RequestRefused:
				}
				switch scene.status / 100 {
				case 3:
					c.Status3xx++
				case 4:
					c.Status4xx++
				case 5:
					c.Status5xx++
				}
			}
		}
		snap := s.g.Snapshot()
		require.Equal(t, want, snap.Requests.Counts, "seed %d", seed)
		require.Equal(t, ofRoute, snap.Routes[0].Counts, "seed %d", seed)
		require.Equal(t, requests+spent, accounted(snap.Requests.Counts))
		require.Len(t, s.requests, int(requests+spent))
		requireJSON(t, snap)
	}
}

// Who would have been refused is counted twice in shadow mode: as that, and as
// what became of him.
func TestSnapshotOfShadow(t *testing.T) {
	for _, scene := range requestScenes {
		if scene.at != "guard" && scene.at != "route" {
			continue
		}
		scene.config.Shadow = true
		s := newGuarded(t, scene.config, scene.route, scene.needs)
		s.again = s.g.Handler(s.rt.Handler(ok))
		scene.before(s)
		before := s.g.Snapshot().Requests.Counts
		require.Nil(t, runApart(s.again, put()))
		snap := s.g.Snapshot()
		require.True(t, snap.Shadow)
		c := snap.Requests.Counts
		require.Equal(t, before.Served+1, c.Served, scene.name)
		require.EqualValues(t, 1, c.Refused.Total())
		if scene.at == "route" {
			require.EqualValues(t, 1, snap.Routes[0].Counts.Refused.Total())
		}
		if scene.by == "each" {
			require.EqualValues(t, 1, snap.Requests.Clients[0].Refused)
		}
		if scene.by == "client" {
			require.EqualValues(t, 1, snap.Routes[0].Clients[0].Refused)
		}
	}
	s := newGuarded(t, guard.Config{Shadow: true}, guard.RouteConfig{}, false)
	s.d.Force(guard.ModeOpen)
	require.NoError(t, s.d.Do(t.Context(), func(context.Context) error { return nil }))
	require.Error(t, s.d.Do(t.Context(), func(context.Context) error { return errors.New(secret) }))
	d := s.g.Snapshot().Dependencies[0]
	require.Equal(t, guard.CallCounts{Succeeded: 1, Failed: 1, Open: 2}, d.Counts)
	require.Zero(t, d.InFlight)
}

// Snapshots may be taken at any time: what is counted never becomes less, and
// what has been taken changes no more.
func TestSnapshotUnderLoad(t *testing.T) {
	g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Limit: guard.Limit{Rate: 1e6}, Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 1e6}}}})
	d, err := g.Dependency("db", guard.DependencyConfig{MinCalls: 5, OpenFor: time.Millisecond})
	require.NoError(t, err)
	rt := newRoute(t, g, "route", guard.RouteConfig{Limit: guard.Limit{Rate: 1e6}})
	h := g.Handler(rt.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return d.Do(r.Context(), func(context.Context) error {
			if strings.HasPrefix(r.URL.Path, "/fail") {
				return errors.New(secret)
			}
			return nil
		})
	}))
	var work, readers sync.WaitGroup
	done := make(chan struct{})
	const workers, each = 4, 1500
	for range workers {
		work.Go(func() {
			for i := range each {
				path := "/"
				if i%3 == 0 {
					path = "/fail"
				}
				_ = status(h, http.MethodGet, path)
			}
		})
	}
	work.Go(func() {
		for i := range each {
			_ = g.Tune(func(c *guard.Config) {
				c.Limit = []guard.Limit{guard.Unlimited(), {Rate: 1e6}}[i%2]
				c.Clients[0].Limit.Burst = 1e6 + i
			})
		}
	})
	least := func(a, b guard.RequestCounts) bool {
		return a.Served <= b.Served && a.Failed <= b.Failed && a.Refused.Total() <= b.Refused.Total()
	}
	for range 2 {
		readers.Go(func() {
			before := g.Snapshot()
			for {
				select {
				case <-done:
					return
				default:
				}
				now := g.Snapshot()
				if _, err := json.Marshal(now); err != nil {
					t.Errorf("JSON: %v", err)
					return
				}
				a, b := before.Dependencies[0].Counts, now.Dependencies[0].Counts
				if !least(before.Requests.Counts, now.Requests.Counts) || !least(before.Routes[0].Counts, now.Routes[0].Counts) ||
					a.Succeeded > b.Succeeded || a.Failed > b.Failed || a.Open > b.Open {
					t.Errorf("counts went down:\n%+v %+v\n%+v %+v", before.Requests.Counts, a, now.Requests.Counts, b)
					return
				}
				before = now
			}
		})
	}
	work.Wait()
	close(done)
	readers.Wait()
	s := g.Snapshot()
	require.EqualValues(t, workers*each, accounted(s.Requests.Counts))
	require.EqualValues(t, workers*each, accounted(s.Routes[0].Counts))
	c := s.Dependencies[0].Counts
	require.EqualValues(t, workers*each, c.Succeeded+c.Failed+c.Answered+c.Ignored+c.Open+c.Throttled+c.Saturated)
}

// A response is counted when its body has ended, as what it then is; a failure whose
// context cannot end, with its header; and once.
func TestSnapshotOfResponses(t *testing.T) {
	for _, bounded := range []bool{false, true} { // by a context that ends, or not
		for name, test := range map[string]struct {
			status int
			err    error // of reading the body
			want   guard.CallCounts
		}{
			"success":  {200, nil, guard.CallCounts{Succeeded: 1}},
			"failure":  {503, nil, guard.CallCounts{Failed: 1}},
			"answered": {404, nil, guard.CallCounts{Answered: 1}},
			"broken":   {200, errors.New(secret), guard.CallCounts{Failed: 1}},
		} {
			g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
			d, err := g.Dependency("api", guard.DependencyConfig{Timeout: guard.NoTimeout})
			require.NoError(t, err)
			r := put()
			if bounded {
				ctx, cancel := context.WithCancel(r.Context())
				defer cancel()
				r = r.WithContext(ctx)
			}
			resp, err := d.Transport(tripper(func(*http.Request) (*http.Response, error) {
				body := io.MultiReader(strings.NewReader("body"), iotest.ErrReader(test.err))
				if test.err == nil {
					body = strings.NewReader("body")
				}
				return &http.Response{StatusCode: test.status, Header: http.Header{}, Body: io.NopCloser(body)}, nil
			})).RoundTrip(r)
			require.NoError(t, err)
			if test.status != 503 || bounded {
				require.Zero(t, g.Snapshot().Dependencies[0].Counts, "%s, bounded %t: nothing has come of it yet", name, bounded)
			}
			_, _ = io.ReadAll(resp.Body)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, test.want, g.Snapshot().Dependencies[0].Counts, "%s, bounded %t", name, bounded)
		}
	}
}
