package guardotel

import "example.com/guard"

// dependencyMetrics are those of each dependency.
type dependencyMetrics struct {
	state, mode, nextProbe, pause, required gauge
	calls, slow, refusals                   counter
	inFlight, inFlightLimit                 amount
	bound                                   boundMetrics
	windowCalls                             amount
	windowMinCalls, streak                  gauge
	failures, failuresLimit                 gauge
	slowness, slownessLimit                 gauge
}

func newDependencyMetrics(b *builder) dependencyMetrics {
	const prefix = "guard.dependency."
	return dependencyMetrics{
		state:          b.gauge(prefix+"breaker.state", "1", "1 for the state of the breaker: closed, half-open or open; 0 for the others"),
		mode:           b.gauge(prefix+"breaker.mode", "1", "1 for the mode of the breaker: auto, or held open or closed; 0 for the others"),
		nextProbe:      b.gauge(prefix+"breaker.next_probe", "s", "How long until the breaker is half-open; 0 if it is not open, or held so"),
		pause:          b.gauge(prefix+"pause", "s", "How long until a pause that the dependency has asked for is over; 0 if there is none"),
		required:       b.gauge(prefix+"required", "1", "1 if readiness fails while the breaker is open, else 0"),
		calls:          b.counter(prefix+"calls", "{call}", "Calls that were let through and are done, by outcome"),
		slow:           b.counter(prefix+"slow_calls", "{call}", "Calls, of whatever outcome, that were slow"),
		refusals:       b.counter(prefix+"refusals", "{call}", "Calls that were refused, by reason"),
		inFlight:       b.amount(prefix+"in_flight", "{call}", "Calls that go on"),
		inFlightLimit:  b.amount(prefix+"in_flight_limit", "{call}", "How many calls may go on at once"),
		bound:          newBoundMetrics(b, prefix, "call"),
		windowCalls:    b.amount(prefix+"window.calls", "{call}", "Calls in the window that the breaker goes by; 0 while it is not closed"),
		windowMinCalls: b.gauge(prefix+"window.min_calls", "{call}", "How many calls in the window it takes to trip the breaker, or failures in a row"),
		streak:         b.gauge(prefix+"window.failure_streak", "{call}", "Failures since the last success"),
		failures:       b.gauge(prefix+"window.failure_ratio", "1", "Share of the calls in the window that failed"),
		failuresLimit:  b.gauge(prefix+"window.failure_ratio_limit", "1", "Share of failures at which the breaker trips"),
		slowness:       b.gauge(prefix+"window.slow_ratio", "1", "Share of the calls in the window that were slow"),
		slownessLimit:  b.gauge(prefix+"window.slow_ratio_limit", "1", "Share of slow calls at which the breaker trips"),
	}
}

func (m *dependencyMetrics) observe(o observer, s *guard.DependencySnapshot) {
	o.states(m.state, "guard.state", s.State.String(),
		guard.StateClosed.String(), guard.StateHalfOpen.String(), guard.StateOpen.String())
	o.states(m.mode, "guard.mode", s.Mode.String(),
		guard.ModeAuto.String(), guard.ModeOpen.String(), guard.ModeClosed.String())
	o.gauge(m.nextProbe, s.NextProbe.Seconds())
	o.gauge(m.pause, s.PausedFor.Seconds())
	o.gauge(m.required, truth(s.Required))
	n := &s.Counts
	o.counters(
		m.calls, "guard.outcome",
		count{guard.OutcomeSucceeded.String(), n.Succeeded}, count{guard.OutcomeFailed.String(), n.Failed},
		count{guard.OutcomeAnswered.String(), n.Answered}, count{guard.OutcomeIgnored.String(), n.Ignored},
	)
	o.counter(m.slow, n.Slow)
	o.counters(m.refusals, "guard.reason", count{"open", n.Open}, count{"throttled", n.Throttled}, count{"saturated", n.Saturated})
	o.amount(m.inFlight, s.InFlight)
	if s.MaxInFlight > 0 {
		o.amount(m.inFlightLimit, int64(s.MaxInFlight))
	}
	m.bound.observe(o, &s.Bound)
	w := &s.Window
	o.amount(m.windowCalls, w.Calls)
	o.gauge(m.windowMinCalls, float64(w.MinCalls))
	o.gauge(m.streak, float64(w.Streak))
	o.gauge(m.failures, share(w.Failed, w.Calls))
	o.gauge(m.failuresLimit, w.FailureRate)
	if w.SlowCall > 0 {
		o.gauge(m.slowness, share(w.Slow, w.Calls))
		o.gauge(m.slownessLimit, w.SlowRate)
	}
}
