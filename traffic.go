package guard

import (
	"net/http"
	"sync/atomic"
	"time"
)

// traffic counts what became of the requests of a guard or a route, since the
// start.
type traffic struct {
	outcomes [requestOutcomes]atomic.Uint64 // of those not refused
	refused  [refusals]atomic.Uint64
	status   [6]atomic.Uint64 // by the first digit, but 2: the rest
	latency  histogram        // of who was served, failed or panicked
	sample   sample
}

// sampled is how many requests of a second, or calls in a slot of a window, are
// timed where nothing but the latency depends on it. More would tell nothing more,
// and looking at the clock is most of what they cost.
const sampled = 1000

// A sample picks the first requests of each second.
type sample struct{ since, picked atomic.Int64 }

func (s *sample) picks(now int64) bool {
	if now-s.since.Load() >= int64(time.Second) {
		s.since.Store(now)
		s.picked.Store(0)
	}
	return s.picked.Load() < sampled && s.picked.Add(1) <= sampled
}

// conduct is what becomes of the request of a stage.
type conduct struct {
	start      int64
	label      atomic.Pointer[Route] // the innermost route of those inside, or nil
	fate       atomic.Int32          // a RequestOutcome and, in the low byte, a refusal
	returned   bool                  // the handler has
	unmeasured bool
}

func (c *conduct) outcome() RequestOutcome { return RequestOutcome(c.fate.Load() >> 8) }

// innermost returns the innermost route of a request whose stage is that of rt.
func (c *conduct) innermost(rt *Route) *Route {
	if label := c.label.Load(); label != nil {
		return label
	}
	return rt
}

// became notes what became of the request. The stage may be nil.
func (rec *recorder) became(o RequestOutcome, why refusal) {
	if rec != nil {
		rec.fate.Store(int32(o)<<8 | int32(uint8(why))) //nolint:gosec // both are small
	}
}

// refused tells of a refusal, and returns the reason. In shadow mode that is all
// there is to it.
func (rec *recorder) refused(t *tuned, rt *Route, r *http.Request, err error) refusal {
	g, why := rec.guard, refusedDependency
	e := RefusalEvent{Route: rt.label(), Err: err, Shadow: t.config.Shadow}
	switch err := err.(type) { //nolint:errorlint // it is the guard's own
	case *RefusedError:
		why, e.Client = err.kind, err.client
	case *DependencyError:
		why, e.Dependency = err.refusal(), err.Dependency()
	}
	g.log.refused(why, t.config.Shadow)
	if t.config.Shadow {
		g.traffic.refused[why].Add(1)
		if rt != nil {
			rt.traffic.refused[why].Add(1)
		}
	}
	if hook := g.hooks.Refused; hook != nil {
		g.hooked(func() { hook(r.Context(), e) })
	}
	return why
}

// record counts the request, for the route of this stage if it has one, and for
// the guard if it is the outermost.
func (rec *recorder) record(r *http.Request, rt *Route) {
	if rec.unmeasured {
		return
	}
	g := rec.guard
	status := int(rec.status)
	switch o := rec.outcome(); {
	case rec.hijacked && o == RequestServed:
		rec.became(RequestHijacked, notRefused)
	case o == RequestCanceled && status == 0:
		status = clientClosedRequest
	case rec.returned && !rec.hijacked && status == 0:
		status = http.StatusOK // by net/http
	case o == RequestServed && status >= 500:
		rec.became(RequestFailed, notRefused) // the handler has said so itself
	}
	if rt != nil {
		rt.traffic.add(rec, status)
	}
	label := rec.innermost(rt)
	if o := rec.outer; o != nil { // there may be other inner stages, at the same time
		if label != nil {
			o.label.Store(label)
		}
		if rec.outcome() != RequestServed {
			o.fate.Store(rec.fate.Load())
		}
		return
	}
	g.traffic.add(rec, status)
	if hook := g.hooks.RequestDone; hook != nil {
		e := RequestEvent{
			Route: label.label(), Method: r.Method, Status: status,
			Outcome: rec.outcome(), Latency: time.Duration(g.now() - rec.start),
		}
		g.hooked(func() { hook(r.Context(), e) })
	}
}

func (t *traffic) add(rec *recorder, status int) {
	if class := status / 100; class != 2 && class < len(t.status) {
		t.status[class].Add(1)
	}
	o := rec.outcome()
	if o == RequestRefused {
		t.refused[rec.fate.Load()&0xff].Add(1)
		return
	}
	t.outcomes[o].Add(1)
	if (o == RequestServed || o == RequestFailed || o == RequestPanicked) && t.sample.picks(rec.start) {
		t.latency.add(rec.guard.now() - rec.start)
	}
}

// label returns the name of the route, "" if there is none.
func (rt *Route) label() string {
	if rt == nil {
		return ""
	}
	return rt.name
}
