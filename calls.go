package guard

import (
	"context"
	"sync/atomic"
)

// calls counts the calls to a dependency: those that have begun, and what became
// of each. What is going on is what has begun and not ended. A count never goes
// down, so that whoever reads one after the other is wrong to one side only.
type calls struct {
	begun atomic.Int64
	_     [64]byte
	ended [outcomes]atomic.Int64
	early atomic.Int64 // have given their place back before they ended; see call.end
	slow  atomic.Int64

	open, throttled, saturated atomic.Int64 // refused
}

// enter counts one more, unless there are as many as may be (0: any number).
func (c *calls) enter(most int) bool {
	if most == 0 {
		c.begun.Add(1)
		return true
	}
	for {
		// What begins and ends after the first line can only make the difference too
		// small, and then there is something for the swap to fail on.
		begun := c.begun.Load()
		if begun-c.gone() >= int64(most) {
			return false
		}
		if c.begun.CompareAndSwap(begun, begun+1) {
			return true
		}
	}
}

// gone returns how many are not going on any more.
func (c *calls) gone() int64 {
	n := c.early.Load()
	for i := range c.ended {
		n += c.ended[i].Load()
	}
	return n
}

// inside returns how many are going on.
func (c *calls) inside() int64 {
	for {
		gone := c.gone()
		begun := c.begun.Load()
		if c.gone() == gone { // so begun is of the same time
			return begun - gone
		}
	}
}

// refused counts a refusal, and tells of it.
func (d *Dependency) refused(ctx context.Context, e *DependencyError) {
	counter := &d.calls.open
	switch e.kind {
	case ErrSaturated: //nolint:errorlint // it is never wrapped
		counter = &d.calls.saturated
	case ErrThrottled:
		counter = &d.calls.throttled
	}
	counter.Add(1)
	if hook := d.guard.hooks.Refused; hook != nil {
		shadow := d.guard.tuned.Load().config.Shadow
		d.guard.hooked(func() { hook(ctx, RefusalEvent{Dependency: d.name, Err: e, Shadow: shadow}) })
	}
}
