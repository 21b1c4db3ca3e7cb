package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// Why a request was refused. Each is the server's own doing and answered with
// 503, unless Config.Status says otherwise. Test for them with [errors.Is].
var (
	// ErrLimited means that a token bucket is empty.
	ErrLimited = errors.New("guard: rate limited")
	// ErrOverloaded means that as many requests are being served as may be.
	ErrOverloaded = errors.New("guard: overloaded")
	// ErrDraining means that the server is shutting down.
	ErrDraining = errors.New("guard: draining")
	// ErrSaturated means that as many calls to a dependency go on as may.
	ErrSaturated = errors.New("guard: dependency saturated")
)

// A RefusedError tells that a request, or a call of [Limiter.Wait], was refused,
// and when to come back. It matches one of [ErrLimited], [ErrOverloaded] and
// [ErrDraining].
type RefusedError struct {
	kind   refusal
	wait   time.Duration
	also   error  // context.DeadlineExceeded, or what else is to be said, or nil
	client string // the name of the client limit that refused, or ""
}

// refusal is what a request was refused for.
type refusal int8

const (
	refusedLimited    refusal = iota // by a limit that all share, or a route's
	refusedClient                    // by a limit per client
	refusedOverloaded                // by the bound on what is in flight
	refusedDraining
	refusedDependency         // by a breaker that is open, or a pause
	refusedSaturated          // by the bound on calls to a dependency
	refusals                  // how many
	notRefused        refusal = -1
)

// Error implements error. A nil RefusedError, like a nil Error, is answered with 500.
func (e *RefusedError) Error() string {
	if e == nil {
		return "guard: a nil *RefusedError"
	}
	s := e.Unwrap().Error()
	if e.also != nil && e.also != context.DeadlineExceeded { //nolint:errorlint // which is still to come
		s += ": " + e.also.Error()
	}
	if e.wait >= 0 {
		s += fmt.Sprintf(": retry after %v", e.wait)
	}
	return s
}

// Unwrap returns ErrLimited, ErrOverloaded or ErrDraining.
func (e *RefusedError) Unwrap() error {
	switch {
	case e == nil:
		return nil
	case e.kind == refusedOverloaded:
		return ErrOverloaded
	case e.kind == refusedDraining:
		return ErrDraining
	}
	return ErrLimited
}

// Is reports whether target is context.DeadlineExceeded, if the reason for the
// refusal was a deadline that would have been passed.
func (e *RefusedError) Is(target error) bool {
	return e != nil && target == context.DeadlineExceeded && e.also == target
}

// RetryAfter returns how long to wait before trying again. It is negative if
// that is not known or never.
func (e *RefusedError) RetryAfter() time.Duration {
	if e == nil {
		return never
	}
	return e.wait
}

// An Error is what a handler answers with instead of a success. Return it from
// a [HandlerFunc], or hand it to [Guard.WriteError].
type Error struct {
	// Status is the HTTP status, 400 to 599. Any other is answered with 500.
	Status int
	// Code is a stable name for the kind of error, for programs; "" means the
	// one that belongs to the status, such as "not-found".
	Code string
	// Detail tells the client what to do about it. It is the only text of the
	// error that the client sees.
	Detail string
	// RetryAfter is sent to the client, in whole seconds rounded up, if it is
	// positive.
	RetryAfter time.Duration
	// Header is added to the response's header, replacing fields of the same
	// name. Fields that describe a body, and Retry-After, are left out.
	Header http.Header
	// Err is the cause. The client never sees it; the log does, for a status of
	// 500 and above.
	Err error

	json []byte // its members up to detail, rendered once for the guard's refusals
}

// Error implements error.
func (e *Error) Error() string {
	if e == nil {
		return "guard: a nil *Error"
	}
	s := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// BadRequest returns the Error for a parameter that is missing or of an
// unexpected type: 400. The detail should name the parameter.
func BadRequest(detail string) *Error {
	return &Error{Status: http.StatusBadRequest, Detail: detail}
}

// Unauthorized returns the Error for credentials that are missing or wrong, or
// do not permit this service: 401, with a challenge for Basic authentication
// (RFC 7617) in the realm.
func Unauthorized(realm, detail string) *Error {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
	return &Error{
		Status: http.StatusUnauthorized,
		Detail: detail,
		Header: http.Header{"Www-Authenticate": {`Basic realm="` + quote(realm) + `"`}},
	}
}

// Forbidden returns the Error for an operation that is forbidden: 403. The
// detail should say why.
func Forbidden(detail string) *Error {
	return &Error{Status: http.StatusForbidden, Detail: detail}
}

// NotFound returns the Error for a resource that does not exist, or a URI that
// is invalid: 404.
func NotFound(detail string) *Error {
	return &Error{Status: http.StatusNotFound, Detail: detail}
}

// code returns the stable name of the kind of error.
func (e *Error) code() string {
	if e.Code != "" {
		return e.Code
	}
	switch e.Status {
	case http.StatusInternalServerError:
		return "internal"
	case http.StatusBadGateway:
		return "dependency-failed"
	case http.StatusServiceUnavailable:
		return "overloaded"
	}
	if text := http.StatusText(e.Status); text != "" {
		return strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(text, "'", "")), " ", "-")
	}
	return "error"
}

// retrySeconds returns what Retry-After says: integer seconds, rounded up, 1 at
// the least and 2³¹−1 at the most (beyond which clients overflow). 0 means that
// nothing is sent.
func (e *Error) retrySeconds() int64 {
	if e.RetryAfter <= 0 {
		return 0
	}
	s := int64(e.RetryAfter / time.Second)
	if e.RetryAfter%time.Second > 0 {
		s++
	}
	return min(s, math.MaxInt32)
}
