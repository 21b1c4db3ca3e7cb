package guard

import (
	"net/http"
	"sync/atomic"
)

// A flight is what a guard or a route is serving: it is counted, or, where there
// is a queue, has places in a bound.
type flight struct {
	gate  gate
	bound *bound
}

// A seat is the place that a request has in a flight, or a call in a bound: the
// instant at which it got it, or one of these.
type seat int64

const (
	noSeat  seat = 0
	counted seat = -1
)

func seatAt(now int64) seat { return seat(max(now, 1)) }

func (f *flight) leave(s seat, k kind) {
	if s == counted {
		f.gate.leave()
	} else {
		f.bound.leave(f.bound.now(), int64(s), k)
	}
}

func (f *flight) snapshot(c Concurrency) (inFlight int64, most int, b BoundSnapshot) {
	b, taken := f.bound.look()
	if most = c.Max; c.queued() {
		most = b.Limit
	}
	return f.gate.inside() + int64(taken), most, b
}

// board takes a seat for the request, for which it may wait where there is a
// queue. rt is the route if it is known, and m the mux that will find it, or nil.
func (rec *recorder) board(f *flight, c *Concurrency, t *tuned, rt *Route, m *http.ServeMux, r *http.Request) seat {
	if !c.queued() {
		if f.gate.enter(c.Max) {
			return counted
		}
		return noSeat
	}
	b := f.bound
	now := b.now()
	if b.enter(now) {
		return seatAt(now)
	}
	p := t.priority(r, rec.guard.routeOf(rt, m, r))
	if t.config.Shadow {
		b.turnDown(p)
		return noSeat
	}
	return b.wait(r.Context(), now, p, rec.who(t, r))
}

// routeOf returns the route of a request. A mux is asked in advance, as far as
// its handlers are those of routes.
func (g *Guard) routeOf(rt *Route, m *http.ServeMux, r *http.Request) *Route {
	if rt != nil || m == nil {
		return rt
	}
	if h, _ := m.Handler(r); h != nil {
		if h, ok := h.(*routeHandler); ok && h.route.guard == g {
			return h.route
		}
	}
	return nil
}

// who returns whom the use of the request is put down to: what the first limit
// per client goes by, else the address.
func (rec *recorder) who(t *tuned, r *http.Request) clientKey {
	for i := range rec.planned() {
		if rec.draws[i].client != nil {
			return rec.draws[i].key
		}
	}
	return byAddress.keyOf(t, r)
}

var byAddress = clientLimit{prefix: 64} //nolint:gochecknoglobals // a constant

// A gate counts what is going on.
type gate struct{ n atomic.Int64 }

// enter counts one more, unless there are as many as may be (0: any number).
func (g *gate) enter(most int) bool {
	if most == 0 {
		g.n.Add(1)
		return true
	}
	for n := g.n.Load(); n < int64(most); n = g.n.Load() {
		if g.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (g *gate) leave() { g.n.Add(-1) }

func (g *gate) inside() int64 { return g.n.Load() }
