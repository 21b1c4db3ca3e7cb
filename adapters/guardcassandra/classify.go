package guardcassandra

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// Classify says what an error of the driver means for the breaker; the table is
// in the package comment. It is for [guard.DependencyConfig.Classify], where
// there is no [Session], whose [Session.Classify] also knows that it is closing.
//
// Errors are recognised however they are wrapped, and where several are joined, a
// failure of the driver or an answer of Cassandra outdoes a mistake of the
// application, and that outdoes an ErrNotFound. What is unknown failed, with
// two exceptions: the guard's own errors and the application's answers, such as
// guard.NotFound, are left to the guard's rules. Of the ends of contexts, the
// guard judges itself those that it can see; here, a cancellation is ignored and
// a deadline that has passed is a failure.
//
// It may be called concurrently, and never panics.
func Classify(err error) (o guard.Outcome) {
	defer func() {
		if recover() != nil { // a nil pointer in an interface, whose methods panic
			o = guard.OutcomeFailed
		}
	}()
	var answer gocql.RequestError
	switch {
	case err == nil:
		return guard.OutcomeSucceeded
	case ofGuard(err):
		return guard.OutcomeDefault
	case errors.Is(err, context.Canceled):
		return guard.OutcomeIgnored
	case errors.Is(err, context.DeadlineExceeded), ofSilence(err):
		return guard.OutcomeFailed
	case errors.As(err, &answer):
		return classifyAnswer(err, answer.Code())
	case ofCaller(err):
		return guard.OutcomeIgnored
	case errors.Is(err, gocql.ErrNotFound):
		return guard.OutcomeSucceeded
	}
	return guard.OutcomeFailed
}

// ofGuard reports whether the guard has rules of its own for the error.
func ofGuard(err error) bool {
	var inner *guard.DependencyError
	var refused *guard.RefusedError
	var own *guard.Error
	var tooLarge *http.MaxBytesError
	if errors.As(err, &inner) || errors.As(err, &refused) || errors.As(err, &tooLarge) {
		return true
	}
	return errors.As(err, &own) && own.Status < http.StatusInternalServerError
}

// ofSilence reports whether the driver says that nobody answers. Those errors
// that it has no values for are unknown, and count as failures like them; but not
// where they are joined with another.
func ofSilence(err error) bool {
	for _, sentinel := range []error{
		gocql.ErrNoConnections,
		gocql.ErrNoConnectionsStarted,
		gocql.ErrTimeoutNoResponse,
		gocql.ErrConnectionClosed,
		gocql.ErrNoStreams,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// classifyAnswer judges an error that Cassandra answered with. The codes are all
// that there are: native_protocol_v5.spec, section 8.
func classifyAnswer(err error, code int) guard.Outcome {
	switch code {
	case gocql.ErrCodeProtocol, gocql.ErrCodeFunctionFailure, gocql.ErrCodeSyntax,
		gocql.ErrCodeUnauthorized, gocql.ErrCodeInvalid, gocql.ErrCodeConfig,
		gocql.ErrCodeAlreadyExists, gocql.ErrCodeUnprepared:
		return guard.OutcomeAnswered // what we asked for is wrong
	case gocql.ErrCodeCASWriteUnknown:
		return guard.OutcomeAnswered // contention
	case gocql.ErrCodeTruncate:
		return guard.OutcomeIgnored // needs all nodes, and so says nothing of reads and writes
	case gocql.ErrCodeWriteTimeout:
		var timeout *gocql.RequestErrWriteTimeout
		if errors.As(err, &timeout) && timeout.WriteType == "CAS" {
			return guard.OutcomeAnswered // contention
		}
	case gocql.ErrCodeReadFailure:
		var failure *gocql.RequestErrReadFailure
		if errors.As(err, &failure) && ofQuery(failure.ErrorMap) {
			return guard.OutcomeAnswered
		}
	}
	return guard.OutcomeFailed
}

// ofQuery reports whether every replica failed for a reason that is in the
// query: too many tombstones (1), too much data (4), an index that is not
// available (6), too many indexes (7) or one that is being built (503). The
// numbers are from Cassandra's RequestFailureReason. Version 4 of the protocol
// sends no reasons.
func ofQuery(reasons gocql.ErrorMap) bool {
	for _, reason := range reasons {
		switch reason {
		case 1, 4, 6, 7, 503:
		default:
			return false
		}
	}
	return len(reasons) > 0
}

// ofCaller reports whether the error says that the driver was used wrongly, or
// not at all any more: Cassandra has no part in it.
func ofCaller(err error) bool {
	for _, sentinel := range []error{
		errAbandoned,
		errIterClosed,
		gocql.ErrSessionClosed,
		gocql.ErrFrameTooBig,
		gocql.ErrUseStmt,
		gocql.ErrTooManyStmts,
		gocql.ErrNoHosts,
		gocql.ErrNoKeyspace,
		gocql.ErrKeyspaceDoesNotExist,
		gocql.ErrNoMetadata,
		gocql.ErrUnknownRetryType,
		gocql.ErrUnsupported,
		gocql.ErrQueryArgLength, //nolint:staticcheck // the driver keeps it, though it returns it no more
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	var marshal gocql.MarshalError
	var unmarshal gocql.UnmarshalError
	return errors.As(err, &marshal) || errors.As(err, &unmarshal) || misused(err)
}

// misuses are the driver's words for mistakes for which it has neither a type
// nor a value. The last two are for text given for a uuid or a duration that is
// none: it may come from anybody, and so must not count. A test provokes each.
var misuses = regexp.MustCompile(`^(?:` +
	`gocql: (?:batch statement \d+ )?expected \d+ values send got \d+` +
	`|gocql: not enough columns to scan into: have \d+ want \d+` +
	`|gocql: number of values does not match the number of bind columns` +
	`|gocql: named query values are not supported in batches, please see https://issues\.apache\.org/jira/browse/CASSANDRA-10246` +
	`|gocql: Scan called without calling Next` +
	`|invalid UUID ".*"` +
	`|time: (?:invalid duration|missing unit in duration|unknown unit ".*" in duration) ".*"` +
	`)$`)

// misused reports whether err, or one that it wraps, is one of the misuses. Only
// what wraps nothing is read, since what wraps adds words of its own.
func misused(err error) bool {
	switch e := err.(type) { //nolint:errorlint // this takes the tree apart itself
	case nil:
		return false
	case interface{ Unwrap() error }:
		return misused(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), misused)
	}
	return misuses.MatchString(err.Error())
}
