package guard

import (
	"net/http"
	"sync/atomic"
	"time"
)

// traffic counts what became of the requests of a guard or a route, since the
// start.
type traffic struct {
	refused  [refusals]atomic.Uint64
	outcomes [requestOutcomes]atomic.Uint64 // but those served, who are the rest of those timed
	status   [6]atomic.Uint64               // by the first digit, but 2: the rest
	latency  histogram                      // of who was served, failed or panicked
}

// conduct is what becomes of the request of a stage.
type conduct struct {
	start      int64
	label      *Route // the innermost route, or nil
	outcome    int8   // a RequestOutcome
	why        refusal
	returned   bool // the handler has
	unmeasured bool
}

// became notes what became of the request. The stage may be nil.
func (rec *recorder) became(o RequestOutcome, why refusal) {
	if rec != nil {
		rec.outcome, rec.why = int8(o), why
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
	if rec.hijacked && rec.outcome == int8(RequestServed) {
		rec.became(RequestHijacked, notRefused)
	}
	g := rec.guard
	took := g.now() - rec.start
	status := int(rec.status)
	switch {
	case rec.outcome == int8(RequestCanceled) && status == 0:
		status = clientClosedRequest
	case rec.returned && !rec.hijacked && status == 0:
		status = http.StatusOK // by net/http
	}
	if rt != nil {
		rt.traffic.add(&rec.conduct, status, took)
		if rec.label == nil {
			rec.label = rt
		}
	}
	if o := rec.outer; o != nil {
		if rec.label != nil {
			o.label = rec.label
		}
		if rec.outcome != int8(RequestServed) {
			o.outcome, o.why = rec.outcome, rec.why
		}
		return
	}
	g.traffic.add(&rec.conduct, status, took)
	if hook := g.hooks.RequestDone; hook != nil {
		e := RequestEvent{
			Route: rec.label.label(), Method: r.Method, Status: status,
			Outcome: RequestOutcome(rec.outcome), Latency: time.Duration(took),
		}
		g.hooked(func() { hook(r.Context(), e) })
	}
}

func (t *traffic) add(c *conduct, status int, took int64) {
	if class := status / 100; class != 2 && class < len(t.status) {
		t.status[class].Add(1)
	}
	switch o := RequestOutcome(c.outcome); o {
	case RequestServed:
		t.latency.add(took)
	case RequestFailed, RequestPanicked:
		t.latency.add(took)
		t.outcomes[o].Add(1)
	case RequestRefused:
		t.refused[c.why].Add(1)
	case RequestAborted, RequestCanceled, RequestHijacked, requestOutcomes:
		t.outcomes[o].Add(1)
	}
}

// label returns the name of the route, "" if there is none.
func (rt *Route) label() string {
	if rt == nil {
		return ""
	}
	return rt.name
}
