package cassandratest_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// as returns the error as the driver's type, with which it must have come.
func as[T error](t *testing.T, err error) T {
	t.Helper()
	var target T
	require.ErrorAs(t, err, &target)
	return target
}

// Each code arrives as the type that the driver has for it, with its fields.
func TestCodes(t *testing.T) {
	for _, test := range []struct {
		answer cassandratest.Error
		check  func(*testing.T, error)
	}{
		{cassandratest.Error{Code: cassandratest.CodeServerError}, func(*testing.T, error) {}},
		{cassandratest.Error{Code: cassandratest.CodeProtocolError}, func(*testing.T, error) {}},
		{cassandratest.Error{Code: cassandratest.CodeBadCredentials}, func(t *testing.T, err error) {
			as[*gocql.RequestErrCredentials](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeUnavailable, Consistency: uint16(gocql.Quorum), Required: 2, Alive: 1}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrUnavailable](t, err)
			assert.Equal(t, []any{gocql.Quorum, 2, 1}, []any{e.Consistency, e.Required, e.Alive})
		}},
		{cassandratest.Error{Code: cassandratest.CodeOverloaded}, func(t *testing.T, err error) {
			as[*gocql.RequestErrOverloaded](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeIsBootstrapping}, func(t *testing.T, err error) {
			as[*gocql.RequestErrBootstrapping](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeTruncateError}, func(t *testing.T, err error) {
			as[*gocql.RequestErrTruncate](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeWriteTimeout, Consistency: uint16(gocql.Serial), Received: 1, BlockFor: 2, WriteType: "CAS"}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrWriteTimeout](t, err)
			assert.Equal(t, []any{gocql.Serial, 1, 2, "CAS"}, []any{e.Consistency, e.Received, e.BlockFor, e.WriteType})
		}},
		{cassandratest.Error{Code: cassandratest.CodeWriteTimeout}, func(t *testing.T, err error) {
			assert.Equal(t, "SIMPLE", as[*gocql.RequestErrWriteTimeout](t, err).WriteType)
		}},
		{cassandratest.Error{Code: cassandratest.CodeReadTimeout, Consistency: uint16(gocql.One), Received: 1, BlockFor: 3, DataPresent: true}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrReadTimeout](t, err)
			assert.Equal(t, []any{gocql.One, 1, 3, byte(1)}, []any{e.Consistency, e.Received, e.BlockFor, e.DataPresent})
		}},
		{cassandratest.Error{Code: cassandratest.CodeReadFailure, Consistency: uint16(gocql.Two), Received: 1, BlockFor: 2, NumFailures: 4, DataPresent: true}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrReadFailure](t, err)
			assert.Equal(t, []any{gocql.Two, 1, 2, 4, true}, []any{e.Consistency, e.Received, e.BlockFor, e.NumFailures, e.DataPresent})
		}},
		{cassandratest.Error{Code: cassandratest.CodeFunctionFailure, Keyspace: "ks", Function: "avg", ArgTypes: []string{"int", "text"}}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrFunctionFailure](t, err)
			assert.Equal(t, []any{"ks", "avg", []string{"int", "text"}}, []any{e.Keyspace, e.Function, e.ArgTypes})
		}},
		{cassandratest.Error{Code: cassandratest.CodeWriteFailure, Consistency: uint16(gocql.All), Received: 1, BlockFor: 3, NumFailures: 2, WriteType: "BATCH"}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrWriteFailure](t, err)
			assert.Equal(t, []any{gocql.All, 1, 3, 2, "BATCH"}, []any{e.Consistency, e.Received, e.BlockFor, e.NumFailures, e.WriteType})
		}},
		{cassandratest.Error{Code: cassandratest.CodeCDCWriteFailure}, func(t *testing.T, err error) {
			as[*gocql.RequestErrCDCWriteFailure](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeCASWriteUnknown, Consistency: uint16(gocql.LocalSerial), Received: 1, BlockFor: 2}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrCASWriteUnknown](t, err)
			assert.Equal(t, []any{gocql.LocalSerial, 1, 2}, []any{e.Consistency, e.Received, e.BlockFor})
		}},
		{cassandratest.Error{Code: cassandratest.CodeSyntaxError}, func(t *testing.T, err error) {
			as[*gocql.RequestErrSyntax](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeUnauthorized}, func(t *testing.T, err error) {
			as[*gocql.RequestErrUnauthorized](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeInvalid}, func(t *testing.T, err error) {
			as[*gocql.RequestErrInvalid](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeConfigError}, func(t *testing.T, err error) {
			as[*gocql.RequestErrConfig](t, err)
		}},
		{cassandratest.Error{Code: cassandratest.CodeAlreadyExists, Keyspace: "ks", Table: "t"}, func(t *testing.T, err error) {
			e := as[*gocql.RequestErrAlreadyExists](t, err)
			assert.Equal(t, []any{"ks", "t"}, []any{e.Keyspace, e.Table})
		}},
	} {
		test.answer.Message = "on demand"
		t.Run(test.answer.Error(), func(t *testing.T) {
			check := func(err error) {
				t.Helper()
				failed := as[gocql.RequestError](t, err)
				assert.Equal(t, test.answer.Code, failed.Code())
				assert.Equal(t, "on demand", failed.Message())
				test.check(t, err)
			}
			server := start(t)
			server.Handle("SELECT v FROM t WHERE k = ?", func(*cassandratest.Request) cassandratest.Response { return &test.answer })
			session := connect(t, clusterOf(server))
			check(session.Query("SELECT v FROM t WHERE k = ?", "of a handler").Exec())
			check(session.Batch(gocql.LoggedBatch).Query("SELECT v FROM t WHERE k = ?", "of a handler").Exec())

			server.SetFault(cassandratest.Errors(&test.answer, ""))
			check(session.Query("SELECT v FROM t WHERE k = ?", "of the fault").Exec())
			check(session.Query("SELECT v FROM nowhere").Exec())
			check(session.Batch(gocql.LoggedBatch).Query("DELETE FROM nowhere").Exec())
		})
	}
}

// The twentieth code makes the driver prepare and execute again, for as long as
// it comes: nobody sees it.
func TestUnprepared(t *testing.T) {
	server := start(t)
	var v int
	server.Handle("SELECT v FROM t WHERE k = ?", one(cassandratest.Int, 5))
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeUnprepared}, ""))
	done := make(chan error)
	go func() { done <- session.Query("SELECT v FROM t WHERE k = ?", "x").Scan(&v) }()
	eventually(t, func() bool { return server.Requests() > 5 }, "it is executed over and over again")
	server.SetFault(cassandratest.Fault{})
	require.NoError(t, <-done)
	assert.Equal(t, 5, v)

	server.Handle("DELETE FROM t", func(*cassandratest.Request) cassandratest.Response {
		return &cassandratest.Error{Code: cassandratest.CodeUnprepared}
	})
	ctx, cancel := context.WithCancel(t.Context())
	before := server.Requests()
	go func() { done <- session.Query("DELETE FROM t").ExecContext(ctx) }()
	eventually(t, func() bool { return server.Requests() > before+5 }, "so it is when a handler says it")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// It names the statement, which is how a driver knows what to prepare again.
func TestUnpreparedNamesTheStatement(t *testing.T) {
	server := start(t)
	answer := &cassandratest.Error{Code: cassandratest.CodeUnprepared, Message: "m"}
	server.Handle("DELETE FROM t", func(*cassandratest.Request) cassandratest.Response { return answer })
	c := dial(t, server)
	c.send(startup())
	_, _, _, err := c.receive()
	require.NoError(t, err)
	c.send(request(1, 0x09, []byte("\x00\x00\x00\x0dDELETE FROM t")))
	_, _, body, err := c.receive()
	require.NoError(t, err)
	id := body[4 : 4+2+16]
	execute := request(2, 0x0A, append(bytes.Clone(id), 0, 1, 0))
	want := append([]byte("\x00\x00\x25\x00\x00\x01m"), id...)
	for _, fault := range []cassandratest.Fault{{}, cassandratest.Errors(answer, "")} {
		server.SetFault(fault)
		c.send(execute)
		_, _, body, err = c.receive()
		require.NoError(t, err)
		assert.Equal(t, want, body)
	}
	assert.Nil(t, answer.StatementID, "the handler's error is its own")
	server.Forget()
	server.SetFault(cassandratest.Fault{})
	c.send(execute)
	_, _, body, err = c.receive()
	require.NoError(t, err)
	assert.True(t, bytes.HasSuffix(body, id), "of itself, too")
}

// A code that the driver does not know is no RequestError.
func TestUnknownCode(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: 0xF000}, ""))
	err := session.Query("SELECT v FROM t").Exec()
	require.ErrorContains(t, err, "unknown error code: 0xf000")
	var failed gocql.RequestError
	assert.NotErrorAs(t, err, &failed)
}

func TestMessages(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for _, test := range []struct{ message, want string }{
		{"", "error 0x1001 on demand"},
		{"why", "why"},
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
		{strings.Repeat("x", 1001), strings.Repeat("x", 1000) + "…"},
		{strings.Repeat("é", 1<<20), strings.Repeat("é", 500) + "…"},
		{"x" + strings.Repeat("é", 1<<20), "x" + strings.Repeat("é", 499) + "…"},
	} {
		server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded, Message: test.message}, ""))
		got := as[gocql.RequestError](t, session.Query("SELECT v FROM t").Exec()).Message()
		assert.Equal(t, test.want, got)
		assert.True(t, utf8.ValidString(got))
	}
}
