package benchmarks_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
	"example.com/guard/dashboard"
)

var watchedRounds = flag.Int("watched", 0, "rounds of three runs each in which TestWatched measures what it costs to be watched")

// watchable is a guarded server with a dashboard and metrics, which nobody has to
// look at.
var watchable = handler{"watchable", func(tb testing.TB, q quota, next http.Handler) http.Handler {
	g := newGuard(tb, guard.Config{Limit: q.limit(), Concurrency: guard.Concurrency{SelfTuned: true}})
	collector, err := guardprom.New(g, guardprom.Options{})
	require.NoError(tb, err)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	mux := http.NewServeMux()
	mux.Handle("/", g.Handler(next))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return dashboard.New(g).Mount("/debug/guard/", mux)
}}

// watch has an open dashboard and a scrape each second, until the function that it
// returns is called, which returns how many bytes have come.
func watch(tb testing.TB, url string) (stop func() int64) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var seen [2]int64
	get := func(path string, to *int64) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		n, _ := io.Copy(io.Discard, resp.Body)
		*to += n
	}
	work.Go(func() { get("/debug/guard/?format=stream", &seen[0]) })
	work.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			get("/metrics", &seen[1])
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() int64 {
		cancel()
		work.Wait()
		require.NotZero(tb, seen[0], "the dashboard has shown nothing")
		require.NotZero(tb, seen[1], "there are no metrics")
		return seen[0] + seen[1]
	}
}

// TestWatched compares the p99 of a server at half of what the machine can serve
// with and without somebody who looks: each round has a run with, between two
// without, whose difference is the noise. "go test -run TestWatched . -args
// -watched 10" prints what came of it; without that it only proves that it works.
func TestWatched(t *testing.T) {
	rounds, load := max(*watchedRounds, 1), traffic{rate: 100, lasts: 300 * time.Millisecond}
	if *watchedRounds > 0 {
		most := traffic{workers: 16, lasts: 3 * time.Second}.run(t, start(t, "watchable", unlimited))
		// Who sends at a steady rate, however late the answers are, needs twice the
		// processor of who waits for them.
		load = traffic{rate: int(float64(most.admitted)/most.seconds) / 4, lasts: 3 * time.Second}
	}
	run := func(watched bool) measured {
		url := start(t, "watchable", unlimited)
		traffic{rate: 100, lasts: 200 * time.Millisecond}.run(t, url)
		if watched {
			defer watch(t, url)()
		}
		m := load.run(t, url)
		require.Positive(t, m.admitted)
		require.Zero(t, m.failed)
		return m
	}
	var with, noise []float64
	for range rounds {
		before, watched, after := run(false), run(true), run(false)
		a, b := float64(before.latency.P99), float64(after.latency.P99)
		with = append(with, float64(watched.latency.P99)/((a+b)/2))
		noise = append(noise, max(a, b)/min(a, b))
		t.Logf("p99 without %v, with %v, without %v", before.latency.P99, watched.latency.P99, after.latency.P99)
	}
	slices.Sort(with)
	slices.Sort(noise)
	middle := func(x []float64) string { return fmt.Sprintf("%.2f [%.2f..%.2f]", x[len(x)/2], x[0], x[len(x)-1]) }
	t.Logf("at %d requests a second: p99 with / without %s; without, the worse / the better %s", load.rate, middle(with), middle(noise))
}
