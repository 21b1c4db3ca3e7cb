package guardprom_test

import (
	"errors"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

func TestCollectorShowsTheSnapshot(t *testing.T) {
	f := newFull(t)
	f.exercise(t)
	got := values(t, register(t, f.Guard, guardprom.Options{}))
	for name, want := range map[string]float64{
		`guard_phase{state="serving"}`:  1,
		`guard_phase{state="draining"}`: 0,
		`guard_health{state="fail"}`:    1, // db is required
		`guard_health{state="pass"}`:    0,
		`guard_shadow_mode`:             0,

		`guard_requests_total{outcome="served"}`:            3,
		`guard_requests_total{outcome="failed"}`:            2,
		`guard_requests_total{outcome="panicked"}`:          1,
		`guard_requests_total{outcome="canceled"}`:          0,
		`guard_requests_refused_total{reason="client"}`:     1,
		`guard_requests_refused_total{reason="dependency"}`: 1,
		`guard_requests_refused_total{reason="overloaded"}`: 0,
		`guard_responses_total{code="4xx"}`:                 1,
		`guard_responses_total{code="5xx"}`:                 5,
		`guard_request_duration_seconds_count`:              6,
		`guard_requests_in_flight`:                          0,
		`guard_bound_self_tuned`:                            1,
		`guard_bound_waiting`:                               0,
		`guard_bound_shed_total{priority="sheddable"}`:      0,
		`guard_limit_tokens_per_second`:                     1000,
		`guard_limit_burst_tokens`:                          500,
		`guard_client_limit_tokens_per_second{limit="key"}`: 0.001,
		`guard_client_limit_burst_tokens{limit="key"}`:      3,
		`guard_client_limit_keys{limit="key"}`:              3,
		`guard_client_limit_keys_limit{limit="key"}`:        100,
		`guard_client_limit_refused_total{limit="key"}`:     1,

		`guard_route_requests_total{outcome="served",route="pages"}`:             2,
		`guard_route_requests_total{outcome="failed",route="visits"}`:            2,
		`guard_route_requests_refused_total{reason="dependency",route="visits"}`: 1,
		`guard_route_requests_in_flight_limit{route="pages"}`:                    7,
		`guard_route_requests_in_flight_limit{route="visits"}`:                   20,
		`guard_route_bound_self_tuned{route="visits"}`:                           0,
		`guard_route_limit_burst_tokens{route="visits"}`:                         50,
		`guard_route_client_limit_keys{limit="client",route="visits"}`:           1,
		`guard_route_cost_tokens{route="visits"}`:                                1,

		`guard_dependency_breaker_state{dependency="db",state="open"}`:        1,
		`guard_dependency_breaker_state{dependency="db",state="closed"}`:      0,
		`guard_dependency_breaker_state{dependency="mail",state="closed"}`:    1,
		`guard_dependency_breaker_mode{dependency="db",mode="auto"}`:          1,
		`guard_dependency_required{dependency="db"}`:                          1,
		`guard_dependency_calls_total{dependency="db",outcome="failed"}`:      2,
		`guard_dependency_calls_total{dependency="mail",outcome="failed"}`:    0,
		`guard_dependency_calls_refused_total{dependency="db",reason="open"}`: 1,
		`guard_dependency_call_duration_seconds_count{dependency="db"}`:       2,
		`guard_dependency_calls_in_flight_limit{dependency="mail"}`:           3,
		`guard_dependency_bound_waiting{dependency="db"}`:                     0,
		`guard_dependency_window_min_calls{dependency="db"}`:                  2,
		`guard_dependency_window_failure_ratio_limit{dependency="db"}`:        0.5,
		`guard_dependency_window_slow_ratio_limit{dependency="db"}`:           0.8,
		`guard_dependency_pause_seconds{dependency="db"}`:                     0,
		`guard_dependency_breaker_next_probe_seconds{dependency="mail"}`:      0,
	} {
		require.Contains(t, got, name)
		require.Equal(t, want, got[name], name)
	}
	s := f.Snapshot()
	require.Equal(t, float64(s.Requests.MaxInFlight), got[`guard_requests_in_flight_limit`])
	require.InDelta(t, 3600, got[`guard_dependency_breaker_next_probe_seconds{dependency="db"}`], 600) // jitter, and the time since
	require.InDelta(t, float64(s.Time.Unix()), got[`guard_start_time_seconds`], 600)
	require.InDelta(t, float64(s.Time.Unix()), got[`guard_dependency_last_failure_timestamp_seconds{dependency="db"}`], 600)

	// What is not there is not shown.
	for _, name := range []string{
		`guard_route_limit_tokens{route="pages"}`,
		`guard_route_bound_waiting{route="pages"}`,
		`guard_dependency_bound_waiting{dependency="mail"}`,
		`guard_dependency_window_slow_ratio{dependency="mail"}`,
		`guard_dependency_last_failure_timestamp_seconds{dependency="mail"}`,
	} {
		require.NotContains(t, got, name)
	}
}

func TestCollectorWindow(t *testing.T) {
	f := newFull(t)
	f.get("/visits", "bob") // one of the two failures that it takes
	got := values(t, register(t, f.Guard, guardprom.Options{}))
	require.Equal(t, 1.0, got[`guard_dependency_window_failure_ratio{dependency="db"}`])
	require.Equal(t, 1.0, got[`guard_dependency_window_failure_streak{dependency="db"}`])
	require.Equal(t, 1.0, got[`guard_dependency_window_calls{dependency="db"}`])
	require.Equal(t, 0.0, got[`guard_dependency_window_slow_ratio{dependency="db"}`])
}

func TestCollectorLint(t *testing.T) {
	f := newFull(t)
	f.exercise(t)
	for name, o := range map[string]guardprom.Options{"classic": {}, "native": {NativeHistograms: true}} {
		t.Run(name, func(t *testing.T) {
			problems, err := testutil.GatherAndLint(register(t, f.Guard, o))
			require.NoError(t, err)
			require.Empty(t, problems)
		})
	}
}

// A guard that is closed, and one that is nothing but made, can be scraped.
func TestCollectorOfAClosedGuard(t *testing.T) {
	f := newFull(t)
	reg := register(t, f.Guard, guardprom.Options{})
	f.exercise(t)
	before := values(t, reg)
	require.NoError(t, f.Close())
	after := values(t, reg)
	require.Len(t, after, len(before))
	require.Equal(t, before[`guard_requests_total{outcome="served"}`], after[`guard_requests_total{outcome="served"}`])

	for _, o := range []guardprom.Options{{}, {NativeHistograms: true}, {Buckets: []float64{}}} {
		got := values(t, register(t, newGuard(t, guard.Config{}), o))
		require.Equal(t, 0.0, got[`guard_request_duration_seconds_count`])
		require.Equal(t, 0.0, got[`guard_request_duration_seconds_sum`])
	}
}

func TestCollectorTwoGuards(t *testing.T) {
	one, two := newFull(t), newFull(t)
	one.exercise(t)
	reg := prometheus.NewPedanticRegistry()
	for name, f := range map[string]*full{"public": one, "admin": two} {
		labels := prometheus.Labels{"guard": name}
		c, err := guardprom.New(f.Guard, guardprom.Options{ConstLabels: labels})
		require.NoError(t, err)
		labels["guard"] = "changed later" // the options were copied
		require.NoError(t, reg.Register(c))
	}
	got := values(t, reg)
	require.Equal(t, 3.0, got[`guard_requests_total{guard="public",outcome="served"}`])
	require.Equal(t, 0.0, got[`guard_requests_total{guard="admin",outcome="served"}`])

	// Without, the registry refuses the second.
	reg = register(t, one.Guard, guardprom.Options{})
	c, err := guardprom.New(two.Guard, guardprom.Options{})
	require.NoError(t, err)
	require.ErrorAs(t, reg.Register(c), new(prometheus.AlreadyRegisteredError))
}

// Counters and buckets only grow, whatever goes on meanwhile.
func TestCollectorNeverGoesBackwards(t *testing.T) {
	f := newFull(t)
	reg := register(t, f.Guard, guardprom.Options{})
	var wg sync.WaitGroup
	for _, key := range []string{"a", "b", "c"} {
		wg.Go(func() {
			for range 200 {
				f.get("/pages", key)
				f.get("/visits", "")
			}
		})
	}
	wg.Go(func() {
		for i := range 40 {
			some, none := guard.Limit{Rate: 1e6}, guard.Limit{}
			if i%2 == 0 {
				some, none = none, some
			}
			errs := []error{
				f.Tune(func(c *guard.Config) {
					c.Concurrency, c.Limit = guard.Concurrency{SelfTuned: i%2 == 0}, some
					c.Clients[0].Limit = none
				}),
				f.visits.Tune(func(c *guard.RouteConfig) {
					c.Concurrency, c.Limit = guard.Concurrency{Max: i % 2}, none
					c.Clients[0].Limit = some
				}),
				f.db.Tune(func(c *guard.DependencyConfig) { c.Concurrency = guard.Concurrency{SelfTuned: i%2 == 0} }),
			}
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
		}
	})
	grows := regexp.MustCompile(`^\w+(_total|_count|_sum|_bucket)(\{|$)`)
	scrape := func(last map[string]float64) {
		for range 40 {
			for name, v := range values(t, reg) {
				if grows.MatchString(name) {
					require.GreaterOrEqual(t, v, last[name], name)
					last[name] = v
				}
			}
		}
	}
	wg.Go(func() { // another Prometheus
		for range 40 {
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	last := map[string]float64{}
	scrape(last)
	wg.Wait()
	scrape(last)
	require.Greater(t, len(last), 100)
}

// A bound that loses its queue, and gets it again, goes on counting.
func TestCollectorShedIsKept(t *testing.T) {
	f := newFull(t)
	reg := register(t, f.Guard, guardprom.Options{})
	bounds := func(g, route guard.Concurrency) map[string]float64 {
		require.NoError(t, f.Tune(func(c *guard.Config) { c.Concurrency = g }))
		require.NoError(t, f.visits.Tune(func(c *guard.RouteConfig) { c.Concurrency = route }))
		return values(t, reg)
	}
	const shed, ofRoute = `guard_bound_shed_total{priority="normal"}`, `guard_route_bound_shed_total{priority="normal",route="visits"}`
	one := guard.Concurrency{Max: 1, MaxWait: time.Nanosecond}
	bounds(guard.Concurrency{}, one)
	inside, leave := make(chan struct{}), make(chan struct{})
	f.visit = func() {
		close(inside)
		<-leave
	}
	var wg sync.WaitGroup
	wg.Go(func() { f.get("/visits", "bob") })
	<-inside
	require.Equal(t, http.StatusServiceUnavailable, f.get("/visits", "carol"), "the place is taken")
	close(leave)
	wg.Wait()

	got := values(t, reg)
	require.Equal(t, 1.0, got[ofRoute])
	require.NotContains(t, got, shed, "the guard has no bound, and the route's is the route's")
	require.Equal(t, 1.0, got[`guard_requests_refused_total{reason="overloaded"}`])
	require.NotContains(t, bounds(one, guard.Concurrency{Max: 1}), ofRoute)
	got = bounds(one, one)
	require.Equal(t, 1.0, got[ofRoute])
	require.Equal(t, 0.0, got[shed])
}

func TestNewErrors(t *testing.T) {
	g := newGuard(t, guard.Config{})
	many := make([]float64, 101)
	for i := range many {
		many[i] = float64(i + 1)
	}
	for want, o := range map[string]guardprom.Options{
		"Options.Buckets[1] is 0.5, want more than 0.5":    {Buckets: []float64{0.5, 0.5}},
		"Options.Buckets[0] is 0, want above 0":            {Buckets: []float64{0}},
		"Options.Buckets[0] is NaN":                        {Buckets: []float64{math.NaN()}},
		"Options.Buckets[1] is +Inf":                       {Buckets: []float64{1, math.Inf(1)}},
		"Options.Buckets has 101 bounds, want at most 100": {Buckets: many},
		"Options.Buckets is [1] beside NativeHistograms":   {Buckets: []float64{1}, NativeHistograms: true},
		"Options.ConstLabels is map[\"state\":\"x\"]":      {ConstLabels: prometheus.Labels{"state": "x"}},
		"Options.ConstLabels is map[\"__a\":\"x\"]":        {ConstLabels: prometheus.Labels{"__a": "x"}},
		"Options.ConstLabels[le] is \"x\"":                 {ConstLabels: prometheus.Labels{"le": "x"}},
		"Options.ConstLabels is map[\"a\":\"\\xff\"]":      {ConstLabels: prometheus.Labels{"a": "\xff"}},
	} {
		c, err := guardprom.New(g, o)
		require.ErrorContains(t, err, "guardprom: "+want, want)
		require.Nil(t, c)
	}
	_, err := guardprom.New(nil, guardprom.Options{})
	require.ErrorContains(t, err, "the guard is nil")
}

// The README tells of each metric, and of no other.
func TestReadmeListsAllMetrics(t *testing.T) {
	c, err := guardprom.New(newGuard(t, guard.Config{}), guardprom.Options{})
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(guard_\\w+)` \\|").FindAllStringSubmatch(string(readme), -1) {
		listed = append(listed, row[1])
		// A table that is of the guard and of routes says so once.
		if strings.HasPrefix(row[1], "guard_dependency_") || slices.Contains(wholeOnly, row[1]) || row[1] == "guard_route_cost_tokens" {
			continue
		}
		listed = append(listed, strings.Replace(row[1], "guard_", "guard_route_", 1))
	}
	require.ElementsMatch(t, described(t, c), listed)
}

var wholeOnly = []string{"guard_start_time_seconds", "guard_phase", "guard_health", "guard_shadow_mode"}
