package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// answer turns any error into what the client is told, and says what the request
// was refused for, if that is what it was.
func (t *tuned) answer(r *http.Request, err error) (Error, refusal) {
	switch refused := err.(type) { //nolint:errorlint // a short cut for a flood of our own
	case *RefusedError:
		if refused != nil {
			return t.refusal(refused), refused.kind
		}
	case *DependencyError:
		if refused != nil {
			return t.dependency(refused), refused.refusal()
		}
	}
	var own *Error
	var refused *RefusedError
	var dependency *DependencyError
	var tooLarge *http.MaxBytesError
	isOwn := errors.As(err, &own) && own != nil
	switch isDependency := errors.As(err, &dependency) && dependency != nil; {
	case isDependency && (!isOwn || !errors.Is(own, error(dependency))): // the outer of the two says
		return t.dependency(dependency), dependency.refusal()
	case isOwn:
		if own.Status >= 400 && own.Status <= 599 {
			return *own, notRefused
		}
	case errors.As(err, &refused) && refused != nil:
		return t.refusal(refused), refused.kind
	case errors.As(err, &tooLarge) && tooLarge != nil:
		e := Error{
			Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("The request body is larger than %d bytes.", tooLarge.Limit),
		}
		if r.ProtoMajor == 1 { // the rest of the body is not worth reading; net/http knows that only of its own writer
			e.Header = http.Header{"Connection": {"close"}}
		}
		return e, notRefused
	case errors.Is(err, context.DeadlineExceeded) && errors.Is(r.Context().Err(), context.DeadlineExceeded):
		return Error{
			Status: t.status.Overloaded,
			Code:   "overloaded",
			Detail: "The server could not answer in the time that the request was given.",
			Err:    err,
		}, notRefused
	}
	return Error{
		Status: http.StatusInternalServerError,
		Detail: "The server met an unexpected error. Please forward the logs of this request to " + t.support + ".",
		Err:    err,
	}, notRefused
}

// refusal returns what a client is told who was refused.
func (t *tuned) refusal(e *RefusedError) Error {
	a := t.refusals[e.kind]
	a.RetryAfter = e.wait
	if e.kind == refusedOverloaded || e.kind == refusedDraining {
		a.RetryAfter = time.Second // it is not known, and 1 s is no promise
	}
	return a
}

// dependency returns what a client is told for whom a dependency did not do
// what it was asked. Its name and the error are for the log.
func (t *tuned) dependency(e *DependencyError) Error {
	why := e.refusal()
	if why == notRefused {
		return Error{
			Status:     t.status.Dependency,
			Code:       "dependency-failed",
			Detail:     "A system that this server needs has failed.",
			RetryAfter: e.RetryAfter(),
			Err:        e,
		}
	}
	a := t.refusals[why]
	switch a.RetryAfter = e.RetryAfter(); {
	case e.until == forever:
		a.RetryAfter = 0
	case a.RetryAfter <= 0:
		a.RetryAfter = time.Second // it is not known, or just past
	}
	return a
}

// answers returns what the client is told for each kind of refusal.
func (s Statuses) answers() (all [refusals]Error) {
	all = [refusals]Error{
		refusedLimited:    {Status: s.Limited, Code: "rate-limited", Detail: "The server receives too many requests."},
		refusedClient:     {Status: s.Client, Code: "rate-limited", Detail: "This client sends too many requests."},
		refusedOverloaded: {Status: s.Overloaded, Code: "overloaded", Detail: "The server is handling as many requests as it can."},
		refusedDraining:   {Status: http.StatusServiceUnavailable, Code: "draining", Detail: "The server is shutting down."},
		refusedDependency: {Status: s.Dependency, Code: "dependency-open", Detail: "A system that this server needs is unavailable."},
		refusedSaturated:  {Status: s.Overloaded, Code: "overloaded", Detail: "The server has as much going on with a system it needs as it can."},
	}
	for i := range all {
		p := newProblem(&all[i])
		all[i].json = p.appendJSONHead(nil)
	}
	return all
}
