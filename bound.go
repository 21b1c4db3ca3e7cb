package guard

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// A bound lets only so many in at once, and has a short queue in front of it. How
// many is Concurrency.Max or, if that is self-tuned, what a law says.
//
// Who finds a place takes it. Who does not waits, for about as long as a request
// takes, and for less while there is always a queue (see standing); who would have
// to wait for longer is refused at once. The queue is ordered by priority, and
// within one by how much a client has had lately: the best gets the next place,
// and the worst is refused when they have become too many. So the queue takes up
// what comes in bursts and never builds up; and it tells the law whether it is
// the limit that bounds the work, or the load.
type bound struct {
	start time.Time // instants are nanoseconds since then
	tell  func(OverloadEvent)

	mu      sync.Mutex
	config  Concurrency
	places  int // how many there are
	taken   int // how many of them are; more where there were more
	waiting queue
	use     usage
	took    float64 // by a request, in nanoseconds, smoothed; 0: nothing has come back yet

	law        law
	measure    measure
	moved      LimitMove
	shed       [priorities]uint64 // by rank
	shedBefore [priorities]uint64 // when it was over last
	shedAt     int64              // when somebody was refused last
	hot        bool               // it has, in the last second
	hotAt      int64              // since when
	told       bool               // that it is hot
	reporting  bool               // see report
}

// newBound returns a bound whose instants count from start, and which tells of an
// overload that begins or is over. cpu: the scheduler's delay is a sign of it,
// unless time is that of a synctest bubble, in which it has no monotonic part.
func newBound(start time.Time, cpu bool, tell func(OverloadEvent)) *bound {
	b := &bound{start: start, tell: tell, law: newLaw(), places: unbounded}
	b.measure.stretch = 1
	if cpu && start != start.Round(0) {
		b.measure.delay = new(schedulerDelay)
	}
	return b
}

// unbounded is how many places there are where there is no bound: who was about to
// ask for one when Tune took it away, or has not put it there yet, gets it.
const unbounded = math.MaxInt32

func (b *bound) now() int64 { return int64(time.Since(b.start)) }

// configure puts c into effect. Who waits already keeps his place, and for as long
// as he could.
func (b *bound) configure(c Concurrency) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.measure.advance(now, b)
	was := b.config
	if c == was {
		return
	}
	b.config = c
	switch {
	case c.SelfTuned:
		if !was.SelfTuned {
			b.law, b.measure.brief = newLaw(), true
			b.places = b.taken // no more than these have to end before it is known what the new limit does
		}
		b.move(now, b.law.limit, movedByHand)
	case c.Max > 0:
		b.places = c.Max
	default:
		b.places = unbounded
	}
	for b.taken < b.places && b.waiting.n > 0 {
		b.hand(b.waiting.first(), now)
	}
}

// enter takes a place, if there is one that nobody waits for.
func (b *bound) enter(now int64) bool {
	b.mu.Lock()
	ok := b.free(now)
	b.mu.Unlock()
	return ok
}

// free is enter. The caller holds mu.
func (b *bound) free(now int64) bool {
	b.measure.advance(now, b)
	if b.taken >= b.places || b.waiting.n > 0 {
		return false
	}
	b.taken++
	b.waiting.easyAt = now
	return true
}

// turnDown counts a refusal: one that shadow mode does not mean, or whose time is up.
func (b *bound) turnDown(p Priority) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused(p.rank(), b.now())
}

// wait takes a place, for which it may wait from now on. There is noSeat if there is
// none in time: the context is that of who asks, and nobody waits beyond its end.
func (b *bound) wait(ctx context.Context, now int64, p Priority, who clientKey) seat {
	left, gone := longest, ctx.Done() // user code, as it may be: not from the queue
	if canceled(ctx) {
		return noSeat
	}
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline) // not reckoned from start: it may be by the wall clock, which is set now and then
	}
	b.mu.Lock()
	if b.free(now) {
		b.mu.Unlock()
		return seatAt(now)
	}
	rank := p.rank()
	level := b.use.level(who, now)
	most := b.patience(rank, level, now)
	if ahead := b.waiting.ahead(rank, level); b.turn(ahead) > min(most, left) {
		b.refused(rank, now)
		b.mu.Unlock()
		return noSeat
	}
	w := &standby{rank: rank, level: level, who: who, until: after(now, most), ready: make(chan bool, 1)}
	b.waiting.push(w)
	if last := b.waiting.last(); b.turn(b.waiting.n-1) > b.patience(last.rank, last.level, now) {
		b.turnAway(last, now)
	}
	b.mu.Unlock()

	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case ok := <-w.ready:
		return b.seated(ok)
	case <-timer.C:
	case <-gone:
	}
	b.mu.Lock()
	tooLate := w.queued // else a place may have been faster
	if tooLate {
		b.waiting.remove(w)
		w.ready <- false
	}
	b.mu.Unlock()
	if tooLate && !canceled(ctx) { // whom nobody has refused
		b.turnDown(p)
	}
	return b.seated(<-w.ready)
}

// seated returns the seat of who has waited.
func (b *bound) seated(ok bool) seat {
	if !ok {
		return noSeat
	}
	return seatAt(b.now())
}

// canceled reports whether who asks has gone, and not only run out of time.
func canceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// turn estimates how long it takes until it is the turn of who has so many ahead.
// As long as nothing has come back yet, it is theirs who are not too many.
func (b *bound) turn(ahead int) time.Duration {
	switch {
	case b.took > 0 && ahead > 0:
		return time.Duration(float64(ahead+1) * b.took / float64(max(b.taken, 1)))
	case ahead > 2*b.places:
		return math.MaxInt64
	}
	return 0
}

const (
	leastWait    = 5 * time.Millisecond // of the longest
	leastInQueue = 1 * time.Millisecond // likewise, where there is always a queue
)

// patience returns how long one may wait. That there is always a queue is none of
// the business of who comes before others of the same rank: they will have to go.
func (b *bound) patience(rank, level int, now int64) time.Duration {
	most := max(leastWait, time.Duration(b.took))
	switch {
	case !b.config.SelfTuned:
		most = b.config.MaxWait
	case b.config.MaxWait > 0:
		most = min(most, b.config.MaxWait)
	}
	if b.waiting.standing(rank, now, time.Duration(b.took)) && !b.waiting.heavier(rank, level) {
		return min(most, max(leastInQueue, most/4))
	}
	return most
}

// leave gives back a place that was taken at an instant, by work of a kind.
func (b *bound) leave(now, since int64, k kind) {
	b.mu.Lock()
	b.measure.advance(now, b)
	b.taken--
	took := float64(now - since)
	now = max(now, b.measure.at) // another has read the clock later, and was faster
	if k.end != endedOddly && took >= 0 {
		if b.took == 0 {
			b.took = took
		}
		b.took += (took - b.took) / float64(max(20, b.places))
		if b.config.SelfTuned && b.measure.add(took/nano, k, now, b) {
			b.decide(now)
		}
	}
	b.admit(now)
	b.mu.Unlock()
}

// decide asks the law after a span.
func (b *bound) decide(now int64) {
	s, ok := b.measure.span(now, b.law.plain)
	if !ok {
		b.measure.restart(now, b.places, 0)
		return
	}
	limit, why := b.law.next(s)
	b.measure.brief = b.law.young
	b.move(now, limit, why)
	if s.lost {
		b.measure.need = leastSamples // there is no time to lose
	}
}

// move sets the number of places.
func (b *bound) move(now int64, limit float64, why string) {
	most := math.MaxInt32
	if b.config.Ceiling > 0 {
		most = b.config.Ceiling
	}
	least := max(1, b.config.Floor)
	b.law.limit = min(max(b.law.limit, float64(least)), float64(most))
	was := b.places
	b.places = int(min(max(math.Round(limit), float64(least)), float64(most))) // no int before it is within bounds
	if b.places != was {
		b.moved = LimitMove{At: b.start.Add(time.Duration(now)), From: was, To: b.places, Reason: why}
		b.measure.restart(now, b.places, was) // what runs under the old limit is to end first
	} else {
		b.measure.restart(now, b.places, 0)
	}
}

// admit hands the places that are free to who waits for them.
func (b *bound) admit(now int64) {
	for b.taken < b.places && b.waiting.n > 0 {
		w := b.waiting.first()
		if now > w.until { // its timer is late
			b.turnAway(w, now)
			continue
		}
		b.hand(w, now)
	}
}

// hand gives a place to one who waits.
func (b *bound) hand(w *standby, now int64) {
	b.waiting.remove(w)
	b.waiting.left(b.took / float64(b.places))
	b.taken++
	b.use.add(w.who, now)
	w.ready <- true
}

// turnAway refuses one who waits.
func (b *bound) turnAway(w *standby, now int64) {
	b.waiting.remove(w)
	b.refused(w.rank, now)
	w.ready <- false
}

// refused counts a refusal. The caller holds mu.
func (b *bound) refused(rank int, now int64) {
	b.shed[rank]++
	b.shedAt = now
	if !b.hot {
		b.hot, b.hotAt = true, now
		if !b.reporting {
			b.reporting = true
			time.AfterFunc(0, b.report)
		}
	}
}
