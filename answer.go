package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// answer turns any error into what the client is told. It returns the refusal
// if that is what it is.
func (t *tuned) answer(r *http.Request, err error) (Error, *RefusedError) {
	if refused, ok := err.(*RefusedError); ok && refused != nil { //nolint:errorlint // a short cut for a flood of our own
		return t.refusal(refused), refused
	}
	var own *Error
	var refused *RefusedError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &own) && own != nil:
		if own.Status >= 400 && own.Status <= 599 {
			return *own, nil
		}
	case errors.As(err, &refused) && refused != nil:
		return t.refusal(refused), refused
	case errors.As(err, &tooLarge) && tooLarge != nil:
		e := Error{
			Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("The request body is larger than %d bytes.", tooLarge.Limit),
		}
		if r.ProtoMajor == 1 { // the rest of the body is not worth reading; net/http knows that only of its own writer
			e.Header = http.Header{"Connection": {"close"}}
		}
		return e, nil
	case errors.Is(err, context.DeadlineExceeded) && errors.Is(r.Context().Err(), context.DeadlineExceeded):
		return Error{
			Status: t.status.Overloaded,
			Code:   "overloaded",
			Detail: "The server could not answer in the time that the request was given.",
			Err:    err,
		}, nil
	}
	return Error{
		Status: http.StatusInternalServerError,
		Detail: "The server met an unexpected error. Please forward the logs of this request to " + t.support + ".",
		Err:    err,
	}, nil
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

// answers returns what the client is told for each kind of refusal.
func (s Statuses) answers() (all [refusals]Error) {
	all = [refusals]Error{
		refusedLimited:    {Status: s.Limited, Code: "rate-limited", Detail: "The server receives too many requests."},
		refusedClient:     {Status: s.Client, Code: "rate-limited", Detail: "This client sends too many requests."},
		refusedOverloaded: {Status: s.Overloaded, Code: "overloaded", Detail: "The server is handling as many requests as it can."},
		refusedDraining:   {Status: http.StatusServiceUnavailable, Code: "draining", Detail: "The server is shutting down."},
	}
	for i := range all {
		p := newProblem(&all[i])
		all[i].json = p.appendJSONHead(nil)
	}
	return all
}
