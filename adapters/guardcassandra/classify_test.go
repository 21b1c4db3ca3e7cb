package guardcassandra_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// answer stands for the error types of the driver that cannot be made outside of
// it, since their code is in an unexported field: what matters of them is their
// methods. TestServerErrors has the driver make the real ones.
type answer struct{ code int }

func (a answer) Code() int       { return a.code }
func (a answer) Message() string { return "message" }
func (a answer) Error() string   { return "message" }

const (
	succeeded = guard.OutcomeSucceeded
	failed    = guard.OutcomeFailed
	answered  = guard.OutcomeAnswered
	ignored   = guard.OutcomeIgnored
)

// codes are all errors that Cassandra can answer with.
var codes = []struct {
	code int
	want guard.Outcome
}{
	{gocql.ErrCodeServer, failed},
	{gocql.ErrCodeProtocol, answered},
	{gocql.ErrCodeCredentials, failed},
	{gocql.ErrCodeUnavailable, failed},
	{gocql.ErrCodeOverloaded, failed},
	{gocql.ErrCodeBootstrapping, failed},
	{gocql.ErrCodeTruncate, ignored},
	{gocql.ErrCodeWriteTimeout, failed},
	{gocql.ErrCodeReadTimeout, failed},
	{gocql.ErrCodeReadFailure, failed},
	{gocql.ErrCodeFunctionFailure, answered},
	{gocql.ErrCodeWriteFailure, failed},
	{gocql.ErrCodeCDCWriteFailure, failed},
	{gocql.ErrCodeCASWriteUnknown, answered},
	{gocql.ErrCodeSyntax, answered},
	{gocql.ErrCodeUnauthorized, answered},
	{gocql.ErrCodeInvalid, answered},
	{gocql.ErrCodeConfig, answered},
	{gocql.ErrCodeAlreadyExists, answered},
	{gocql.ErrCodeUnprepared, answered}, // the driver prepares again by itself
	{0xF000, failed},                    // of another database that speaks CQL
}

// ofDriver are all errors that the driver makes itself.
var ofDriver = []struct {
	err  error
	want guard.Outcome
}{
	{nil, succeeded},
	{gocql.ErrNotFound, succeeded},
	{gocql.ErrNoConnections, failed},
	{gocql.ErrNoConnectionsStarted, failed},
	{gocql.ErrTimeoutNoResponse, failed},
	{gocql.ErrConnectionClosed, failed},
	{gocql.ErrNoStreams, failed},
	{io.EOF, failed},
	{io.ErrUnexpectedEOF, failed},
	{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, failed},
	{net.ErrClosed, failed},
	{errors.New("gocql: heartbeat failed"), failed},
	{errors.New("unable to read frame body: read 1/2 bytes: EOF"), failed},
	{errors.New("not enough bytes in buffer to read short require 2 got: 1"), failed},
	{errors.New("unknown error code: 0xf000"), failed},
	{errors.New("gocql: unable to create session: unable to connect to initial hosts: EOF"), failed},
	{gocql.NewErrProtocol("unexpected protocol version in response: got %d expected %d", 3, 4), failed},
	{gocql.ErrUnavailable, failed},
	{gocql.ErrTooManyTimeouts, failed}, //nolint:staticcheck // the driver keeps it, though it returns it no more
	{gocql.ErrHostQueryFailed, failed}, //nolint:staticcheck // likewise
	{gocql.ErrFrameTooBig, ignored},
	{gocql.MarshalError("can not marshal int into text"), ignored},
	{gocql.UnmarshalError("can not unmarshal text into *int"), ignored},
	{gocql.ErrUseStmt, ignored},
	{gocql.ErrTooManyStmts, ignored},
	{gocql.ErrNoHosts, ignored},
	{gocql.ErrNoKeyspace, ignored},
	{gocql.ErrKeyspaceDoesNotExist, ignored},
	{gocql.ErrNoMetadata, ignored},
	{gocql.ErrUnknownRetryType, ignored},
	{gocql.ErrUnsupported, ignored},
	{gocql.ErrQueryArgLength, ignored}, //nolint:staticcheck // likewise
	{gocql.ErrSessionClosed, ignored},
	{errors.New("gocql: expected 2 values send got 1"), ignored},
	{errors.New("gocql: batch statement 3 expected 2 values send got 1"), ignored},
	{errors.New("gocql: not enough columns to scan into: have 1 want 2"), ignored},
	{errors.New("gocql: Scan called without calling Next"), ignored},
	{errors.New("gocql: number of values does not match the number of bind columns"), ignored},
	{errors.New("gocql: named query values are not supported in batches, please see https://issues.apache.org/jira/browse/CASSANDRA-10246"), ignored},
	{context.Canceled, ignored},
	{context.DeadlineExceeded, failed},
	{errors.New("something else"), failed},

	// Not the driver's: the guard has rules for these.
	{guard.NotFound("There is no such visit."), guard.OutcomeDefault},
	{&guard.Error{Status: http.StatusConflict, Err: gocql.ErrConnectionClosed}, guard.OutcomeDefault},
	{&guard.Error{Status: http.StatusBadGateway, Err: gocql.ErrConnectionClosed}, failed},
	{&guard.Error{Status: http.StatusBadGateway, Err: gocql.ErrUseStmt}, ignored},
	{&guard.RefusedError{}, guard.OutcomeDefault},
	{&http.MaxBytesError{}, guard.OutcomeDefault},
	{dependencyError(), guard.OutcomeDefault},
}

// dependencyError returns that of a call to another dependency.
func dependencyError() error {
	g, err := guard.New(guard.Config{})
	if err != nil {
		panic(err)
	}
	dep, err := g.Dependency("other", guard.DependencyConfig{})
	if err != nil {
		panic(err)
	}
	return dep.Do(context.Background(), func(context.Context) error { return io.EOF })
}

// wrapped returns err as it may come: as it is, and wrapped in all the ways.
func wrapped(err error) map[string]error {
	if err == nil {
		return map[string]error{"bare": nil}
	}
	return map[string]error{
		"bare":         err,
		"wrapped":      fmt.Errorf("visits: %w", err),
		"twice":        fmt.Errorf("visits: %w", fmt.Errorf("load: %w", err)),
		"joined":       errors.Join(errors.New("and"), err),
		"two verbs":    fmt.Errorf("visits: %w, %w", errors.New("and"), err),
		"inside joins": fmt.Errorf("visits: %w", errors.Join(errors.Join(err))),
	}
}

func TestClassify(t *testing.T) {
	require.Len(t, codes, 21, "19 codes, UNPREPARED, and one that does not exist")
	for _, c := range codes {
		for how, err := range wrapped(answer{c.code}) {
			require.Equal(t, c.want, guardcassandra.Classify(err), "code %#04x, %s", c.code, how)
		}
	}
	for _, c := range ofDriver {
		for how, err := range wrapped(c.err) {
			require.Equal(t, c.want, guardcassandra.Classify(err), "%v, %s", c.err, how)
		}
	}
}

// The order of joined errors does not matter, but what they are.
func TestClassifyJoined(t *testing.T) {
	mistake, answerOurs, answerTheirs := gocql.MarshalError("no number"), answer{gocql.ErrCodeSyntax}, answer{gocql.ErrCodeOverloaded}
	for _, c := range []struct {
		a, b error
		want guard.Outcome
	}{
		{gocql.ErrNotFound, gocql.ErrNotFound, succeeded},
		{gocql.ErrNotFound, gocql.ErrNoConnections, failed},
		{gocql.ErrNotFound, gocql.ErrTimeoutNoResponse, failed},
		{gocql.ErrNotFound, gocql.ErrConnectionClosed, failed},
		{gocql.ErrNotFound, answerTheirs, failed},
		{gocql.ErrNotFound, answerOurs, answered},
		{gocql.ErrNotFound, mistake, ignored},
		{mistake, io.ErrUnexpectedEOF, ignored}, // of what it wraps, say
		{mistake, gocql.ErrNoConnections, failed},
		{mistake, answerTheirs, failed},
		{gocql.ErrSessionClosed, gocql.ErrNoStreams, failed},
		{answerOurs, gocql.ErrNoConnections, failed},
		{answerOurs, context.DeadlineExceeded, failed},
		{guard.NotFound("There is no such visit."), gocql.ErrNotFound, guard.OutcomeDefault},
	} {
		for _, err := range []error{errors.Join(c.a, c.b), errors.Join(c.b, c.a), fmt.Errorf("visits: %w, %w", c.a, c.b)} {
			require.Equal(t, c.want, guardcassandra.Classify(err), "%v", err)
		}
	}
}

// Texts count only where the driver has nothing else, and only whole.
func TestClassifyReadsWholeTexts(t *testing.T) {
	for _, text := range []string{
		"gocql: expected 2 values send got", "x gocql: expected 2 values send got 1", "gocql: expected 2 values send got 1\n",
		"gocql: expected  values send got 1", "not found", "gocql: batch statement x expected 2 values send got 1",
		"gocql: not enough columns to scan into: have 1 want 2!", "can not marshal int into text", "session has been closed",
	} {
		require.Equal(t, failed, guardcassandra.Classify(errors.New(text)), text)
	}
	inside := fmt.Errorf("gocql: expected 2 values send got 1%w", io.EOF) // its own text, and a wrapped error
	require.Equal(t, failed, guardcassandra.Classify(inside))
}

func TestClassifyContention(t *testing.T) {
	// Values of these types have code 0, for want of the driver: only the fields
	// are looked at, once TestServerErrors has the codes.
	for want, types := range map[guard.Outcome][]string{
		answered: {"CAS"},
		failed:   {"", "SIMPLE", "BATCH", "UNLOGGED_BATCH", "COUNTER", "BATCH_LOG", "VIEW", "CDC", "cas"},
	} {
		for _, writeType := range types {
			err := writeTimeoutError{answer{gocql.ErrCodeWriteTimeout}, &gocql.RequestErrWriteTimeout{WriteType: writeType}}
			require.Equal(t, want, guardcassandra.Classify(err), writeType)
		}
	}
}

func TestClassifyReadFailure(t *testing.T) {
	for _, c := range []struct {
		reasons gocql.ErrorMap
		want    guard.Outcome
	}{
		{nil, failed}, // version 4 of the protocol
		{gocql.ErrorMap{}, failed},
		{gocql.ErrorMap{"a": 0}, failed},
		{gocql.ErrorMap{"a": 1}, answered}, // too many tombstones
		{gocql.ErrorMap{"a": 2}, failed},   // timeout
		{gocql.ErrorMap{"a": 3}, failed},   // schema
		{gocql.ErrorMap{"a": 4}, answered}, // read size
		{gocql.ErrorMap{"a": 5}, failed},   // node down
		{gocql.ErrorMap{"a": 6}, answered}, // index not available
		{gocql.ErrorMap{"a": 7}, answered}, // too many indexes
		{gocql.ErrorMap{"a": 8}, failed},
		{gocql.ErrorMap{"a": 11}, failed},
		{gocql.ErrorMap{"a": 503}, answered}, // index being built
		{gocql.ErrorMap{"a": 502}, failed},
		{gocql.ErrorMap{"a": 1, "b": 4, "c": 503}, answered},
		{gocql.ErrorMap{"a": 1, "b": 2}, failed},
	} {
		err := readFailureError{answer{gocql.ErrCodeReadFailure}, &gocql.RequestErrReadFailure{ErrorMap: c.reasons}}
		require.Equal(t, c.want, guardcassandra.Classify(fmt.Errorf("visits: %w", err)), "%v", c.reasons)
	}
}

// writeTimeoutError and readFailureError give errors of the driver the codes that they have
// when the driver makes them.
type writeTimeoutError struct {
	answer
	*gocql.RequestErrWriteTimeout
}

func (e writeTimeoutError) Code() int       { return e.answer.Code() }
func (e writeTimeoutError) Message() string { return "" }
func (e writeTimeoutError) Error() string   { return "" }
func (e writeTimeoutError) Unwrap() error   { return e.RequestErrWriteTimeout }

type readFailureError struct {
	answer
	*gocql.RequestErrReadFailure
}

func (e readFailureError) Code() int       { return e.answer.Code() }
func (e readFailureError) Message() string { return "" }
func (e readFailureError) Error() string   { return "" }
func (e readFailureError) Unwrap() error   { return e.RequestErrReadFailure }

// What an interface can hide must not panic in the breaker.
func TestClassifyNeverPanics(t *testing.T) {
	for _, err := range []error{
		(*gocql.RequestErrUnavailable)(nil),
		(*gocql.RequestErrWriteTimeout)(nil),
		(*gocql.RequestErrReadFailure)(nil),
		(*guard.Error)(nil),
		(*net.OpError)(nil),
		gocql.ErrProtocol{},
		brokenError{},
		emptyError{},
	} {
		for how, err := range wrapped(err) {
			require.NotPanics(t, func() { guardcassandra.Classify(err) }, "%T, %s", err, how)
		}
	}
	require.Equal(t, failed, guardcassandra.Classify(brokenError{}))
}

type brokenError struct{}

func (brokenError) Error() string { panic("a broken error") }

type emptyError struct{}

func (emptyError) Error() string { return "it says that it wraps, and does not" }
func (emptyError) Unwrap() error { return nil }

func FuzzClassify(f *testing.F) {
	for _, c := range ofDriver {
		if c.err != nil {
			f.Add(c.err.Error(), 0x1100, "CAS", uint16(1), uint8(3))
		}
	}
	for _, c := range codes {
		f.Add("", c.code, "SIMPLE", uint16(503), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text string, code int, writeType string, reason uint16, shape uint8) {
		reasons := gocql.ErrorMap{"a": reason, text: uint16(shape)}
		var err error
		switch shape % 6 {
		case 0:
			err = errors.New(text)
		case 1:
			err = answer{code}
		case 2:
			err = writeTimeoutError{answer{code}, &gocql.RequestErrWriteTimeout{WriteType: writeType}}
		case 3:
			err = readFailureError{answer{code}, &gocql.RequestErrReadFailure{ErrorMap: reasons}}
		case 4:
			err = errors.Join(gocql.MarshalError(text), gocql.UnmarshalError(text), answer{code})
		case 5:
			err = gocql.NewErrProtocol("%s", text)
		}
		bare := guardcassandra.Classify(err)
		if bare < guard.OutcomeSucceeded || bare > guard.OutcomeIgnored {
			t.Fatalf("%v is classified as %v", err, bare)
		}
		if got := guardcassandra.Classify(fmt.Errorf("%s: %w", text, err)); got != bare {
			t.Fatalf("%v is classified as %v, and as %v when wrapped", err, bare, got)
		}
	})
}
