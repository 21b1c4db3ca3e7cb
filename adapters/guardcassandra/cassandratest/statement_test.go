package cassandratest_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

func TestPreparedStatement(t *testing.T) {
	server := start(t)
	var got cassandratest.Request
	server.Handle("SELECT v FROM visit WHERE id = ? AND day = ?;", func(q *cassandratest.Request) cassandratest.Response {
		got = *q
		return one(cassandratest.Text, "of "+q.Values[0].Text())(q)
	}, cassandratest.Text, cassandratest.Int)
	session := connect(t, clusterOf(server))

	var v string
	query := session.Query("SELECT v\n\tFROM visit  WHERE id = ? AND day = ?", "ann", 7).Consistency(gocql.LocalQuorum).PageSize(50)
	require.NoError(t, query.Scan(&v))
	assert.Equal(t, "of ann", v)
	assert.Equal(t, "SELECT v FROM visit WHERE id = ? AND day = ?", got.Statement)
	assert.Equal(t, uint16(gocql.LocalQuorum), got.Consistency)
	assert.Equal(t, 50, got.PageSize)
	assert.Nil(t, got.PageState)
	assert.Empty(t, got.Keyspace)
	assert.False(t, got.Batch)
	assert.Nil(t, got.Statements)
	day, err := got.Values[1].Int()
	require.NoError(t, err)
	assert.Equal(t, int64(7), day)

	require.NoError(t, session.Query("SELECT v FROM visit WHERE id = ? AND day = ?", nil, gocql.UnsetValue).Scan(&v))
	assert.Equal(t, []cassandratest.Value{{}, {Unset: true}}, got.Values)
	assert.Equal(t, 2, server.Requests(), "prepares and the system tables do not count")
}

func TestSessionWithKeyspace(t *testing.T) {
	server := start(t)
	var keyspace string
	server.Handle("SELECT v FROM t", func(q *cassandratest.Request) cassandratest.Response {
		keyspace = q.Keyspace
		return cassandratest.Void{}
	})
	cluster := clusterOf(server)
	cluster.Keyspace = "Visits"
	require.NoError(t, connect(t, cluster).Query("SELECT v FROM t").Exec())
	assert.Equal(t, "Visits", keyspace, "quoted names keep their case")
	assert.Equal(t, 1, server.Requests(), "USE does not count")
}

func TestPages(t *testing.T) {
	server := start(t)
	var pages []int
	server.Handle("SELECT n FROM numbers", func(q *cassandratest.Request) cassandratest.Response {
		rows := cassandratest.Rows{Columns: []cassandratest.Column{{Name: "n", Type: cassandratest.BigInt}}}
		for n := range 25 {
			rows.Values = append(rows.Values, []any{n})
		}
		page := rows.Page(q)
		if r, ok := page.(cassandratest.Rows); ok {
			pages = append(pages, len(r.Values))
		}
		return page
	})
	session := connect(t, clusterOf(server))
	for _, test := range []struct {
		size int
		want []int
	}{
		{10, []int{10, 10, 5}},
		{5, []int{5, 5, 5, 5, 5}},
		{24, []int{24, 1}},
		{25, []int{25}},
		{1000, []int{25}},
	} {
		pages = nil
		iter := session.Query("SELECT n FROM numbers").PageSize(test.size).Iter()
		var n, next int
		for iter.Scan(&n) {
			require.Equal(t, next, n)
			next++
		}
		require.NoError(t, iter.Close())
		assert.Equal(t, 25, next)
		assert.Equal(t, test.want, pages, "page size %d", test.size)
	}

	var invalid *gocql.RequestErrInvalid
	err := session.Query("SELECT n FROM numbers").PageState([]byte("none of ours")).Exec()
	require.ErrorAs(t, err, &invalid)
	iter := session.Query("SELECT n FROM numbers").PageState([]byte{255, 255, 255, 255}).Iter()
	assert.Zero(t, iter.NumRows(), "beyond the end")
	require.NoError(t, iter.Close())
}

func TestBatch(t *testing.T) {
	server := start(t)
	var got cassandratest.Request
	server.Handle("INSERT INTO a (k) VALUES (?)", func(q *cassandratest.Request) cassandratest.Response {
		got = *q
		return cassandratest.Void{}
	}, cassandratest.Text)
	server.Handle("INSERT INTO b (k, n) VALUES (?, ?)", void, cassandratest.Text, cassandratest.Int)
	server.Handle("DELETE FROM c", void)
	session := connect(t, clusterOf(server))

	batch := session.Batch(gocql.LoggedBatch).
		Query("INSERT INTO a (k) VALUES (?)", "x").
		Query("INSERT INTO b (k, n) VALUES (?, ?)", "y", 3).
		Query("DELETE FROM  c")
	batch.Consistency(gocql.EachQuorum)
	require.NoError(t, batch.Exec())
	assert.True(t, got.Batch)
	assert.Equal(t, uint16(gocql.EachQuorum), got.Consistency)
	assert.Equal(t, "INSERT INTO a (k) VALUES (?)", got.Statement)
	assert.Equal(t, "x", got.Values[0].Text())
	require.Len(t, got.Statements, 3)
	assert.Equal(t, "INSERT INTO b (k, n) VALUES (?, ?)", got.Statements[1].Text)
	assert.Equal(t, "y", got.Statements[1].Values[0].Text())
	assert.Equal(t, cassandratest.Statement{Text: "DELETE FROM c"}, got.Statements[2])
	assert.Equal(t, 1, server.Requests(), "a batch is one statement")

	var invalid *gocql.RequestErrInvalid
	err := session.Batch(gocql.UnloggedBatch).Query("DELETE FROM c").Query("DELETE FROM nowhere").Exec()
	require.ErrorAs(t, err, &invalid)
	assert.Contains(t, invalid.Message(), "DELETE FROM nowhere")
}

func TestConditions(t *testing.T) {
	server := start(t)
	applied := true
	cas := func(*cassandratest.Request) cassandratest.Response { return cassandratest.Applied(applied) }
	server.Handle("INSERT INTO a (k) VALUES (?) IF NOT EXISTS", cas)
	server.Handle("UPDATE a SET n = 2 WHERE k = 'x' IF n = 1", func(*cassandratest.Request) cassandratest.Response {
		return cassandratest.Rows{
			Columns: []cassandratest.Column{{Name: "[applied]", Type: cassandratest.Boolean}, {Name: "n", Type: cassandratest.Int}},
			Values:  [][]any{{false, 5}},
		}
	})
	session := connect(t, clusterOf(server))
	for _, applied = range []bool{true, false} {
		got, err := session.Query("INSERT INTO a (k) VALUES (?) IF NOT EXISTS", "x").ScanCAS()
		require.NoError(t, err)
		assert.Equal(t, applied, got)

		got, iter, err := session.Batch(gocql.LoggedBatch).Query("INSERT INTO a (k) VALUES (?) IF NOT EXISTS", "x").ExecCAS()
		require.NoError(t, err)
		require.NoError(t, iter.Close())
		assert.Equal(t, applied, got)
	}
	var n int
	got, err := session.Query("UPDATE a SET n = 2 WHERE k = 'x' IF n = 1").ScanCAS(&n)
	require.NoError(t, err)
	assert.False(t, got)
	assert.Equal(t, 5, n, "the present value comes along")
}

func TestUnknownStatement(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for _, statement := range []string{
		"SELECT a FROM nowhere WHERE k = 'x'", // the driver prepares it
		"TRUNCATE nowhere",                    // not this
		"SELECT a FROM system.nothing",
		"SELECT a FROM system.local",
		"SELECT * FROM system_schema.tables",
	} {
		var invalid *gocql.RequestErrInvalid
		require.ErrorAs(t, session.Query(statement).Exec(), &invalid, statement)
		assert.Contains(t, invalid.Message(), statement)
	}
	assert.Equal(t, 1, server.Requests(), "what cannot be executed cannot be prepared")

	server.Handle("TRUNCATE a", void)
	require.NoError(t, session.Query("TRUNCATE a").Exec())
	server.Handle("TRUNCATE a", nil)
	require.Error(t, session.Query("TRUNCATE a").Exec())
	server.Handle("SELECT * FROM system_schema.tables", void)
	require.NoError(t, session.Query("SELECT * FROM system_schema.tables").Exec(), "a handler comes first")
}

// The server forgets what was prepared, as a new node has; the driver notices
// nothing but that it must prepare again.
func TestForget(t *testing.T) {
	server := start(t)
	server.Handle("SELECT v FROM t WHERE k = ?", one(cassandratest.Int, 5))
	server.Handle("DELETE FROM t WHERE k = ?", void)
	session := connect(t, clusterOf(server))
	for range 3 {
		var v int
		require.NoError(t, session.Query("SELECT v FROM t WHERE k = ?", "x").Scan(&v))
		require.NoError(t, session.Batch(gocql.LoggedBatch).Query("DELETE FROM t WHERE k = ?", "x").Query("DELETE FROM t WHERE k = ?", "y").Exec())
		server.Forget()
	}
	assert.Equal(t, 6+4, server.Requests(), "two rounds with each statement executed twice")
}

// More statements than are kept prepared still work.
func TestManyStatements(t *testing.T) {
	const many = 4096 + 100
	server := start(t)
	statement := func(i int) string { return "SELECT v FROM t" + strconv.Itoa(i) }
	for i := range many {
		server.Handle(statement(i), one(cassandratest.Int, i))
	}
	cluster := clusterOf(server)
	cluster.MaxPreparedStmts = 2 * many
	session := connect(t, cluster)
	for range 2 {
		for i := range many {
			var v int
			require.NoError(t, session.Query(statement(i)).Scan(&v))
			require.Equal(t, i, v)
		}
	}
	assert.Equal(t, 4096, server.Prepared())
}

func TestHandlerThatFails(t *testing.T) {
	server := start(t)
	rows := func(values ...[]any) cassandratest.Rows {
		return cassandratest.Rows{Columns: []cassandratest.Column{{Name: "name", Type: cassandratest.Int}}, Values: values}
	}
	handler := func(r cassandratest.Response) cassandratest.Handler {
		return func(*cassandratest.Request) cassandratest.Response { return r }
	}
	var none *cassandratest.Error
	tooLong := math.MaxInt32
	tooLong++ // which 32 bits hold, as another number
	for name, test := range map[string]struct {
		handler cassandratest.Handler
		says    string
	}{
		"panics":             {func(*cassandratest.Request) cassandratest.Response { panic("oh\xff") }, "the handler panicked: oh?"},
		"nothing":            {handler(nil), "no response"},
		"no error":           {handler(none), "no response"},
		"wrong value":        {handler(rows([]any{1}, []any{"seven"})), `row 1, column "name": cassandratest: string(seven) is no int`},
		"too few values":     {handler(rows([]any{})), "row 0 has 0 values, want 1"},
		"no such type":       {handler(cassandratest.Rows{Columns: []cassandratest.Column{{Name: "c", Type: 99}}}), `column "c" is of Type(99)`},
		"name too long":      {handler(cassandratest.Rows{Columns: []cassandratest.Column{{Name: strings.Repeat("x", 1<<16)}}}), "65536 of them"},
		"error out of range": {handler(&cassandratest.Error{Code: cassandratest.CodeUnavailable, Alive: tooLong}), "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			if strconv.IntSize == 32 && name == "error out of range" {
				t.Skip("every int fits")
			}
			session := connect(t, clusterOf(server))
			server.Handle("SELECT v FROM t", test.handler)
			var failed gocql.RequestError
			require.ErrorAs(t, session.Query("SELECT v FROM t").Exec(), &failed)
			assert.Equal(t, cassandratest.CodeServerError, failed.Code())
			assert.Contains(t, failed.Message(), test.says)
			server.Handle("SELECT v FROM t", void)
			require.NoError(t, session.Query("SELECT v FROM t").Exec(), "the server goes on")
		})
	}
}

// A handler that ends its goroutine, as FailNow does, answers nothing, but the
// server goes on and can be closed.
func TestHandlerThatExits(t *testing.T) {
	server := start(t)
	server.Handle("SELECT v FROM t", func(*cassandratest.Request) cassandratest.Response {
		runtime.Goexit()
		return nil
	})
	cluster := clusterOf(server)
	session := connect(t, cluster)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- session.Query("SELECT v FROM t").ExecContext(ctx) }()
	eventually(t, func() bool { return server.Requests() == 1 }, "the statement arrives")
	cancel()
	require.ErrorIs(t, <-failed, ctx.Err())
	server.Handle("SELECT v FROM t", void)
	require.NoError(t, session.Query("SELECT v FROM t").Exec())
}

func TestMarkers(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for statement, markers := range map[string]int{
		"SELECT v FROM t": 0,
		"SELECT v FROM t WHERE a = ? AND b IN (?,?)":     3,
		"SELECT v FROM t WHERE a = '?' AND b = ?":        1,
		"SELECT v FROM t WHERE a = 'it''s ?' AND b = ?":  1,
		`SELECT "v?" FROM "t?" WHERE "a?" = ?`:           1,
		"SELECT v /* why? */ FROM t WHERE a = ?":         1,
		"SELECT v FROM t WHERE a = ? AND b = 'not ended": 1,
		"SELECT v FROM t WHERE a = ? /* not ended ?":     1,
		"SELECT a-?/2 FROM t":                            1,
	} {
		server.Handle(statement, void)
		values := make([]any, markers)
		require.NoError(t, session.Query(statement, values...).Exec(), statement)
		require.Error(t, session.Query(statement, append(values, nil)...).Exec(), statement)
		require.Panics(t, func() { server.Handle(statement, void, make([]cassandratest.Type, markers+1)...) }, statement)
	}
}

func TestManyAtOnce(t *testing.T) {
	const sessions, workers, each = 3, 20, 50
	server := start(t)
	server.Handle("SELECT v FROM t WHERE k = ?", func(q *cassandratest.Request) cassandratest.Response {
		return one(cassandratest.Text, q.Values[0].Text())(q)
	})
	server.Handle("INSERT INTO t (k) VALUES (?)", void)
	failures := make(chan error, sessions*workers)
	var group sync.WaitGroup
	for range sessions {
		session := connect(t, clusterOf(server))
		for w := range workers {
			group.Go(func() {
				for i := range each {
					want, got := strconv.Itoa(w*each+i), ""
					err := session.Query("SELECT v FROM t WHERE k = ?", want).Scan(&got)
					if err == nil && got != want {
						err = errors.New("the answer to " + want + " is " + got)
					}
					if err == nil {
						err = session.Batch(gocql.UnloggedBatch).Query("INSERT INTO t (k) VALUES (?)", want).Exec()
					}
					if err != nil {
						failures <- err
						return
					}
				}
			})
		}
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	assert.Equal(t, 2*sessions*workers*each, server.Requests())
}
