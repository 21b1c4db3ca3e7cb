package guardotel

import "example.com/guard"

// trafficMetrics are those of requests: of the guard, and of each route.
type trafficMetrics struct {
	requests, refusals, responses          counter
	inFlight, inFlightLimit                amount
	bound                                  boundMetrics
	limitRate, limitTokens                 level
	limitBurst                             amount
	clientRate                             level
	clientBurst, clientKeys, clientKeysMax amount
	clientRefusals                         counter
}

func newTrafficMetrics(b *builder, prefix string) trafficMetrics {
	return trafficMetrics{
		requests:       b.counter(prefix+"requests", "{request}", "Requests that were let in and are done, by what became of them"),
		refusals:       b.counter(prefix+"refusals", "{request}", "Requests that were refused, by reason; in shadow mode, that would have been"),
		responses:      b.counter(prefix+"responses", "{response}", "Responses by the class of their status, 2xx left out; refusals are among them"),
		inFlight:       b.amount(prefix+"in_flight", "{request}", "Requests that are being served"),
		inFlightLimit:  b.amount(prefix+"in_flight_limit", "{request}", "How many requests may be served at once"),
		bound:          newBoundMetrics(b, prefix, "request"),
		limitRate:      b.level(prefix+"limit.rate", "{token}/s", "How fast the token bucket refills"),
		limitBurst:     b.amount(prefix+"limit.burst", "{token}", "How many tokens the bucket holds"),
		limitTokens:    b.level(prefix+"limit.tokens", "{token}", "Tokens that are in the bucket"),
		clientRate:     b.level(prefix+"client_limit.rate", "{token}/s", "How fast the token bucket of each client refills"),
		clientBurst:    b.amount(prefix+"client_limit.burst", "{token}", "How many tokens the bucket of each client holds"),
		clientKeys:     b.amount(prefix+"client_limit.keys", "{client}", "Clients that are told apart"),
		clientKeysMax:  b.amount(prefix+"client_limit.keys_limit", "{client}", "How many clients can be told apart"),
		clientRefusals: b.counter(prefix+"client_limit.refusals", "{request}", "Requests that were refused by this limit per client"),
	}
}

func (m *trafficMetrics) observe(o observer, t *guard.Traffic) {
	n := &t.Counts
	o.counters(
		m.requests, "guard.outcome",
		count{guard.RequestServed.String(), n.Served}, count{guard.RequestFailed.String(), n.Failed},
		count{guard.RequestPanicked.String(), n.Panicked}, count{guard.RequestAborted.String(), n.Aborted},
		count{guard.RequestCanceled.String(), n.Canceled}, count{guard.RequestHijacked.String(), n.Hijacked},
	)
	r := &n.Refused
	o.counters(
		m.refusals, "guard.reason",
		count{"limited", r.Limited}, count{"client", r.Client}, count{"overloaded", r.Overloaded},
		count{"draining", r.Draining}, count{"dependency", r.Dependency}, count{"saturated", r.Saturated},
	)
	o.counters(m.responses, "guard.status_class", count{"3xx", n.Status3xx}, count{"4xx", n.Status4xx}, count{"5xx", n.Status5xx})
	o.amount(m.inFlight, t.InFlight)
	if t.MaxInFlight > 0 {
		o.amount(m.inFlightLimit, int64(t.MaxInFlight))
	}
	m.bound.observe(o, &t.Bound)
	if l := &t.Limit; !l.Unlimited {
		o.level(m.limitRate, l.Rate)
		o.amount(m.limitBurst, int64(l.Burst))
		o.level(m.limitTokens, l.Tokens)
	}
	for i := range t.Clients {
		l := &t.Clients[i]
		o := o.with("guard.limit", l.Name)
		if !l.Limit.Unlimited {
			o.level(m.clientRate, l.Limit.Rate)
			o.amount(m.clientBurst, int64(l.Limit.Burst))
		}
		o.amount(m.clientKeys, int64(l.Keys))
		o.amount(m.clientKeysMax, int64(l.MaxKeys))
		o.counter(m.clientRefusals, l.Refused)
	}
}

// boundMetrics are those of a bound with a queue.
type boundMetrics struct {
	selfTuned, shedding gauge
	waiting             amount
	shed                counter
	noQueue             gauge
}

// newBoundMetrics makes those of a bound on what: requests or calls.
func newBoundMetrics(b *builder, prefix, what string) boundMetrics {
	return boundMetrics{
		selfTuned: b.gauge(prefix+"bound.self_tuned", "1", "1 if the bound finds its limit itself, 0 if the limit was given"),
		shedding:  b.gauge(prefix+"bound.shedding", "1", "1 if the bound has refused in the last second, else 0"),
		waiting:   b.amount(prefix+"bound.waiting", "{"+what+"}", "How many wait for a place"),
		shed:      b.counter(prefix+"bound.shed", "{"+what+"}", "How many the bound has refused, by priority; in shadow mode, would have"),
		noQueue:   b.gauge(prefix+"bound.no_queue", "s", "How long one is thought to take while nothing queues"),
	}
}

func (m *boundMetrics) observe(o observer, s *guard.BoundSnapshot) {
	if s.Limit == 0 {
		return // there is no queue
	}
	o.gauge(m.selfTuned, truth(s.SelfTuned))
	o.gauge(m.shedding, truth(s.Shedding))
	o.amount(m.waiting, int64(s.Waiting))
	o.counters(
		m.shed, "guard.priority",
		count{guard.PriorityCritical.String(), s.Shed.Critical},
		count{guard.PriorityNormal.String(), s.Shed.Normal},
		count{guard.PrioritySheddable.String(), s.Shed.Sheddable},
	)
	if s.NoQueue > 0 {
		o.gauge(m.noQueue, s.NoQueue.Seconds())
	}
}
