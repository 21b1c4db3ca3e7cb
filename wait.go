package guard

import (
	"container/list"
	"context"
	"fmt"
	"time"
)

// A waiter is one call of Wait that found no tokens. Its fields are guarded by
// the limiter's mu.
type waiter struct {
	n     int
	wake  chan struct{} // look again
	place *list.Element
	done  bool // it has its tokens, or err
	err   error
}

// Wait takes n tokens, and blocks until they are there. Callers are served in
// the order of their arrival, and while one waits, Take finds nothing.
//
// It returns ctx.Err() when ctx is done first; nothing is taken then, and who
// comes behind moves up. If the deadline of ctx is not later than the tokens
// would be, it returns at once, with a [*RefusedError] that matches both
// [ErrLimited] and [context.DeadlineExceeded]. A negative n and one above the
// Burst are refused at once. A bucket that does not refill keeps callers
// without a deadline waiting for Return or SetLimit.
//
// Tokens are taken when the wait ends, not when it was due to end: with a Burst
// smaller than what accrues while a goroutine is woken, the rate falls short.
func (l *Limiter) Wait(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, ok := l.Take(n); ok {
		return nil
	}
	gone := ctx.Done()
	w, err := l.join(ctx, n)
	if w == nil {
		return err
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		if done, err := l.look(w, timer); done {
			return err
		}
		select {
		case <-w.wake:
		case <-timer.C:
		case <-gone:
			l.leave(w)
			return ctx.Err()
		}
	}
}

// join queues up for n tokens. It returns no waiter if the tokens were there
// after all, or cannot come in time.
func (l *Limiter) join(ctx context.Context, n int) (*waiter, error) {
	deadline, hasDeadline := ctx.Deadline()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 || l.limit.exceededBy(n) {
		return nil, l.tooMany(n)
	}
	now, _ := l.settle()
	l.grant(now)
	if l.waiters.Len() == 0 && l.allow(now, n) {
		return nil, nil
	}
	wait := l.wait(now, n, l.queued)
	if hasDeadline && (wait == never || wait >= time.Until(deadline)) {
		return nil, &RefusedError{also: context.DeadlineExceeded, wait: wait}
	}
	w := &waiter{n: n, wake: make(chan struct{}, 1)}
	w.place = l.waiters.PushBack(w)
	l.queued += float64(n)
	l.next.Store(0) // it was reckoned without w
	return w, nil
}

// look serves whoever can be served, and reports whether w is done. Whoever is
// first in the queue keeps the time for it.
func (l *Limiter) look(w *waiter, timer *time.Timer) (done bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, _ := l.settle()
	l.grant(now)
	if l.waiters.Front() == w.place {
		if wait := l.wait(now, w.n, 0); wait != never {
			timer.Reset(wait)
		}
	}
	return w.done, w.err
}

// leave takes w out of the queue, or gives back what it got at the last moment.
func (l *Limiter) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, _ := l.settle()
	if w.done && w.err == nil {
		l.bucket.AllowN(l.at(now), -w.n)
	} else if !w.done {
		l.remove(w)
	}
	l.reopen(now)
}

// grant serves the queue as far as the tokens go. The caller holds mu and has
// settled.
func (l *Limiter) grant(now int64) {
	for e := l.waiters.Front(); e != nil; e = l.waiters.Front() {
		w := e.Value.(*waiter)
		if !l.allow(now, w.n) {
			return
		}
		l.finish(w, nil)
		l.nudge()
	}
}

// dismiss refuses those who wait for more than the bucket now holds. The caller
// holds mu.
func (l *Limiter) dismiss() {
	var next *list.Element
	for e := l.waiters.Front(); e != nil; e = next {
		next = e.Next()
		if w := e.Value.(*waiter); l.limit.exceededBy(w.n) {
			l.finish(w, l.tooMany(w.n))
		}
	}
}

// finish ends the wait of w. The caller holds mu.
func (l *Limiter) finish(w *waiter, err error) {
	l.remove(w)
	w.done, w.err = true, err
	w.signal()
}

// nudge wakes the first in the queue, whose time has changed. The caller holds mu.
func (l *Limiter) nudge() {
	if e := l.waiters.Front(); e != nil {
		e.Value.(*waiter).signal()
	}
}

// remove takes w out of the queue. The caller holds mu.
func (l *Limiter) remove(w *waiter) {
	l.waiters.Remove(w.place)
	l.queued -= float64(w.n)
	if l.waiters.Len() == 0 {
		l.queued = 0 // what rounding may have left
	}
}

// tooMany is the error for an n that can never be had. The caller holds mu.
func (l *Limiter) tooMany(n int) error {
	return &RefusedError{wait: never, also: fmt.Errorf("%d tokens of a bucket that holds %d", n, l.limit.Burst)}
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
