// Package guardprom shows a guard to Prometheus: the numbers of its Snapshot as
// metrics, by github.com/prometheus/client_golang.
//
//	collector, err := guardprom.New(g, guardprom.Options{})
//	…
//	registry.MustRegister(collector)
//	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// # Cost
//
// A [Collector] asks for one [guard.Guard.Snapshot] when it is scraped, and does
// nothing else: requests and calls pay nothing for being watched. It starts no
// goroutine and keeps nothing, so there is nothing to close.
//
// # Names
//
// All names begin with guard_. What begins with guard_route_ is of one route and
// has the label route, what begins with guard_dependency_ is of one dependency and
// has the label dependency. The rest is of the guard: its requests, refusals,
// responses and durations include those of its routes, so that nothing has to be
// summed up; its limits and bounds are its own, and the routes have theirs. The table
// of all metrics is in the README, with what to do about each.
//
// A request that is refused because its route needs a dependency that is down is no
// call to that: guard_requests_refused_total counts it, and
// guard_dependency_calls_refused_total does not.
//
// # Labels
//
// The values of all labels are bounded: names that the program gave to routes,
// dependencies and client limits, and the fixed words for states, outcomes, reasons
// and priorities. Nothing that a client sent gets into one, nor does the text of an
// error. A name that is not UTF-8, which Prometheus refuses, is shown quoted, and so
// is one that begins with a quote; the second limit per client of a name has a number.
//
// # Counters
//
// Counters count from the start of the guard, which is their created timestamp, and
// never go backwards, whatever limit or bound is tuned. What is not there is not
// shown, rather than shown as 0: the limit of a route that has none, the queue of a
// bound without one. Fixed words are always shown, at 0 too, so that the first refusal
// is an increase.
//
// # Histograms
//
// Durations are counted by the guard in buckets of its own, eight for each doubling
// of the time. Classic buckets are sums of these, exact where their bounds are the
// guard's, as those of [DefaultBuckets] are. The sum of a histogram is estimated,
// since the guard adds nothing up: it is right within 6 %. In a flood, a sample is
// timed, so the count of a histogram is not that of the requests.
//
// # Concurrency
//
// A Collector is safe for concurrent use.
package guardprom
