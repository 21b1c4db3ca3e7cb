package guardotel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// madeUp returns requests of which each number is another, from base on.
func madeUp(base int) guard.Traffic {
	n := func(i int) uint64 { return uint64(base + i) }
	return guard.Traffic{
		Limit:       guard.BucketSnapshot{Rate: float64(n(1)), Burst: base + 2, Tokens: float64(n(3))},
		Clients:     []guard.ClientSnapshot{{Name: "key", Limit: guard.BucketSnapshot{Rate: float64(n(4)), Burst: base + 5}, Keys: base + 6, MaxKeys: base + 7, Refused: n(8)}},
		InFlight:    int64(n(9)),
		MaxInFlight: base + 10,
		Bound: guard.BoundSnapshot{
			Limit: base + 10, Waiting: base + 11, SelfTuned: true, NoQueue: time.Duration(n(12)) * time.Second,
			Shed: guard.ShedCounts{Critical: n(13), Normal: n(14), Sheddable: n(15)},
		},
		Counts: guard.RequestCounts{
			Served: n(16), Failed: n(17), Panicked: n(18), Aborted: n(19), Canceled: n(20), Hijacked: n(21),
			Refused:   guard.RefusalCounts{Limited: n(22), Client: n(23), Overloaded: n(24), Draining: n(25), Dependency: n(26), Saturated: n(27)},
			Status3xx: n(28), Status4xx: n(29), Status5xx: n(30),
		},
	}
}

// Each number of a snapshot is shown once, in its place.
func TestObserveEachNumber(t *testing.T) {
	provider, reader := newReader(t)
	require.NoError(t, guardotel.ObserveSnapshot(provider, &guard.Snapshot{
		Phase: "draining", Health: guard.HealthWarn, Shadow: true,
		Requests: madeUp(100),
		Routes:   []guard.RouteSnapshot{{Name: "visits", Traffic: madeUp(200)}},
		Dependencies: []guard.DependencySnapshot{{
			Name: "db", State: guard.StateHalfOpen, Mode: guard.ModeClosed, NextProbe: 301 * time.Second, PausedFor: 302 * time.Second,
			Required: true, InFlight: 303, MaxInFlight: 304,
			Bound: guard.BoundSnapshot{
				Limit: 304, Waiting: 305, Shedding: true, NoQueue: 306 * time.Second,
				Shed: guard.ShedCounts{Critical: 307, Normal: 308, Sheddable: 309},
			},
			Counts: guard.CallCounts{Succeeded: 310, Failed: 311, Answered: 312, Ignored: 313, Slow: 314, Open: 315, Throttled: 316, Saturated: 317},
			Window: guard.WindowSnapshot{
				Calls: 320, Failed: 32, Slow: 16, Streak: 318, MinCalls: 319, FailureRate: 0.5, SlowCall: time.Second, SlowRate: 0.8,
			},
		}},
	}))
	want := map[string]float64{
		`guard.phase{guard.state=serving}`: 0, `guard.phase{guard.state=draining}`: 1, `guard.phase{guard.state=refusing}`: 0,
		`guard.health{guard.state=pass}`: 0, `guard.health{guard.state=warn}`: 1, `guard.health{guard.state=fail}`: 0,
		`guard.shadow_mode{}`: 1,
	}
	traffic := func(prefix, attrs string, base float64) {
		for name, n := range map[string]float64{
			"limit.rate{}": 1, "limit.burst{}": 2, "limit.tokens{}": 3,
			"client_limit.rate{guard.limit=key}": 4, "client_limit.burst{guard.limit=key}": 5, "client_limit.keys{guard.limit=key}": 6,
			"client_limit.keys_limit{guard.limit=key}": 7, "client_limit.refusals{guard.limit=key}": 8,
			"in_flight{}": 9, "in_flight_limit{}": 10, "bound.waiting{}": 11, "bound.no_queue{}": 12,
			"bound.shed{guard.priority=critical}": 13, "bound.shed{guard.priority=normal}": 14, "bound.shed{guard.priority=sheddable}": 15,
			"requests{guard.outcome=served}": 16, "requests{guard.outcome=failed}": 17, "requests{guard.outcome=panicked}": 18,
			"requests{guard.outcome=aborted}": 19, "requests{guard.outcome=canceled}": 20, "requests{guard.outcome=hijacked}": 21,
			"refusals{guard.reason=limited}": 22, "refusals{guard.reason=client}": 23, "refusals{guard.reason=overloaded}": 24,
			"refusals{guard.reason=draining}": 25, "refusals{guard.reason=dependency}": 26, "refusals{guard.reason=saturated}": 27,
			"responses{guard.status_class=3xx}": 28, "responses{guard.status_class=4xx}": 29, "responses{guard.status_class=5xx}": 30,
			"bound.self_tuned{}": 1 - base, "bound.shedding{}": 0 - base,
		} {
			want[with(prefix+name, attrs)] = base + n
		}
	}
	traffic("guard.", "", 100)
	traffic("guard.route.", "guard.route=visits", 200)
	for name, n := range map[string]float64{
		"breaker.state{guard.state=closed}": 0, "breaker.state{guard.state=half-open}": 1, "breaker.state{guard.state=open}": 0,
		"breaker.mode{guard.mode=auto}": 0, "breaker.mode{guard.mode=open}": 0, "breaker.mode{guard.mode=closed}": 1,
		"breaker.next_probe{}": 301, "pause{}": 302, "required{}": 1, "in_flight{}": 303, "in_flight_limit{}": 304,
		"bound.self_tuned{}": 0, "bound.shedding{}": 1, "bound.waiting{}": 305, "bound.no_queue{}": 306,
		"bound.shed{guard.priority=critical}": 307, "bound.shed{guard.priority=normal}": 308, "bound.shed{guard.priority=sheddable}": 309,
		"calls{guard.outcome=succeeded}": 310, "calls{guard.outcome=failed}": 311, "calls{guard.outcome=answered}": 312, "calls{guard.outcome=ignored}": 313,
		"slow_calls{}": 314, "refusals{guard.reason=open}": 315, "refusals{guard.reason=throttled}": 316, "refusals{guard.reason=saturated}": 317,
		"window.failure_streak{}": 318, "window.min_calls{}": 319, "window.calls{}": 320, "window.failure_ratio{}": 0.1,
		"window.failure_ratio_limit{}": 0.5, "window.slow_ratio{}": 0.05, "window.slow_ratio_limit{}": 0.8,
	} {
		want[with("guard.dependency."+name, "guard.dependency=db")] = n
	}
	require.Equal(t, want, values(t, reader))
}

// with puts an attribute into the braces, where it comes in the order of the keys.
func with(name, attribute string) string {
	metric, others, _ := strings.Cut(name, "{")
	others = strings.TrimSuffix(others, "}")
	switch {
	case attribute == "" || others == "":
		return metric + "{" + attribute + others + "}"
	case attribute < others:
		return metric + "{" + attribute + "," + others + "}"
	}
	return metric + "{" + others + "," + attribute + "}"
}
