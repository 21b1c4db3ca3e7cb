package guard

import (
	"net/http"
	"time"
)

// buckets are the limits of a guard or a route in effect.
type buckets struct {
	clients []*clientLimit
	limiter *Limiter // the same for as long as the guard or the route exists
	limit   Limit    // of the limiter
	places  Concurrency
}

// A draw is what a stage takes from the bucket of a client or a route.
type draw struct {
	limiter *Limiter
	client  *clientLimit // where limiter is nil
	key     clientKey    // of the client
	n       int          // what is taken
}

// taken is what a stage takes besides tokens of the guard's own limiter.
type taken struct {
	route  *Route // in whose flight the request is, or nil
	seat   seat   // there
	need   int    // what the request takes as a whole, outer stages included
	draws  []draw
	inline [2]draw // so that the usual number of draws takes no allocation
}

// plan lists what to take from the buckets of clients and of the route. It reports
// whether it has called user code, which may have taken a while.
func (rec *recorder) plan(t *tuned, own *tunedRoute, r *http.Request, extra, cost int) (called bool) {
	if rec.taken == nil {
		return false
	}
	rec.need, rec.draws = cost, rec.inline[:0]
	if extra > 0 {
		for _, c := range t.clients {
			rec.draws = append(rec.draws, draw{client: c, key: c.keyOf(t, r), n: extra})
			called = called || c.key != nil
		}
	}
	if own == nil {
		return called
	}
	for _, c := range own.clients {
		rec.draws = append(rec.draws, draw{client: c, key: c.keyOf(t, r), n: cost})
		called = called || c.key != nil
	}
	rec.draws = append(rec.draws, draw{limiter: own.limiter, n: cost})
	return called
}

func (rec *recorder) planned() int {
	if rec.taken == nil {
		return 0
	}
	return len(rec.draws)
}

// refuse gives everything back that this stage, by its first draws, and those
// around it have taken, and says when to come back: when all buckets can give
// what the request needs. wait is what the bucket said that refused.
func (rec *recorder) refuse(why refusal, draws int, wait time.Duration, cost int) *RefusedError {
	limited, client := why == refusedLimited, ""
	if limited && draws < rec.planned() && rec.draws[draws].client != nil {
		why, client = refusedClient, rec.draws[draws].client.name
		rec.draws[draws].client.refused.Add(1)
	}
	rec.leaveFlight(kind{end: endedOddly})
	rec.takeBack(draws)
	switch {
	case !limited:
		return errFull
	case rec.outer != nil || rec.planned() > 0: // else there is no other bucket to ask
		wait = later(wait, rec.waitForAll(cost))
	}
	return &RefusedError{kind: why, wait: wait, client: client}
}

// What nobody can tell one from another is shared.
var (
	errFull    = &RefusedError{kind: refusedOverloaded, wait: never}
	errDrained = &RefusedError{kind: refusedDraining, wait: never}
)

// waitForAll returns how long until all the buckets can give what the request
// needs of them, which costs at least so much.
func (rec *recorder) waitForAll(cost int) (wait time.Duration) {
	for s := rec; s != nil; s = s.outer {
		cost = max(cost, s.paid)
		for i := range s.planned() {
			wait = later(wait, s.draws[i].wait(s.need))
		}
	}
	return later(wait, rec.guard.tuned.Load().limiter.waitFor(cost))
}

// takeBack gives back the tokens that this stage, by its first draws, and those
// around it have taken.
func (rec *recorder) takeBack(draws int) {
	rec.giveBack(draws)
	for o := rec.outer; o != nil; o = o.outer {
		if o.account.CompareAndSwap(0, returned) {
			o.giveBack(o.planned())
		}
	}
	rec.account.Store(returned)
}

// giveBack returns the tokens that the stage took, by its first draws and of
// the guard's own limiter.
func (rec *recorder) giveBack(draws int) {
	for i := range draws {
		rec.draws[i].giveBack()
	}
	if rec.took > 0 {
		rec.guard.tuned.Load().limiter.Return(rec.took)
	}
}

// returned is the account of a stage that has given everything back, because it
// or a stage inside of it was refused.
const returned = -1

// held returns how many tokens of the guard's own limiter are paid for the
// request: what its stages take is the most that one of them costs. An account
// of 0 is still open; above 0 it is what was paid for work that is done, so that
// it is not given back when a later inner stage is refused.
func (rec *recorder) held() int {
	switch held := rec.account.Load(); held {
	case returned:
		return 0
	case 0:
		return rec.paid
	default:
		return int(held)
	}
}

// settleUp ends the stage's account: it has done work for what it paid, and so
// has the stage around it.
func (rec *recorder) settleUp() {
	o := rec.outer
	if o == nil || rec.account.Load() == returned {
		return
	}
	held := int64(max(rec.held(), 1))
	for old := o.account.Load(); old < held; old = o.account.Load() {
		if o.account.CompareAndSwap(old, held) {
			return
		}
	}
}

// leaveFlight frees the places that the stage took among what is in flight.
func (rec *recorder) leaveFlight(k kind) {
	if s := rec.seat; s != noSeat {
		rec.seat = noSeat
		rec.guard.flight.leave(s, k)
	}
	if rec.taken != nil && rec.route != nil {
		rt := rec.route
		rec.route = nil
		rt.flight.leave(rec.taken.seat, k)
	}
}

// stream lets the request out of what is self-tuned, as it begins to stream: how
// long that lasts says nothing.
func (rec *recorder) stream() {
	k := kind{end: endedStreaming}
	if s := rec.seat; s > 0 && rec.guard.tuned.Load().places.SelfTuned {
		rec.seat = noSeat
		rec.guard.flight.leave(s, k)
	}
	if rec.taken != nil && rec.route != nil && rec.taken.seat > 0 && rec.route.tuned.Load().places.SelfTuned {
		rt := rec.route
		rec.route = nil
		rt.flight.leave(rec.taken.seat, k)
	}
}

// land frees the places as the handler has come to its end, and tells the bounds
// what kind of work it was; p: it has panicked.
func (rec *recorder) land(r *http.Request, rt *Route, p any) {
	if rec.seat <= 0 && (rec.taken == nil || rec.taken.seat <= 0) {
		rec.leaveFlight(kind{}) // nobody asks
		return
	}
	k := kind{end: endedOddly}
	defer func() { rec.leaveFlight(k) }() // also if the context, which may be the user's, panics
	if p == nil && rec.returned {
		k = rec.kind(r, rt)
	}
}

// kind returns what kind of work the request was whose handler has returned.
func (rec *recorder) kind(r *http.Request, rt *Route) kind {
	k := kind{route: r.Pattern}
	if k.route == "" {
		k.route = rec.innermost(rt).label()
	}
	switch o := rec.outcome(); {
	case o == RequestRefused || o == RequestAborted:
		k.end = endedOddly
	case o == RequestCanceled || canceled(r.Context()): // a handler may say nothing of it
		k.end = endedUnheard
	case o == RequestFailed || rec.status >= http.StatusInternalServerError:
		k.end = endedBadly
	case rec.status >= http.StatusBadRequest:
		k.end = endedRefused
	}
	return k
}

func (d *draw) take(now int64) (wait time.Duration, ok bool) {
	if d.limiter != nil {
		return d.limiter.takeAt(now, d.n)
	}
	return d.client.keyed.takeAt(now, d.key, d.n)
}

func (d *draw) giveBack() {
	if d.limiter != nil {
		d.limiter.Return(d.n)
	} else {
		d.client.keyed.Return(d.key, d.n)
	}
}

// wait returns how long until the request could have what it needs.
func (d *draw) wait(need int) time.Duration {
	if d.limiter != nil {
		return d.limiter.waitFor(need)
	}
	return d.client.keyed.waitFor(d.key, need)
}

// later returns the longer of two times to wait, of which never is the longest.
func later(a, b time.Duration) time.Duration {
	if a < 0 || b < 0 {
		return never
	}
	return max(a, b)
}
