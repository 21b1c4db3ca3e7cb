package guard

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// A verdict is what the error of a call means.
type verdict struct {
	outcome Outcome
	late    bool // the Timeout brought it about
	excused bool // it is a failure, but the caller's context has ended
}

// judge says what an error means. The order matters: ends of contexts first, as
// they are nobody's to classify.
func (c *call) judge(ctx context.Context, err error) verdict {
	ended := ctx.Err()
	if at, ok := ctx.Deadline(); ok && ended == nil && time.Until(at) <= 0 {
		ended = context.DeadlineExceeded // a driver that knows the deadline may be ahead of the context
	}
	late := c.limit != nil && c.limit.passed(ended)
	ofContext := contextEnded(err)
	switch {
	case late && ofContext:
		return verdict{outcome: OutcomeFailed, late: true}
	case ofContext && ended != nil:
		return verdict{outcome: c.whoseFault(ctx, ended)}
	case errors.Is(err, context.Canceled):
		return verdict{outcome: OutcomeIgnored}
	}
	o := OutcomeDefault
	if c.t.Classify != nil {
		o = c.t.Classify(err).known()
	}
	if o == OutcomeDefault {
		o = c.byRule(err)
	}
	switch {
	case o != OutcomeFailed:
		return verdict{outcome: o}
	case late || ended == nil:
		return verdict{outcome: o, late: late}
	}
	o = c.whoseFault(ctx, ended)
	return verdict{outcome: o, excused: o == OutcomeIgnored}
}

// wrap returns what the caller of a call gets for an error.
func (c *call) wrap(err error, v verdict) error {
	if inner := as[*DependencyError](err); inner != nil && (inner.dependency == c.d || v.outcome == OutcomeIgnored) {
		return err
	}
	failed := v.outcome == OutcomeFailed || v.outcome == OutcomeAnswered
	if !failed && !v.excused && (isAnswer(err) || !contextEnded(err)) {
		return err
	}
	e := &DependencyError{dependency: c.d, outcome: v.outcome, err: err, until: unknown}
	if v.late {
		e.kind = ErrTimeout
	}
	return e
}

// whoseFault judges a call whose caller's context has ended.
func (c *call) whoseFault(ctx context.Context, ended error) Outcome {
	if !errors.Is(ended, context.DeadlineExceeded) {
		return OutcomeIgnored // it hung up
	}
	deadline, ok := ctx.Deadline()
	switch {
	case c.start == unread: // the context has not said that it has a deadline
		return OutcomeIgnored
	case !ok:
		deadline = time.Now()
	}
	if deadline.Sub(c.d.at(c.start)) < c.t.FairShare {
		return OutcomeIgnored
	}
	return OutcomeFailed
}

// byRule judges an error that no classifier has judged.
func (c *call) byRule(err error) Outcome {
	if isPlain(err) {
		return OutcomeFailed
	}
	switch inner := as[*DependencyError](err); {
	case inner != nil:
		if inner.dependency == c.d {
			return inner.outcome
		}
		return OutcomeIgnored
	case isAnswer(err):
		return OutcomeSucceeded
	case as[*RefusedError](err) != nil, as[*http.MaxBytesError](err) != nil:
		return OutcomeIgnored
	}
	return OutcomeFailed
}

// as is errors.As, with the zero T for an error that is and holds none.
func as[T error](err error) (none T) {
	if isPlain(err) {
		return none
	}
	return search[T](err)
}

func search[T error](err error) (found T) {
	errors.As(err, &found)
	return found
}

// isPlain reports whether an error is surely none of those that mean something
// here, nor holds one: looking with errors.As takes most of the time of a call
// that fails.
func isPlain(err error) bool {
	switch err.(type) { //nolint:errorlint // what wraps is among the cases
	case *DependencyError, *Error, *RefusedError, *http.MaxBytesError, statusError,
		interface{ Unwrap() error }, interface{ Unwrap() []error }, interface{ As(any) bool }:
		return false
	}
	return true
}

// isAnswer reports whether an error is the application's own answer.
func isAnswer(err error) bool {
	own := as[*Error](err)
	return own != nil && own.Status < 500
}

// contextEnded reports whether an error tells of the end of a context. That of
// who would not wait for a Limiter until his deadline does not.
func contextEnded(err error) bool {
	return (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && as[*RefusedError](err) == nil
}
