package guardprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
)

// trafficDescs are what there is of requests: for the guard, and for each route.
type trafficDescs struct {
	cost *prometheus.Desc // nil for the guard

	requests, refused, responses, duration *prometheus.Desc

	inFlight, inFlightLimit *prometheus.Desc
	bound                   boundDescs

	limitRate, limitBurst, limitTokens                                  *prometheus.Desc
	clientRate, clientBurst, clientKeys, clientKeysLimit, clientRefused *prometheus.Desc
}

func newTrafficDescs(b *builder, prefix string, of []string) trafficDescs {
	desc := func(name, help string, own ...string) *prometheus.Desc { return b.desc(prefix+name, help, of, own...) }
	d := trafficDescs{
		requests:  desc("requests_total", "Requests that were let in and are done, by what became of them.", "outcome"),
		refused:   desc("requests_refused_total", "Requests that were refused, by reason; in shadow mode, that would have been.", "reason"),
		responses: desc("responses_total", "Responses by the class of their status, 2xx left out; refusals are among them.", "code"),
		duration:  desc("request_duration_seconds", "How long requests that were served, failed or panicked took; in a flood, of a sample."),

		inFlight:      desc("requests_in_flight", "Requests that are being served."),
		inFlightLimit: desc("requests_in_flight_limit", "How many requests may be served at once; of a self-tuned bound, as of now."),
		bound:         newBoundDescs(b, prefix, of, "requests"),

		limitRate:   desc("limit_tokens_per_second", "How fast the token bucket refills."),
		limitBurst:  desc("limit_burst_tokens", "How many tokens the bucket holds."),
		limitTokens: desc("limit_tokens", "Tokens that are in the bucket."),

		clientRate:      desc("client_limit_tokens_per_second", "How fast the token bucket of each client refills.", "limit"),
		clientBurst:     desc("client_limit_burst_tokens", "How many tokens the bucket of each client holds.", "limit"),
		clientKeys:      desc("client_limit_keys", "Clients that are told apart.", "limit"),
		clientKeysLimit: desc("client_limit_keys_limit", "How many clients can be told apart.", "limit"),
		clientRefused:   desc("client_limit_refused_total", "Requests that were refused by this limit per client.", "limit"),
	}
	if len(of) > 0 {
		d.cost = desc("cost_tokens", "How many tokens a request of the route takes.")
	}
	return d
}

func (c *Collector) collectTraffic(out sink, d *trafficDescs, t *guard.Traffic, of ...string) {
	n := &t.Counts
	out.counters(
		d.requests, of,
		count{guard.RequestServed.String(), n.Served}, count{guard.RequestFailed.String(), n.Failed},
		count{guard.RequestPanicked.String(), n.Panicked}, count{guard.RequestAborted.String(), n.Aborted},
		count{guard.RequestCanceled.String(), n.Canceled}, count{guard.RequestHijacked.String(), n.Hijacked},
	)
	r := &n.Refused
	out.counters(
		d.refused, of,
		count{"limited", r.Limited}, count{"client", r.Client}, count{"overloaded", r.Overloaded},
		count{"draining", r.Draining}, count{"dependency", r.Dependency}, count{"saturated", r.Saturated},
	)
	out.counters(d.responses, of, count{"3xx", n.Status3xx}, count{"4xx", n.Status4xx}, count{"5xx", n.Status5xx})
	out.ch <- c.histogram(d.duration, &t.Latency, of)

	out.gauge(d.inFlight, float64(t.InFlight), of...)
	if t.MaxInFlight > 0 {
		out.gauge(d.inFlightLimit, float64(t.MaxInFlight), of...)
	}
	d.bound.collect(out, &t.Bound, of)

	if l := &t.Limit; !l.Unlimited {
		out.gauge(d.limitRate, l.Rate, of...)
		out.gauge(d.limitBurst, float64(l.Burst), of...)
		out.gauge(d.limitTokens, l.Tokens, of...)
	}
	for i, name := range clientLabels(t.Clients) {
		l, labels := &t.Clients[i], with(of, name)
		if !l.Limit.Unlimited {
			out.gauge(d.clientRate, l.Limit.Rate, labels...)
			out.gauge(d.clientBurst, float64(l.Limit.Burst), labels...)
		}
		out.gauge(d.clientKeys, float64(l.Keys), labels...)
		out.gauge(d.clientKeysLimit, float64(l.MaxKeys), labels...)
		out.counter(d.clientRefused, l.Refused, labels...)
	}
}
