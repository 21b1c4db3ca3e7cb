package guard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A timedContext ends with a deadline, or with the context that it is for. It
// sets no timer until somebody asks for Done, which many calls never do.
type timedContext struct {
	context.Context //nolint:containedctx // this is a context
	deadline        time.Time
	inner           atomic.Pointer[endedContext]
	over            atomic.Bool
}

// endedContext is a context that really ends.
type endedContext struct {
	context.Context //nolint:containedctx // this is a context
	cancel          context.CancelFunc
}

// Deadline implements [context.Context].
func (t *timedContext) Deadline() (time.Time, bool) { return t.deadline, true }

// String keeps fmt away from the fields.
func (t *timedContext) String() string { return fmt.Sprint(t.Context) + ".WithTimeout" }

// Done implements [context.Context].
func (t *timedContext) Done() <-chan struct{} { return t.real().Done() }

// Err implements [context.Context].
func (t *timedContext) Err() error {
	if t.inner.Load() == nil && !t.over.Load() && t.Context.Err() == nil && time.Until(t.deadline) > 0 {
		return nil
	}
	return t.real().Err()
}

// Value implements [context.Context]. A context derived from this one finds the
// real one by it, and needs no goroutine to follow its end.
func (t *timedContext) Value(key any) any {
	if in := t.inner.Load(); in != nil {
		return in.Value(key)
	}
	return t.Context.Value(key)
}

func (t *timedContext) real() context.Context {
	in := t.inner.Load()
	if in == nil {
		ctx, cancel := context.WithDeadline(t.Context, t.deadline)
		in = &endedContext{ctx, cancel}
		if !t.inner.CompareAndSwap(nil, in) {
			cancel()
			in = t.inner.Load()
		}
	}
	if t.over.Load() {
		in.cancel()
	}
	return in
}

// end ends the context with its call.
func (t *timedContext) end() {
	t.over.Store(true)
	if in := t.inner.Load(); in != nil {
		in.cancel()
	}
}

// passed reports whether the deadline came before the end of the caller's
// context, which is ended (nil: it has not).
func (t *timedContext) passed(callers error) bool {
	if in := t.inner.Load(); in != nil && in.Err() != nil {
		return errors.Is(in.Err(), context.DeadlineExceeded) && time.Until(t.deadline) <= 0
	}
	return !errors.Is(callers, context.Canceled) && time.Until(t.deadline) <= 0
}
