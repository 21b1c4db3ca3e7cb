package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A call is one that has been let through. It must end once.
type call struct {
	d     *Dependency
	t     *tunedDependency
	phase *phase // that it began in; nil in shadow mode, where its result counts for nothing
	probe *probe // nil: it is none
	limit *timedContext
	start int64
	took  int64 // until the header of the response, for a Transport; 0: until the end
	seat  seat  // in the bound, if calls queue
	ended bool
	early bool // it has given its place back
}

// begin lets a call through, or returns why not.
func (c *call) begin(ctx context.Context, d *Dependency) error {
	if ctx == nil {
		return fmt.Errorf("guard: dependency %q: the context is nil", d.name)
	}
	if err := ctx.Err(); err != nil {
		return &DependencyError{dependency: d, outcome: OutcomeIgnored, err: err, until: unknown}
	}
	c.d, c.t, c.phase, c.start = d, d.tuned.Load(), d.phase.Load(), unread
	var refused *DependencyError
	if c.phase.state != StateClosed || d.pause.Load() != nil {
		c.start = d.now()
		if refused = d.plainly(c.phase, c.start); refused == nil {
			refused = c.admit(ctx)
		}
	} else {
		if c.timed(ctx) {
			c.start = d.now()
		}
		switch {
		case c.t.Concurrency.queued():
			refused = c.queue(ctx)
		case !d.calls.enter(c.t.Concurrency.Max):
			refused = d.full
		}
	}
	if refused == nil {
		return nil
	}
	if refused.kind == nil { // it was cancelled while it waited, which is no refusal
		return refused
	}
	d.refused(ctx, refused)
	if !d.guard.tuned.Load().config.Shadow {
		return refused
	}
	d.guard.log.refused(refused.refusal(), true)
	c.phase, c.probe = nil, nil
	d.calls.enter(0)
	return nil
}

// timed reports whether a call to a breaker that is closed has to know when it began.
func (c *call) timed(ctx context.Context) bool {
	if c.t.Timeout > 0 || c.t.SlowCall > 0 || c.d.guard.hooks.CallDone != nil {
		return true
	}
	if s := c.phase.window.current.Load(); s == nil || s.fine.Load() < sampled {
		return true
	}
	_, has := ctx.Deadline() // FairShare
	return has
}

// admit is the long way in: the breaker is not closed, or calls are paused, or
// there are as many as may be.
func (c *call) admit(ctx context.Context) *DependencyError {
	d := c.d
	in, told := false, false
	defer func() { // a hook may end the goroutine
		switch {
		case !in:
			c.stand(d.now(), endedOddly) // if it has waited for a place
		case !told:
			c.end(ctx, OutcomeIgnored, nil)
		}
	}()
	d.catchUp(ctx) // a slow hook must not count as a slow probe
	d.mu.Lock()
	c.start = d.now()
	d.cause = ctx
	c.phase = d.advance(c.start)
	d.cause = nil
	refused := d.refusing(c.start)
	switch {
	case refused != nil:
	case !c.room():
		refused = d.full
	case c.phase.state == StateHalfOpen:
		c.probe = c.phase.send(after(c.start, c.t.ProbeTimeout), false)
	}
	d.mu.Unlock()
	in = refused == nil
	d.tell()
	told = true
	return refused
}

// queue takes a place in the bound, for which it may wait. What has become of the
// breaker in the meantime counts.
func (c *call) queue(ctx context.Context) *DependencyError {
	d := c.d
	now := d.now()
	if d.bound.enter(now) {
		c.sit(now)
		return nil
	}
	if d.guard.tuned.Load().config.Shadow {
		d.bound.turnDown(priorityOf(ctx))
		return d.full
	}
	s := d.bound.wait(ctx, now, priorityOf(ctx), clientKey{})
	if s == noSeat {
		if err := ctx.Err(); err != nil {
			e := &DependencyError{dependency: d, outcome: OutcomeIgnored, err: err, until: unknown}
			if !errors.Is(err, context.Canceled) { // the time it had has gone by in our queue
				e.kind = ErrSaturated
			}
			return e
		}
		return d.full
	}
	if d.phase.Load() != c.phase || d.pause.Load() != nil {
		c.seat = s // it has waited for it, and is not to wait again
		c.phase = d.phase.Load()
		return c.admit(ctx)
	}
	if c.start != unread {
		c.start = int64(s)
	}
	c.sit(int64(s))
	return nil
}

// sit notes that the call has a place in the bound.
func (c *call) sit(now int64) {
	c.seat = seatAt(now)
	c.d.calls.enter(0)
}

// stand gives it back.
func (c *call) stand(now int64, end ending) {
	if c.seat != noSeat {
		c.d.bound.leave(now, int64(c.seat), kind{end: end})
		c.seat = noSeat
	}
}

// room takes a place for a call that does not wait.
func (c *call) room() bool {
	if c.seat != noSeat {
		c.sit(c.start)
		return true
	}
	if !c.t.Concurrency.queued() {
		return c.d.calls.enter(c.t.Concurrency.Max)
	}
	ok := c.d.bound.enter(c.start)
	if ok {
		c.sit(c.start)
	}
	return ok
}

// refuses returns what a call would be refused with now, or nil.
func (d *Dependency) refuses(ctx context.Context) *DependencyError {
	ph := d.phase.Load()
	if ph.state == StateClosed && d.pause.Load() == nil {
		return nil
	}
	if refused := d.plainly(ph, d.now()); refused != nil {
		return refused
	}
	d.catchUp(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusing(d.now())
}

// plainly returns what calls are refused with in a phase, where that takes no
// lock to say: the flood while a breaker is open comes by here.
func (d *Dependency) plainly(ph *phase, now int64) *DependencyError {
	switch p := d.pause.Load(); {
	case p == nil && ph.state == StateOpen && now < ph.until:
		return ph.refusal
	case p != nil && ph.state == StateClosed && ph.mode == ModeAuto && now < p.until:
		return p.refusal
	}
	return nil
}

// send lets a probe out. The caller holds the dependency's mu.
func (ph *phase) send(deadline int64, check bool) *probe {
	p := &probe{deadline: deadline, check: check}
	ph.probes = append(ph.probes, p)
	return p
}

// limited returns the context for the call: with the Timeout, if that is earlier
// than the caller's own deadline.
func (c *call) limited(ctx context.Context) context.Context {
	if c.t.Timeout <= 0 {
		return ctx
	}
	deadline := c.d.at(after(c.start, c.t.Timeout))
	if callers, ok := ctx.Deadline(); ok && callers.Before(deadline) {
		return ctx
	}
	c.limit = &timedContext{Context: ctx, deadline: deadline}
	return c.limit
}

// run calls fn, and ends the call in whatever way fn ends.
func (c *call) run(ctx context.Context, fn func(context.Context) error) (err error) {
	returned := false
	defer func() {
		if !returned {
			c.abort(ctx, recover())
		}
	}()
	if c.t.Timeout > 0 {
		err = fn(c.limited(ctx))
	} else {
		err = fn(ctx)
	}
	if err == nil {
		c.end(ctx, OutcomeSucceeded, nil)
	} else {
		err = c.settle(ctx, err)
	}
	returned = true
	return err
}

// abort ends a call that did not return: it panicked with p, or p is nil and its
// goroutine exits.
func (c *call) abort(ctx context.Context, p any) {
	if p == nil {
		c.end(ctx, OutcomeIgnored, nil)
		return
	}
	o := OutcomeFailed
	if ended := ctx.Err(); ended != nil && p == http.ErrAbortHandler { //nolint:errorlint // as net/http does
		o = c.whoseFault(ctx, ended)
	}
	c.end(ctx, o, errPanicked)
	panic(p)
}

// settle ends a call that came to err, and returns what to answer with.
func (c *call) settle(ctx context.Context, err error) error {
	if err == nil {
		c.end(ctx, OutcomeSucceeded, nil)
		return nil
	}
	v := c.judge(ctx, err)
	answer := c.wrap(err, v)
	if v.late {
		err = answer // which says so
	}
	c.end(ctx, v.outcome, err)
	return answer
}

// leaveEarly gives back the place among the calls at once before the end.
func (c *call) leaveEarly() {
	c.early = true
	c.d.calls.early.Add(1)
	if c.seat != noSeat {
		c.stand(c.d.now(), endedStreaming)
	}
}

// end ends the call with its outcome, and gives back what it held.
func (c *call) end(ctx context.Context, o Outcome, err error) {
	if c.ended { // by what was under way when a hook ended the goroutine
		return
	}
	c.ended = true
	d, now := c.d, c.d.now()
	if c.limit != nil {
		c.limit.end()
	}
	took := c.took
	if took == 0 {
		took = now - c.start
	}
	slow := c.t.SlowCall > 0 && took >= int64(c.t.SlowCall)
	if c.early {
		d.calls.begun.Add(1) // once more, as it is about to be gone once more
	}
	d.calls.ended[o].Add(1)
	if err == errPanicked { //nolint:errorlint // nobody can wrap it
		c.stand(now, endedOddly)
	} else {
		c.stand(now, endings[o])
	}
	if slow {
		d.calls.slow.Add(1)
	}
	if o != OutcomeIgnored && c.start != unread {
		d.latency.add(took)
	}
	switch ph := c.phase; {
	case ph == nil:
	case ph.state == StateClosed && o == OutcomeSucceeded && !slow:
		ph.window.at(now).fine.Add(1)
		if ph.streak.Load() != 0 {
			ph.streak.Store(0)
		}
	default:
		d.report(ctx, c, o, slow, now, err)
	}
	if hook := d.guard.hooks.CallDone; hook != nil {
		e := CallEvent{Dependency: d.name, Outcome: o, Slow: slow, Latency: time.Duration(took), Err: err}
		d.guard.hooked(func() { hook(ctx, e) })
	}
}

// endings tell how a call ended, as far as it says how long calls take.
var endings = [outcomes]ending{ //nolint:gochecknoglobals // a constant
	OutcomeDefault: endedOddly, OutcomeSucceeded: endedWell, OutcomeFailed: endedBadly,
	OutcomeAnswered: endedRefused, OutcomeIgnored: endedOddly,
}
