// Package guardotel shows a guard to OpenTelemetry: refusals and changes of breakers
// as events of the span that they happen in, and the numbers of the guard's Snapshot
// as metrics. It uses the API only; which SDK is behind it, if any, is the program's
// choice.
//
//	g, err := guard.New(guard.Config{Hooks: guardotel.Hooks(guard.Hooks{})})
//	…
//	registration, err := guardotel.Observe(g, guardotel.Options{})
//	…
//	defer registration.Unregister()
//	http.ListenAndServe(":8080", otelhttp.NewHandler(g.Mux(mux), "server"))
//
// Spans and durations of requests are otelhttp's business, which has to be around the
// guard, so that there is a span to which a refusal can be added. Durations are not
// among the metrics here.
//
// # Events
//
// [Hooks] adds an event to the active span of the context of the request or call,
// if it is being recorded; otherwise it costs a look at the context. It starts no
// span and sets no status: a refusal is what the guard is for.
//
//	event                   attributes
//	guard.refused           guard.reason: limited, client, overloaded, draining, open, throttled, saturated
//	                        guard.route, guard.dependency, guard.limit: where there is one
//	                        guard.retry_after: seconds, if known
//	                        guard.shadow: true if it was let through all the same
//	guard.breaker.changed   guard.dependency
//	                        guard.state, guard.previous_state: closed, half-open, open
//	                        guard.reason: such as "failure rate"
//	                        guard.open_for: seconds, if known
//	                        guard.window.calls, guard.window.failed, guard.window.slow: if it has tripped
//
// What refuses a call to a dependency refuses the request, too, as a rule, and is told
// once: without a route. Where a route needs a dependency, it has both names. The span
// itself gets the attribute guard.refused.reason, that of the last refusal, to search
// by.
//
// # Metrics
//
// [Observe] takes one Snapshot for each collection, and serving pays nothing. The
// names begin with guard., those of a route with guard.route., those of a dependency
// with guard.dependency.; what has neither is of the whole guard, the requests of its
// routes included. The README has the table.
//
// # Attributes
//
// Their values are bounded: names that the program gave to routes, dependencies and
// client limits, and fixed words. Nothing that a client sent gets into one, nor does
// the text of an error. A name that is not UTF-8, with which exporters fail, is shown
// quoted.
//
// # Concurrency
//
// All functions are safe for concurrent use, and no goroutine is started.
package guardotel
