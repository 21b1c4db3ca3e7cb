package guard

import (
	"context"
	"time"
)

// OverloadEvent tells that a bound with a queue has begun to refuse, or has not
// for a second. It says how things stand.
type OverloadEvent struct {
	Route      string        // whose bound it is; "" is the guard's
	Dependency string        // likewise
	Over       bool          // it is over
	Lasted     time.Duration // if it is: until the last refusal
	Refused    uint64        // likewise: how many have been
	InFlight   int
	BoundSnapshot
}

// A BoundSnapshot tells of a bound with a queue: see [Concurrency].
type BoundSnapshot struct {
	SelfTuned bool          `json:"selfTuned"`
	Limit     int           `json:"limit"`    // on what is in flight; 0: there is no queue, and all here is 0
	Waiting   int           `json:"waiting"`  // for a place
	Shedding  bool          `json:"shedding"` // it has refused in the last second
	Shed      ShedCounts    `json:"shed"`
	NoQueue   time.Duration `json:"noQueue"` // what a request is thought to take when nothing queues; 0: not known
	LastMove  LimitMove     `json:"lastMove"`
}

// ShedCounts count those whom a bound refused, by priority, or would have but for
// shadow mode.
type ShedCounts struct {
	Critical  uint64 `json:"critical"`
	Normal    uint64 `json:"normal"`
	Sheddable uint64 `json:"sheddable"`
}

// A LimitMove is a change of a self-tuned limit.
type LimitMove struct {
	At     time.Time `json:"at,omitzero"`
	From   int       `json:"from"`
	To     int       `json:"to"`
	Reason string    `json:"reason"`
}

// overloaded tells of a bound of the guard, a route or a dependency.
func (g *Guard) overloaded(e OverloadEvent) {
	g.log.overload(e)
	if hook := g.hooks.OverloadChanged; hook != nil {
		g.hooked(func() { hook(context.Background(), e) })
	}
}

// snapshot tells how things stand. The caller holds mu.
func (b *bound) snapshot() BoundSnapshot {
	if !b.config.queued() {
		return BoundSnapshot{}
	}
	s := BoundSnapshot{
		SelfTuned: b.config.SelfTuned, Limit: b.places, Waiting: b.waiting.n, Shedding: b.hot, LastMove: b.moved,
		Shed: ShedCounts{
			Critical: b.shed[PriorityCritical.rank()], Normal: b.shed[PriorityNormal.rank()],
			Sheddable: b.shed[PrioritySheddable.rank()],
		},
	}
	if s.SelfTuned {
		s.NoQueue = time.Duration(b.law.plain * b.measure.usual * nano)
	}
	return s
}

// look is snapshot, with how many are in flight.
func (b *bound) look() (s BoundSnapshot, inFlight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot(), b.taken
}

// calmAfter is how long nothing has been refused when an overload is over.
const calmAfter = time.Second

// report tells of an overload that has begun, and of its end: one at a time, from
// a timer, so that a hook keeps no request waiting.
func (b *bound) report() {
	e, told, next := b.step()
	defer func() { // also if the hook ends the goroutine
		if next >= 0 {
			time.AfterFunc(next, b.report)
		}
	}()
	if told {
		b.tell(e)
	}
}

// step returns what to tell now, and when to look again; never: not until
// something is refused.
func (b *bound) step() (e OverloadEvent, told bool, next time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := time.Duration(after(b.shedAt, calmAfter) - b.now())
	switch {
	case !b.hot:
		b.reporting = false
		return e, false, never
	case !b.told:
		b.told, next = true, calmAfter
	case wait > 0:
		return e, false, wait
	default:
		b.told, b.hot, e.Over = false, false, true
		e.Lasted = time.Duration(b.shedAt - b.hotAt)
		for i, n := range b.shed {
			e.Refused += n - b.shedBefore[i]
		}
		b.shedBefore = b.shed
	}
	e.InFlight, e.BoundSnapshot = b.taken, b.snapshot()
	return e, true, next
}
