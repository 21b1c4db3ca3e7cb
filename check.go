package guard

import (
	"context"
	"errors"
	"slices"
	"time"
)

// watchOver starts the goroutine that runs the Check, if there is work for it.
// The caller holds mu.
func (d *Dependency) watchOver() {
	switch {
	case d.watching: // it may be waiting for too long
		select {
		case d.wake <- struct{}{}:
		default:
		}
	case d.watchable():
		d.watching = true
		go d.watch()
	}
}

func (d *Dependency) watchable() bool {
	ph := d.phase.Load()
	return d.tuned.Load().Check != nil && ph.state != StateClosed && ph.mode == ModeAuto && !d.guard.closed()
}

// watched reports whether the Check does the probing, and not the calls. The
// caller holds mu.
func (d *Dependency) watched(now int64) bool {
	hangs := d.checkEnd != 0 && now >= d.checkEnd
	return d.watching && !hangs && d.tuned.Load().Check != nil && !d.guard.closed()
}

// watch runs the Check until the breaker is closed.
func (d *Dependency) watch() {
	defer func() { // also if the Check has ended the goroutine
		d.mu.Lock()
		defer d.mu.Unlock()
		d.watching, d.checkEnd = false, 0
		d.watchOver()
	}()
	for {
		wait, ok := d.untilCheck()
		if !ok {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-d.wake:
			timer.Stop()
			continue
		case <-d.guard.stop:
			timer.Stop()
			return
		}
		for d.check() { // once more if it takes more than one success
		}
	}
}

// untilCheck returns how long to wait for the next Check: CheckEvery, or less if
// the breaker will be half-open before that, or is already.
func (d *Dependency) untilCheck() (wait time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watchable() {
		return 0, false
	}
	wait = d.tuned.Load().CheckEvery
	if ph := d.phase.Load(); ph.state == StateHalfOpen {
		wait = 0
	} else {
		wait = min(wait, max(until(d.now(), ph.until), 0))
	}
	return wait, true
}

// check runs the Check once, and reports whether it passed and the breaker is
// still half-open.
//
// While the breaker is open, only what the Check itself got wrong can be put
// right by it before the time is over: it closes a breaker that it has opened,
// but not one that calls have.
func (d *Dependency) check() (again bool) {
	d.mu.Lock()
	d.checkEnd = after(d.now(), d.tuned.Load().ProbeTimeout) // should a hook block
	d.mu.Unlock()
	d.catchUp(context.Background()) // a slow hook must not take the Check's time
	t := d.tuned.Load()
	d.mu.Lock()
	now := d.now()
	ph := d.advance(now)
	if !d.watchable() || t.Check == nil {
		d.checkEnd = 0
		d.mu.Unlock()
		return false
	}
	end := after(now, t.ProbeTimeout)
	var p *probe
	if ph.state == StateHalfOpen {
		p = ph.send(end, true)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.ProbeTimeout)
	d.checkEnd, d.cancel = end, cancel
	d.mu.Unlock()

	err := errGone
	defer func() {
		if took := d.now() - now; err == nil && t.SlowCall > 0 && took >= int64(t.SlowCall) {
			err = errSlowCheck
		}
		again = d.checked(cancel, ph, p, err)
	}()
	err = runCheck(ctx, t.Check)
	return false
}

// errSlowCheck stands for the success of a Check that took as long as a slow call,
// which would be no better.
var errSlowCheck = errors.New("guard: the check was slow")

var errGone = errors.New("guard: the check has ended its goroutine")

// checked takes the result of a Check that began in the phase.
func (d *Dependency) checked(cancel context.CancelFunc, ph *phase, p *probe, err error) (again bool) {
	d.mu.Lock()
	now := d.now()
	d.checkEnd, d.cancel = after(now, d.tuned.Load().ProbeTimeout), nil
	if d.advance(now) == ph && !d.guard.closed() {
		if err == nil && ph.state == StateOpen && ph.byCheck {
			d.halfOpen(now, "check passed")
			ph = d.phase.Load()
		}
		if ph.state == StateHalfOpen {
			o := OutcomeSucceeded
			if err != nil {
				o = OutcomeFailed
			}
			d.verdict(p, o, now, err)
			again = err == nil && d.phase.Load() == ph
		}
	}
	d.mu.Unlock()
	defer func() { // a hook that blocks is as bad as a Check that hangs, and may end the goroutine
		d.mu.Lock()
		d.checkEnd = 0
		d.mu.Unlock()
		cancel()
	}()
	d.tell()
	return again
}

// runCheck turns a panic of the Check into an error: it is in nobody's goroutine.
func runCheck(ctx context.Context, check func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("guard: the check panicked: " + textOf(p))
		}
	}()
	return check(ctx)
}

// stopCheck ends the Check that is running, now that the guard is closed, and
// leaves the probing to calls.
func (d *Dependency) stopCheck() {
	d.mu.Lock()
	cancel, ph := d.cancel, d.phase.Load()
	ph.probes = slices.DeleteFunc(ph.probes, func(p *probe) bool { return p.check })
	d.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
