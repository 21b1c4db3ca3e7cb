package guard

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Why a call to a dependency was refused, or failed, other than by an error of
// its own. Each is the dependency's doing and answered with 502, unless
// Config.Status says otherwise. Test for them with [errors.Is].
var (
	// ErrOpen means that the circuit breaker is open.
	ErrOpen = errors.New("guard: circuit breaker open")
	// ErrTimeout means that the call took longer than its Timeout. It comes with
	// an error that matches [context.DeadlineExceeded], too.
	ErrTimeout = errors.New("guard: timeout")
	// ErrThrottled means that the dependency has asked for a pause.
	ErrThrottled = errors.New("guard: throttled")
)

// A DependencyError tells that a call to a dependency failed, or was refused. It
// matches the error of the call if there is one, and [ErrOpen], [ErrThrottled],
// [ErrSaturated] or [ErrTimeout] where one of them is the reason.
type DependencyError struct {
	dependency *Dependency
	outcome    Outcome // of the call; ignored if it was refused
	kind       error   // one of the four, or nil
	err        error   // of the call; nil if it was refused
	until      int64   // when to try again, or unknown, or forever
}

// unknown is the instant of a DependencyError that nobody can tell.
const unknown = -1

// refusal returns the error that calls are refused with.
func (d *Dependency) refusal(kind error, until int64) *DependencyError {
	return &DependencyError{dependency: d, outcome: OutcomeIgnored, kind: kind, until: until}
}

// Error implements error.
func (e *DependencyError) Error() string {
	switch {
	case e == nil:
		return "guard: a nil *DependencyError"
	case e.dependency == nil:
		return "guard: a zero DependencyError"
	case e.kind != nil && e.err != nil:
		return fmt.Sprintf("%v: dependency %q: %v", e.kind, e.dependency.name, e.err)
	case e.kind != nil:
		return fmt.Sprintf("%v: dependency %q", e.kind, e.dependency.name)
	}
	return fmt.Sprintf("guard: dependency %q: %v", e.dependency.name, e.err)
}

// Unwrap returns the error of the call, or ErrOpen, ErrThrottled or ErrSaturated
// if it was refused.
func (e *DependencyError) Unwrap() error {
	switch {
	case e == nil:
		return nil
	case e.err == nil:
		return e.kind
	}
	return e.err
}

// Is reports whether target is the reason: see [DependencyError].
func (e *DependencyError) Is(target error) bool {
	if e == nil || e.kind == nil {
		return false
	}
	return target == e.kind || e.kind == ErrTimeout && target == context.DeadlineExceeded
}

// Timeout reports whether the call took too long, as [net.Error] does: an
// [http.Client] asks the errors of its Transport.
func (e *DependencyError) Timeout() bool {
	if e == nil {
		return false
	}
	var t interface{ Timeout() bool }
	return e.kind == ErrTimeout || errors.As(e.err, &t) && t.Timeout() //nolint:errorlint // it is never wrapped
}

// Dependency returns the name of the dependency.
func (e *DependencyError) Dependency() string {
	if e == nil || e.dependency == nil {
		return ""
	}
	return e.dependency.name
}

// RetryAfter returns how long to wait before trying again, as of now: until the
// breaker will be half-open or the pause is over, 0 if that is past. It is
// negative if that is not known, or never.
func (e *DependencyError) RetryAfter() time.Duration {
	if e == nil || e.dependency == nil {
		return never
	}
	until := e.until
	if ph := e.dependency.phase.Load(); e.err != nil && ph.state == StateOpen {
		until = max(until, ph.until) // the failure may have opened it
	}
	if until == unknown || until == forever {
		return never
	}
	return time.Duration(max(until-e.dependency.now(), 0))
}

// refusal returns what a request is refused for, if the call was not even made.
func (e *DependencyError) refusal() refusal {
	switch {
	case errors.Is(e.kind, ErrSaturated): // also if its time went by as it waited
		return refusedSaturated
	case e.err != nil:
		return notRefused
	}
	return refusedDependency
}

// after returns the error for who has to wait for something else, too.
func (e *DependencyError) after(wait time.Duration) *DependencyError {
	until := after(e.dependency.now(), wait) // forever if wait is never
	if wait == 0 || until <= e.until {
		return e
	}
	longer := *e
	longer.until = until
	return &longer
}
