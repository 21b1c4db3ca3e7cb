package guardprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
)

// dependencyDescs are what there is of each dependency.
type dependencyDescs struct {
	state, mode, changed, nextProbe, pause, required *prometheus.Desc

	calls, slow, refused, duration *prometheus.Desc
	inFlight, inFlightLimit        *prometheus.Desc
	bound                          boundDescs

	windowCalls, windowMinCalls, streak *prometheus.Desc
	failures, failuresLimit             *prometheus.Desc
	slowness, slownessLimit             *prometheus.Desc
	lastFailure                         *prometheus.Desc
}

func newDependencyDescs(b *builder) dependencyDescs {
	of := []string{"dependency"}
	desc := func(name, help string, own ...string) *prometheus.Desc {
		return b.desc("dependency_"+name, help, of, own...)
	}
	return dependencyDescs{
		state:     desc("breaker_state", "1 for the state of the breaker: closed, half-open or open; 0 for the others.", "state"),
		mode:      desc("breaker_mode", "1 for the mode of the breaker: auto, or held open or closed; 0 for the others.", "mode"),
		changed:   desc("breaker_changed_timestamp_seconds", "Since when the breaker is in its state, as Unix time."),
		nextProbe: desc("breaker_next_probe_seconds", "How long until the breaker is half-open; 0 if it is not open, or held so."),
		pause:     desc("pause_seconds", "How long until a pause that the dependency has asked for is over; 0 if there is none."),
		required:  desc("required", "1 if readiness fails while the breaker is open, else 0."),

		calls:    desc("calls_total", "Calls that were let through and are done, by outcome.", "outcome"),
		slow:     desc("slow_calls_total", "Calls, of whatever outcome, that were slow."),
		refused:  desc("calls_refused_total", "Calls that were refused, by reason.", "reason"),
		duration: desc("call_duration_seconds", "How long calls took that were not ignored; in a flood, of a sample."),

		inFlight:      desc("calls_in_flight", "Calls that go on."),
		inFlightLimit: desc("calls_in_flight_limit", "How many calls may go on at once; of a self-tuned bound, as of now."),
		bound:         newBoundDescs(b, "dependency_", of, "calls"),

		windowCalls:    desc("window_calls", "Calls in the window that the breaker goes by; 0 while it is not closed."),
		windowMinCalls: desc("window_min_calls", "How many calls in the window it takes to trip the breaker, or failures in a row."),
		streak:         desc("window_failure_streak", "Failures since the last success."),
		failures:       desc("window_failure_ratio", "Share of the calls in the window that failed."),
		failuresLimit:  desc("window_failure_ratio_limit", "Share of failures at which the breaker trips."),
		slowness:       desc("window_slow_ratio", "Share of the calls in the window that were slow."),
		slownessLimit:  desc("window_slow_ratio_limit", "Share of slow calls at which the breaker trips."),
		lastFailure:    desc("last_failure_timestamp_seconds", "When a call failed last, as Unix time."),
	}
}

func (c *Collector) collectDependency(out sink, s *guard.DependencySnapshot) {
	d, name := &c.dependencies, label(s.Name)
	of := []string{name}
	out.stateSet(d.state, s.State.String(), []string{
		guard.StateClosed.String(), guard.StateHalfOpen.String(), guard.StateOpen.String(),
	}, name)
	out.stateSet(d.mode, s.Mode.String(), []string{
		guard.ModeAuto.String(), guard.ModeOpen.String(), guard.ModeClosed.String(),
	}, name)
	out.gauge(d.changed, unix(s.Since), name)
	out.gauge(d.nextProbe, seconds(s.NextProbe), name)
	out.gauge(d.pause, seconds(s.PausedFor), name)
	out.gauge(d.required, truth(s.Required), name)

	n := &s.Counts
	out.counters(
		d.calls, of,
		count{guard.OutcomeSucceeded.String(), n.Succeeded}, count{guard.OutcomeFailed.String(), n.Failed},
		count{guard.OutcomeAnswered.String(), n.Answered}, count{guard.OutcomeIgnored.String(), n.Ignored},
	)
	out.counter(d.slow, n.Slow, name)
	out.counters(d.refused, of, count{"open", n.Open}, count{"throttled", n.Throttled}, count{"saturated", n.Saturated})
	out.ch <- c.histogram(d.duration, &s.Latency, of)

	out.gauge(d.inFlight, float64(s.InFlight), name)
	if s.MaxInFlight > 0 {
		out.gauge(d.inFlightLimit, float64(s.MaxInFlight), name)
	}
	d.bound.collect(out, &s.Bound, of)

	w := &s.Window
	out.gauge(d.windowCalls, float64(w.Calls), name)
	out.gauge(d.windowMinCalls, float64(w.MinCalls), name)
	out.gauge(d.streak, float64(w.Streak), name)
	out.gauge(d.failures, share(w.Failed, w.Calls), name)
	out.gauge(d.failuresLimit, w.FailureRate, name)
	if w.SlowCall > 0 {
		out.gauge(d.slowness, share(w.Slow, w.Calls), name)
		out.gauge(d.slownessLimit, w.SlowRate, name)
	}
	if !s.FailedAt.IsZero() {
		out.gauge(d.lastFailure, unix(s.FailedAt), name)
	}
}
