package guardcassandra_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

func TestCalls(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	ctx := t.Context()

	var name string
	require.NoError(t, guardcassandra.Scan(ctx, dep, session.Query(selectName, "7"), &name))
	require.Equal(t, "visit 7", name)

	row := map[string]any{}
	require.NoError(t, guardcassandra.MapScan(ctx, dep, session.Query(selectName, "8"), row))
	require.Equal(t, map[string]any{"name": "visit 8"}, row)

	require.NoError(t, guardcassandra.Exec(ctx, dep, session.Query(insertVisit, "7", "name")))
	require.NoError(t, guardcassandra.Exec(ctx, dep, session.Batch(gocql.LoggedBatch).
		Query(insertVisit, "7", "name").Query(insertVisit, "8", "name")))

	applied, err := guardcassandra.ScanCAS(ctx, dep, session.Query(insertNew, "7", "name"))
	require.NoError(t, err)
	require.True(t, applied)
	var id string
	applied, err = guardcassandra.ScanCAS(ctx, dep, session.Query(insertNew, "taken", "name"), &id, &name)
	require.NoError(t, err)
	require.False(t, applied)
	require.Equal(t, "somebody", name)

	row = map[string]any{}
	applied, err = guardcassandra.MapScanCAS(ctx, dep, session.Query(insertNew, "taken", "name"), row)
	require.NoError(t, err)
	require.False(t, applied)
	require.Equal(t, map[string]any{"id": "taken", "name": "somebody"}, row)

	conditional := func(id string) *gocql.Batch {
		return session.Batch(gocql.LoggedBatch).Query(insertNew, id, "name").Query(insertNew, id, "name")
	}
	applied, rest, err := guardcassandra.ExecCAS(ctx, dep, conditional("7"))
	require.NoError(t, err)
	require.True(t, applied)
	require.NoError(t, rest.Close())
	applied, rest, err = guardcassandra.ExecCAS(ctx, dep, conditional("taken"), &id, &name)
	require.NoError(t, err)
	require.False(t, applied)
	require.Equal(t, "somebody", name)
	require.True(t, rest.Scan(&applied, &id, &name), "the rest is in memory")
	require.Equal(t, "somebody else", name)
	require.NoError(t, rest.Close())

	row = map[string]any{}
	applied, rest, err = guardcassandra.MapExecCAS(ctx, dep, conditional("taken"), row)
	require.NoError(t, err)
	require.False(t, applied)
	require.Equal(t, map[string]any{"id": "taken", "name": "somebody"}, row)
	require.NoError(t, rest.Close())

	require.NoError(t, guardcassandra.Do(ctx, dep, func(ctx context.Context) error {
		rows, err := session.Query(selectNumber).IterContext(ctx).SliceMap()
		require.Len(t, rows, 25)
		return err
	}))
	require.Equal(t, guard.CallCounts{Succeeded: 11}, callsOf(g))
}

// everyCall are calls by all functions, with any statement of the kind.
func everyCall(ctx context.Context, dep *guard.Dependency, query *gocql.Query, batch *gocql.Batch) map[string]func() error {
	row := map[string]any{}
	return map[string]func() error{
		"Do": func() error {
			return guardcassandra.Do(ctx, dep, query.ExecContext)
		},
		"Exec":       func() error { return guardcassandra.Exec(ctx, dep, query) },
		"Exec batch": func() error { return guardcassandra.Exec(ctx, dep, batch) },
		"Scan":       func() error { return guardcassandra.Scan(ctx, dep, query) },
		"MapScan":    func() error { return guardcassandra.MapScan(ctx, dep, query, row) },
		"ScanCAS": func() error {
			_, err := guardcassandra.ScanCAS(ctx, dep, query)
			return err
		},
		"MapScanCAS": func() error {
			_, err := guardcassandra.MapScanCAS(ctx, dep, query, row)
			return err
		},
		"ExecCAS": func() error {
			_, _, err := guardcassandra.ExecCAS(ctx, dep, batch)
			return err
		},
		"MapExecCAS": func() error {
			_, _, err := guardcassandra.MapExecCAS(ctx, dep, batch, row)
			return err
		},
		"NewIter": func() error {
			it, err := guardcassandra.NewIter(ctx, dep, query)
			if err != nil {
				return err
			}
			return it.Close()
		},
	}
}

// An open breaker refuses every kind of call, before the driver sees it.
func TestOpenBreakerRefuses(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{MinCalls: 1})
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
	require.ErrorAs(t, lookup(t.Context(), dep, session), new(*gocql.RequestErrOverloaded))
	require.Equal(t, guard.StateOpen, dep.State())
	reached := server.Requests()

	calls := everyCall(t.Context(), dep, session.Query(selectName, "7"), session.Batch(gocql.LoggedBatch).Query(insertVisit, "7", "n"))
	for name, call := range calls {
		err := call()
		require.ErrorIs(t, err, guard.ErrOpen, name)
		w := httptest.NewRecorder()
		g.WriteError(w, httptest.NewRequest(http.MethodGet, "/", nil), err)
		require.Equal(t, http.StatusBadGateway, w.Code, name)
		require.NotEmpty(t, w.Header().Get("Retry-After"), name)
	}
	require.Equal(t, reached, server.Requests())
	require.Equal(t, guard.CallCounts{Failed: 1, Open: uint64(len(calls))}, callsOf(g))
}

// The Timeout reaches the driver, whose own is longer, with every kind of call.
func TestTimeoutReachesTheDriver(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Slow(time.Hour))
	other := context.WithoutCancel(t.Context())                                               // of the statement, to be disregarded
	query := session.Query(selectName, "7").WithContext(other)                                //nolint:staticcheck // it is there to be disregarded
	batch := session.Batch(gocql.LoggedBatch).Query(insertVisit, "7", "n").WithContext(other) //nolint:staticcheck // it is there to be disregarded
	g, dep := depend(t, guard.DependencyConfig{Timeout: 50 * time.Millisecond, MinCalls: 1000})
	calls := everyCall(t.Context(), dep, query, batch)
	for name, call := range calls {
		err := call()
		require.ErrorIs(t, err, guard.ErrTimeout, name)
		require.NotErrorIs(t, err, gocql.ErrTimeoutNoResponse, name)
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
	}
	require.Equal(t, guard.CallCounts{Failed: uint64(len(calls))}, callsOf(g))
}

// Who hangs up is not Cassandra's fault.
func TestCancellationIsIgnored(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	asked := make(chan struct{})
	server.Handle(selectName, func(q *cassandratest.Request) cassandratest.Response {
		asked <- struct{}{}
		<-q.Done()
		return cassandratest.Void{}
	})
	g, dep := depend(t, guard.DependencyConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lookup(ctx, dep, session) }()
	<-asked
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	requireCounted(t, g, ignored)
}

// Mistakes are errors, and not calls.
func TestMistakes(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	ctx, query := t.Context(), session.Query(selectName, "7")
	batch := session.Batch(gocql.LoggedBatch).Query(insertVisit, "7", "n")
	var noQuery *gocql.Query
	var noBatch *gocql.Batch

	nils := everyCall(ctx, dep, noQuery, noBatch)
	nils["Do"] = func() error { return guardcassandra.Do(ctx, dep, nil) }
	for name, call := range nils {
		err := call()
		require.ErrorContains(t, err, "nil", name)
		require.NotErrorIs(t, err, context.Canceled, name)
	}
	require.ErrorContains(t, guardcassandra.Exec(ctx, dep, nil), "nil statement")
	_, err := guardcassandra.NewIter(ctx, dep, nil)
	require.ErrorContains(t, err, "nil statement")
	require.ErrorContains(t, guardcassandra.MapScan(ctx, dep, query, nil), "nil map")
	_, err = guardcassandra.MapScanCAS(ctx, dep, query, nil)
	require.ErrorContains(t, err, "nil map")
	_, _, err = guardcassandra.MapExecCAS(ctx, dep, batch, nil)
	require.ErrorContains(t, err, "nil map")
	for name, call := range everyCall(ctx, nil, query, batch) {
		require.ErrorContains(t, call(), "the dependency is nil", name)
	}
	var noContext context.Context
	for name, call := range everyCall(noContext, dep, query, batch) {
		require.ErrorContains(t, call(), "the context is nil", name)
	}
	require.Zero(t, callsOf(g))
	require.Zero(t, server.Requests())
}

// One breaker for each class of operations: what fails writes fails no reads.
func TestBreakersPerClass(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, reads := depend(t, guard.DependencyConfig{MinCalls: 1})
	writes, err := g.Dependency("cassandra writes", guard.DependencyConfig{MinCalls: 1, Classify: guardcassandra.Classify})
	require.NoError(t, err)
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeCDCWriteFailure}, "INSERT"))
	write := session.Query(insertVisit, "7", "n")
	require.ErrorAs(t, guardcassandra.Exec(t.Context(), writes, write), new(*gocql.RequestErrCDCWriteFailure))
	require.ErrorIs(t, guardcassandra.Exec(t.Context(), writes, write), guard.ErrOpen)
	require.NoError(t, lookup(t.Context(), reads, session))
}

// What is not there is an answer, that the application makes of it what it likes.
func TestNotFoundIsAnAnswer(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{MinCalls: 1})
	for range 20 {
		err := guardcassandra.Scan(t.Context(), dep, session.Query(selectName, "none"), new(string))
		require.Equal(t, gocql.ErrNotFound, err, "it comes back untouched")
	}
	require.Equal(t, guard.CallCounts{Succeeded: 20}, callsOf(g))
}
