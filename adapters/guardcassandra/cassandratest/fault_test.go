package cassandratest_test

import (
	"context"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// serving returns a server that has a statement, a session, and a function that
// executes the statement.
func serving(t *testing.T, change func(*gocql.ClusterConfig)) (*cassandratest.Server, *gocql.Session, func() error) {
	t.Helper()
	server := start(t)
	server.Handle("SELECT v FROM t WHERE k = ?", one(cassandratest.Int, 5))
	cluster := clusterOf(server)
	if change != nil {
		change(cluster)
	}
	session := connect(t, cluster)
	execute := func() error {
		var v int
		return session.Query("SELECT v FROM t WHERE k = ?", "x").Scan(&v)
	}
	require.NoError(t, execute())
	return server, session, execute
}

// recovers waits until the statement is answered again.
//
// Version 2.1.2 of the driver marks a host that is down in two steps, and if a
// connection is made between them, ends with a host that it takes for up and has
// no connections to. Then it looks again when it loses the control connection.
func recovers(t *testing.T, server *cassandratest.Server, execute func() error) {
	t.Helper()
	bounce := time.Now().Add(2 * time.Second)
	eventually(t, func() bool {
		if time.Now().After(bounce) {
			bounce = bounce.Add(2 * time.Second)
			server.Stop()
			require.NoError(t, server.Restart())
		}
		return execute() == nil
	}, "it recovers")
}

func TestDown(t *testing.T) {
	server, _, execute := serving(t, nil)
	server.SetFault(cassandratest.Down())
	assert.Zero(t, server.OpenConnections())
	before := server.Requests()
	for range 5 {
		require.Error(t, execute())
	}
	assert.Equal(t, before, server.Requests(), "nothing arrives")
	arrived := server.Connections()
	_, err := clusterOf(server).CreateSession()
	require.ErrorContains(t, err, "unable to create session")
	assert.Greater(t, server.Connections(), arrived, "they arrive, and are closed")
	assert.Zero(t, server.OpenConnections())

	server.SetFault(cassandratest.Fault{})
	recovers(t, server, execute)
}

func TestHang(t *testing.T) {
	server, _, execute := serving(t, func(c *gocql.ClusterConfig) { c.Timeout = 50 * time.Millisecond })
	server.SetFault(cassandratest.Hang())
	before := server.Requests()
	require.ErrorIs(t, execute(), gocql.ErrTimeoutNoResponse)
	assert.Equal(t, before+1, server.Requests(), "it arrives")
	assert.Positive(t, server.OpenConnections())

	cluster := clusterOf(server)
	cluster.ConnectTimeout = 50 * time.Millisecond
	_, err := cluster.CreateSession()
	require.ErrorContains(t, err, "unable to create session", "handshakes are not answered")

	server.SetFault(cassandratest.Fault{})
	recovers(t, server, execute)
}

func TestSlow(t *testing.T) {
	server, session, execute := serving(t, nil)
	const slow = 30 * time.Millisecond
	server.SetFault(cassandratest.Slow(slow))
	began := time.Now()
	require.NoError(t, execute())
	assert.GreaterOrEqual(t, time.Since(began), slow)

	server.SetFault(cassandratest.Slow(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), slow)
	defer cancel()
	require.ErrorIs(t, session.Query("SELECT v FROM t WHERE k = ?", "x").ExecContext(ctx), context.DeadlineExceeded)
	connect(t, clusterOf(server)) // which only waits for the handshake and the system tables

	server.SetFault(cassandratest.Slow(-1))
	require.NoError(t, execute())
	server.SetFault(cassandratest.Fault{})
	require.NoError(t, execute())
}

func TestErrorsForSome(t *testing.T) {
	server, session, execute := serving(t, nil)
	server.Handle("INSERT INTO t (k) VALUES (?)", void)
	insert := func() error { return session.Query("INSERT INTO t (k) VALUES (?)", "x").Exec() }
	answer := &cassandratest.Error{Code: cassandratest.CodeOverloaded}
	server.SetFault(cassandratest.Errors(answer, "INSERT  INTO\nt"))
	answer.Code = 0 // the fault has a copy
	var overloaded *gocql.RequestErrOverloaded
	require.NoError(t, execute())
	require.ErrorAs(t, insert(), &overloaded)
	require.ErrorAs(t, session.Batch(gocql.LoggedBatch).Query("SELECT v FROM t WHERE k = ?", "x").Query("INSERT INTO t (k) VALUES (?)", "x").Exec(), &overloaded)

	server.SetFault(cassandratest.Errors(answer, "system.local"))
	_, err := clusterOf(server).CreateSession()
	require.ErrorContains(t, err, "unable to create session", "if they are named, the driver's own statements fail")
	require.NoError(t, insert())

	server.SetFault(cassandratest.Errors(nil, ""))
	var failed gocql.RequestError
	require.ErrorAs(t, insert(), &failed)
	assert.Equal(t, cassandratest.CodeServerError, failed.Code())
	connect(t, clusterOf(server))

	server.SetFault(cassandratest.Fault{})
	require.NoError(t, insert())
}

// The driver reads the answer's header, and half of the rest.
func TestDropMidFrame(t *testing.T) {
	server, _, execute := serving(t, nil)
	server.SetFault(cassandratest.DropMidFrame())
	require.ErrorContains(t, execute(), "unable to read frame body")
	connect(t, clusterOf(server)) // the fault is one of statements

	server.SetFault(cassandratest.Fault{})
	recovers(t, server, execute)
}

func TestGarbage(t *testing.T) {
	server, _, execute := serving(t, nil)
	server.SetFault(cassandratest.Garbage())
	require.ErrorContains(t, execute(), "unsupported protocol response version: 72")
	connect(t, clusterOf(server)) // the fault is one of statements

	server.SetFault(cassandratest.Fault{})
	recovers(t, server, execute)
}

func TestFlapping(t *testing.T) {
	server, _, execute := serving(t, nil)
	server.SetFault(cassandratest.Flapping(20*time.Millisecond, 50*time.Millisecond))
	for range 2 {
		eventually(t, func() bool { return !answers(t, server) }, "it goes down")
		eventually(t, func() bool { return answers(t, server) }, "it comes up")
	}
	server.SetFault(cassandratest.Flapping(0, time.Hour))
	eventually(t, func() bool { return answers(t, server) }, "it comes up")
	recovers(t, server, execute)
	server.SetFault(cassandratest.Flapping(time.Hour, 0))
	require.Error(t, execute(), "it begins with down")
	server.SetFault(cassandratest.Fault{})
	recovers(t, server, execute)
}

// Whatever the fault, an end and a new beginning of the process end in a server
// that serves, and the driver finds it.
func TestRestart(t *testing.T) {
	server, _, execute := serving(t, nil)
	addr := server.Addr()
	for range 3 {
		require.ErrorContains(t, server.Restart(), "the server is running")
		server.Stop()
		server.Stop()
		assert.Zero(t, server.OpenConnections())
		require.Error(t, execute())
		assert.False(t, answers(t, server))
		require.NoError(t, server.Restart())
		assert.Equal(t, addr, server.Addr())
		recovers(t, server, execute)
	}
}

// What is being answered when the process ends is never answered.
func TestStopLosesAnswers(t *testing.T) {
	server, session, execute := serving(t, nil)
	began, let := make(chan struct{}), make(chan struct{})
	server.Handle("DELETE FROM t", func(q *cassandratest.Request) cassandratest.Response {
		close(began)
		<-q.Done()
		<-let
		return cassandratest.Void{}
	})
	failed := make(chan error)
	go func() { failed <- session.Query("DELETE FROM t").Exec() }()
	<-began
	server.Stop() // which does not wait for the handler
	require.Error(t, <-failed)
	close(let)
	require.NoError(t, server.Restart())
	recovers(t, server, execute)
}

func TestClose(t *testing.T) {
	server := start(t)
	handling := make(chan struct{})
	server.Handle("DELETE FROM t", func(q *cassandratest.Request) cassandratest.Response {
		close(handling)
		<-q.Done()
		return cassandratest.Void{}
	})
	server.SetFault(cassandratest.Flapping(time.Millisecond, time.Hour))
	eventually(t, func() bool { return answers(t, server) }, "it comes up")
	session := connect(t, clusterOf(server))
	failed := make(chan error)
	go func() { failed <- session.Query("DELETE FROM t").Exec() }()
	<-handling
	require.NoError(t, server.Close())
	require.Error(t, <-failed)
	require.NoError(t, server.Close())
	require.ErrorContains(t, server.Restart(), "the server is closed")
	server.SetFault(cassandratest.Flapping(time.Millisecond, time.Millisecond)) // starts nothing
	server.Stop()
	assert.False(t, answers(t, server))
}
