// Package guard keeps an HTTP server available when there is too much load, and
// when what it depends on fails: it wraps handlers and the calls that they make,
// refuses early what cannot be served, says why, and says when to come back.
//
//	g, err := guard.New(guard.Config{
//		Limit:   guard.Limit{Rate: 1000, Burst: 200},
//		Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 10, Burst: 20}}},
//	})
//	…
//	db, err := g.Dependency("cassandra", guard.DependencyConfig{Timeout: 2 * time.Second})
//	…
//	mux.Handle("GET /visits/{id}", g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
//		visit, err := guard.Call(r.Context(), db, load(r.PathValue("id")))
//		if err != nil {
//			return err // 502, at once while the breaker is open
//		}
//		…
//	}))
//	http.ListenAndServe(":8080", g.Mux(mux))
//
// # Limits
//
// A [Limiter] is a token bucket, a [Keyed] one for each key in bounded memory;
// both can be used alone. A [Guard] checks, in this order: requests that are
// exempt pass; a server that has drained refuses; so does a route that needs a
// dependency that is down; then each client's buckets, the route's, the one that
// all share, and the bound on requests in flight.
// What an earlier stage took is given back when a later one refuses, so a
// refused request costs nobody anything.
//
// # Breakers
//
// A [Dependency] is a circuit breaker: [Dependency.Do], [Call] and
// [Dependency.Acquire] wrap calls, [Dependency.Transport] an HTTP client's. Too
// many failures or slow calls open it; then calls are refused until a probe, or a
// health check, has succeeded. It also bounds the calls at once and the time of
// each. A client that hangs up never counts against a dependency.
//
// # Overload
//
// A limit is a promise about a rate, and somebody has to know it. A [Concurrency]
// that is SelfTuned needs nothing to be known: it finds how many requests at once
// a server is best off with, keeps a short queue by [Priority] in front of it, and
// refuses the rest at once.
//
// # Health
//
// [Guard.Live] and [Guard.Ready] answer probes, [Guard.Shutdown] drains. What
// happens is told to the [Hooks] and the log, and what is the case by
// [Guard.Snapshot].
//
// # Errors
//
// A [HandlerFunc] returns an error instead of writing one. Whatever it returns,
// and whatever the guard itself refuses, is answered in the format that the
// client accepts: problem details (RFC 9457) in JSON or XML, plain text or HTML.
// The text of a wrapped error never gets into a body. Panics are answered with
// 500, unless the response has begun: then the connection is aborted.
//
// # Tuning
//
// [Guard.Tune], [Route.Tune] and [Dependency.Tune] change limits while the server runs. A change is
// validated whole, takes effect at once, each bucket in one step, and leaves
// everything as it was if anything in it is invalid.
//
// # Concurrency
//
// Everything is safe for concurrent use. No user code is called with a lock
// held. No goroutine outlives the call that starts it, but for those that run
// the Check of a dependency whose breaker is not closed, which [Guard.Close]
// ends, and timers that do one thing: write a line for the refusals of a second,
// say. A Guard that is made inside a [testing/synctest] bubble lives by the time
// of the bubble.
package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how a server is guarded. The zero Config limits nothing; it still
// recovers from panics and writes the contract's error bodies.
type Config struct {
	// Limit is one bucket that all requests share. The zero Limit means none.
	Limit Limit
	// Clients are buckets per client, each checked in turn.
	Clients []ClientLimit
	// Concurrency bounds the requests that are being served at once.
	Concurrency Concurrency
	// PriorityOf returns the priority of a request where there is a queue; nil
	// means that of its route, or PriorityNormal. It is called, with no lock held,
	// only if there is no place free.
	PriorityOf func(*http.Request) Priority
	// PriorityHeader is a header whose value, "critical", "normal" or "sheddable",
	// is believed from a hop that is one of the TrustedProxies, and goes before
	// everything else. "" means none: no header is believed by default.
	PriorityHeader string
	// TrustedProxies are the hops whose ForwardedHeader is believed; none by
	// default. 0.0.0.0/0 and ::/0 are errors.
	TrustedProxies []netip.Prefix
	// ForwardedHeader is the one header that is believed from a trusted hop; ""
	// means X-Forwarded-For. "Forwarded" is read as RFC 7239 says. Every other
	// header is ignored.
	ForwardedHeader string
	// Exempt reports whether a request is let through unlimited. nil means GET
	// and HEAD of /livez and /readyz: an application that answers those by a
	// catch-all leaves a door open. It is called once for each request and stage,
	// but for the stages inside of one that is exempt.
	Exempt func(*http.Request) bool
	// Support says whom to send the logs to, in the body of a 500; "" means
	// "support".
	Support string
	// Status changes the statuses of refusals.
	Status Statuses
	// Shadow makes the guard decide and count, but refuse nothing.
	Shadow bool
	// DrainDelay is how long Shutdown goes on serving after readiness has
	// failed, so that load balancers notice. 0 means not at all; negative is an
	// error.
	DrainDelay time.Duration
	// Logger is told of panics, errors, tuning, changes of breakers and, once a
	// second at most, refusals; nil means slog.Default(). It cannot be changed by
	// Tune.
	Logger *slog.Logger
	// Hooks are told what happens. They cannot be changed by Tune.
	Hooks Hooks
}

// Statuses are the statuses of refusals. Each must be 400 to 599, or 0 for its
// default.
type Statuses struct {
	Limited    int // the bucket of all or of the route is empty; 0: 503
	Client     int // a client's bucket is empty; 0: 503
	Overloaded int // too many requests or calls in flight, or the request's deadline has passed; 0: 503
	Dependency int // a dependency failed, timed out, or its breaker is open; 0: 502
}

// A HandlerFunc is an http.HandlerFunc that can fail. What it returns is
// answered by [Guard.WriteError].
type HandlerFunc func(http.ResponseWriter, *http.Request) error

// A Guard guards one server. Make one with [New]; the zero Guard is not usable.
type Guard struct {
	log          logger
	hooks        Hooks
	start        time.Time // that of all buckets; instants are nanoseconds since start
	tuned        atomic.Pointer[tuned]
	phase        atomic.Int32 // see health.go
	health       atomic.Int32 // as it was told last
	looks        atomic.Int32 // at the health that are asked for
	dependencies atomic.Pointer[[]*Dependency]
	routes       atomic.Pointer[[]*Route]
	stopped      atomic.Bool
	stop         chan struct{} // closed by Close

	_       [64]byte // every request reads the above and writes the below
	flight  flight
	_       [64]byte
	traffic traffic
	herd    herd

	mu sync.Mutex // serialises changes
}

// New returns a Guard. The error names the field of c that is invalid, and its
// value. c is copied.
func New(c Config) (*Guard, error) {
	t, err := compile(c, nil)
	if err != nil {
		return nil, err
	}
	g := &Guard{hooks: c.Hooks, start: t.limiter.start, stop: make(chan struct{})}
	g.flight.bound = newBound(g.start, true, g.overloaded)
	g.flight.bound.configure(c.Concurrency)
	g.log.to = c.Logger
	g.tuned.Store(t)
	return g, nil
}

// Handler wraps next with the limits of the guard, and recovers from its panics.
// It has the form of a middleware: func(http.Handler) http.Handler.
//
// Handlers of one guard may be nested, as when one is around a mux whose routes
// are wrapped by [Route.Handler]: the inner stage takes only what the outer has
// not. The outer one is found through the Unwrap method of the ResponseWriter;
// behind a middleware whose writer lacks it, such as [http.TimeoutHandler], both
// count, also against the bounds on what is in flight. Each stage answers for
// itself: the Retry-After of the outer one does not know what the inner will
// ask. A handler that runs several inner stages for one request, one after the
// other, pays the guard's own buckets for the dearest of them.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return g.HandlerFunc(infallible(next))
}

// HandlerFunc is Handler for a handler that returns an error.
func (g *Guard) HandlerFunc(fn HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, nil, nil, fn) })
}

// Mux is Handler for a ServeMux. What no pattern of the mux matches is answered
// as all errors are: 404, or 405 with Allow, instead of the mux's plain text. It
// goes by r.Pattern, which a mux leaves empty then: a handler must not hand the
// same request to another mux and then answer itself, and the mux must not be
// the one of GODEBUG=httpmuxgo121=1.
func (g *Guard) Mux(m *http.ServeMux) http.Handler {
	fn := func(w http.ResponseWriter, r *http.Request) error {
		rec := find(w, g)
		rec.mux = r
		m.ServeHTTP(w, r)
		return rec.unmatched()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, nil, m, fn) })
}

// serve takes a request through the guard, and through the route if there is
// one, to the handler, which may be that of a mux.
func (g *Guard) serve(w http.ResponseWriter, r *http.Request, rt *Route, m *http.ServeMux, next HandlerFunc) {
	t := g.tuned.Load()
	rec := newRecorder(rt != nil || len(t.clients) > 0)
	rec.ResponseWriter, rec.guard, rec.outer, rec.start = w, g, find(w, g), g.now()
	w = rec.view()
	defer rec.leave(w, r, rt)

	if g.phase.Load() != serving {
		w.Header().Set("Connection", "close")
	}
	if rec.outer.passed() || t.exempt(r) {
		rec.pass, rec.unmeasured = true, rec.outer == nil || rec.outer.unmeasured
	} else if err := rec.admit(t, rt, m, r); err != nil {
		why := rec.refused(t, rt, r, err)
		if !t.config.Shadow {
			g.writeError(w, r, err, why)
			return
		}
		rec.pass = true
	}
	if err := next(w, r); err != nil {
		g.WriteError(w, r, err)
	}
	rec.returned = true
}

// admit takes everything that the request needs, or nothing. The order is the
// order of the checks.
func (rec *recorder) admit(t *tuned, rt *Route, m *http.ServeMux, r *http.Request) error {
	g, cost, before := rec.guard, 1, 0
	if rec.outer != nil {
		before = rec.outer.held()
	} else if g.phase.Load() == refusing {
		return errDrained
	}
	var own *tunedRoute
	var down *DependencyError
	if rt != nil {
		own = rt.tuned.Load()
		cost, down = own.cost, own.down(r.Context())
	}
	extra := max(cost-before, 0) // what outer stages have not taken already
	now := rec.start
	if rec.plan(t, own, r, extra, cost) || t.config.Exempt != nil || own != nil && len(own.config.Needs) > 0 {
		now = g.now() // anew: what was called is user code, which may have taken a while
	}
	if down != nil {
		rec.takeBack(0)
		return down.after(rec.waitForAll(cost))
	}
	for i := range rec.planned() {
		if wait, ok := rec.draws[i].take(now); !ok {
			return rec.refuse(refusedLimited, i, wait, cost)
		}
	}
	if extra > 0 {
		if wait, ok := t.limiter.takeAt(now, extra); !ok {
			return rec.refuse(refusedLimited, rec.planned(), wait, cost)
		}
	}
	rec.took, rec.paid = extra, before+extra
	if own != nil {
		if rec.taken.seat = rec.board(&rt.flight, &own.places, t, rt, nil, r); rec.taken.seat == noSeat {
			return rec.refuse(refusedOverloaded, rec.planned(), never, cost)
		}
		rec.route = rt
	}
	if rec.outer == nil {
		if rec.seat = rec.board(&g.flight, &t.places, t, rt, m, r); rec.seat == noSeat {
			return rec.refuse(refusedOverloaded, rec.planned(), never, cost)
		}
	}
	return nil
}

// WriteError answers a request with an error, in the format that the client
// accepts: an [*Error] says what; a [*RefusedError], a [*DependencyError] and an
// [*http.MaxBytesError] have statuses of their own, and so has it if the deadline
// of the request's context has passed (that of Statuses.Overloaded); everything
// else, nil included, is a 500, and its text goes to the log alone.
//
// If the client has gone, as the request's context tells, nothing is written,
// nor can be after that, and the log says 499. If the response has already
// begun, as far as w is or wraps a writer of the guard, the connection is
// aborted by a panic with [http.ErrAbortHandler].
//
// It fits the ErrorHandler of [net/http/httputil.ReverseProxy].
func (g *Guard) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	g.writeError(w, r, err, notRefused)
}

// writeError is WriteError. known: what the request was refused for, if the log
// knows already.
func (g *Guard) writeError(w http.ResponseWriter, r *http.Request, err error, known refusal) {
	id := RequestID(r)
	rec := find(w, g)
	if errors.Is(r.Context().Err(), context.Canceled) {
		rec.became(RequestCanceled, known)
		if known == notRefused {
			g.log.request(slog.LevelInfo, "guard: client gone", r, id, clientClosedRequest, err)
		}
		// If it is still there, an empty 200 must not be what it gets.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
		return
	}
	t := g.tuned.Load()
	e, why := t.answer(r, err)
	if why == refusedOverloaded || why == refusedSaturated {
		e.RetryAfter = g.herd.spread(g.now(), &g.traffic) // nobody knows when
	}
	switch {
	case find(w, nil).begun():
		g.log.request(slog.LevelError, "guard: error after the response had begun", r, id, e.Status, err)
		panic(http.ErrAbortHandler)
	case why != notRefused:
		rec.became(RequestRefused, why)
		if known == notRefused { // by a breaker, or by a Limiter of the application
			g.log.refused(why, t.config.Shadow)
		}
	case e.Status >= http.StatusInternalServerError:
		rec.became(RequestFailed, notRefused)
		if e.Status == http.StatusInternalServerError {
			g.log.request(slog.LevelError, "guard: unexpected error", r, id, e.Status, err)
		} else if e.Err != nil {
			g.log.request(slog.LevelWarn, "guard: request failed", r, id, e.Status, err)
		}
	}
	writeProblem(w, r, &e, id)
}

const clientClosedRequest = 499

// Close stops the health checks, and writes what the log still owes: the line on
// the refusals of the last second. It does not wait for a Check that does not
// heed its context. The guard goes on working; breakers are probed by calls from
// now on. It never fails, and may be called again.
func (g *Guard) Close() error {
	if g.stopped.CompareAndSwap(false, true) {
		close(g.stop)
		for _, d := range g.Dependencies() {
			d.stopCheck()
		}
	}
	g.log.summarize()
	return nil
}

func (g *Guard) closed() bool { return g.stopped.Load() }

func (g *Guard) now() int64 { return int64(time.Since(g.start)) }

func infallible(next http.Handler) HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		next.ServeHTTP(w, r)
		return nil
	}
}
