package guardcassandra_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// The driver turns each code into the error that the breaker judges.
func TestServerErrors(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for _, c := range codes {
		if c.code == gocql.ErrCodeUnprepared {
			continue // the driver never hands it on
		}
		t.Run(fmt.Sprintf("%#04x", c.code), func(t *testing.T) {
			g, dep := depend(t, guard.DependencyConfig{})
			server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: c.code, Required: 2, Alive: 1, BlockFor: 2, NumFailures: 1}, "visit"))
			err := lookup(t.Context(), dep, session)
			require.Error(t, err)
			var answer gocql.RequestError
			if c.code != 0xF000 {
				require.ErrorAs(t, err, &answer)
				require.Equal(t, c.code, answer.Code())
			}
			if c.want != ignored { // which comes back untouched
				require.ErrorAs(t, err, new(*guard.DependencyError))
				err = errors.Unwrap(err)
			}
			require.Equal(t, c.want, guardcassandra.Classify(err), "%v", err)
			requireCounted(t, g, c.want)
		})
	}
	t.Run("CAS", func(t *testing.T) {
		g, dep := depend(t, guard.DependencyConfig{})
		server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: gocql.ErrCodeWriteTimeout, WriteType: "CAS"}, "IF NOT EXISTS"))
		_, err := guardcassandra.ScanCAS(t.Context(), dep, session.Query(insertNew, "7", "name"))
		var timeout *gocql.RequestErrWriteTimeout
		require.ErrorAs(t, err, &timeout)
		requireCounted(t, g, answered)
	})
}

// requireCounted requires that there was one call, with this outcome.
func requireCounted(t *testing.T, g *guard.Guard, want guard.Outcome) {
	t.Helper()
	counts := map[guard.Outcome]guard.CallCounts{succeeded: {Succeeded: 1}, failed: {Failed: 1}, answered: {Answered: 1}, ignored: {Ignored: 1}}
	require.Equal(t, counts[want], callsOf(g), "want one call that %v", want)
}

// A client's errors, made by the driver itself: if it changes the texts that are
// matched, this fails.
func TestDriversErrors(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	big := session.Batch(gocql.UnloggedBatch)
	for range gocql.BatchSizeMaximum + 1 {
		big.Query(insertVisit, "7", "name")
	}
	for name, c := range map[string]struct {
		call func(*guard.Dependency) error
		want guard.Outcome
		is   error // what it must match, or nil
		text string
	}{
		"no row": {func(d *guard.Dependency) error {
			return guardcassandra.Scan(t.Context(), d, session.Query(selectName, "none"), new(string))
		}, succeeded, gocql.ErrNotFound, ""},
		"too few values": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query(insertVisit, "7"))
		}, ignored, nil, "expected 2 values send got 1"},
		"too few values in a batch": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Batch(gocql.LoggedBatch).Query(insertVisit, "7"))
		}, ignored, nil, "batch statement 0 expected 2 values send got 1"},
		"named value in a batch": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Batch(gocql.LoggedBatch).Query(insertVisit, gocql.NamedValue("id", "7"), "name"))
		}, ignored, nil, "named query values are not supported in batches"},
		"too many columns": {func(d *guard.Dependency) error {
			return guardcassandra.Scan(t.Context(), d, session.Query(selectName, "7"), new(string), new(string))
		}, ignored, nil, "not enough columns to scan into"},
		"scan without next": {func(d *guard.Dependency) error {
			return d.Do(t.Context(), func(ctx context.Context) error {
				return session.Query(selectName, "7").IterContext(ctx).Scanner().Scan(new(string))
			})
		}, ignored, nil, "Scan called without calling Next"},
		"a value of the wrong type": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query(insertVisit, struct{}{}, "name"))
		}, ignored, nil, "can not marshal"},
		"a column of the wrong type": {func(d *guard.Dependency) error {
			return guardcassandra.Scan(t.Context(), d, session.Query(selectName, "7"), new(struct{}))
		}, ignored, nil, "can not unmarshal"},
		"USE": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query("USE visits"))
		}, ignored, gocql.ErrUseStmt, ""},
		"too many statements": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, big)
		}, ignored, gocql.ErrTooManyStmts, ""},
		"no such statement": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query("SELECT nothing FROM nowhere"))
		}, answered, nil, ""},
		"no such host": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query(selectName, "7").SetHostID("nobody"))
		}, failed, gocql.ErrNoConnections, ""},
		"unknown retry type": {func(d *guard.Dependency) error {
			return guardcassandra.Exec(t.Context(), d, session.Query("SELECT nothing FROM nowhere").Idempotent(true).RetryPolicy(oddPolicy{}))
		}, ignored, gocql.ErrUnknownRetryType, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g, dep := depend(t, guard.DependencyConfig{})
			err := c.call(dep)
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.Contains(t, err.Error(), c.text)
			requireCounted(t, g, c.want)
		})
	}
}

type oddPolicy struct{}

func (oddPolicy) Attempt(gocql.RetryableQuery) bool  { return true }
func (oddPolicy) GetRetryType(error) gocql.RetryType { return 99 }

// What a broken connection or a broken server make of calls are failures.
func TestBrokenConnections(t *testing.T) {
	for name, c := range map[string]struct {
		fault cassandratest.Fault
		is    error
	}{
		"down":     {cassandratest.Down(), nil},
		"hang":     {cassandratest.Hang(), gocql.ErrTimeoutNoResponse},
		"half":     {cassandratest.DropMidFrame(), nil},
		"garbage":  {cassandratest.Garbage(), nil},
		"too slow": {cassandratest.Slow(time.Hour), gocql.ErrTimeoutNoResponse},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			cluster := clusterOf(server)
			cluster.Timeout = 100 * time.Millisecond
			session := connect(t, cluster)
			g, dep := depend(t, guard.DependencyConfig{MinCalls: 1000})
			require.NoError(t, lookup(t.Context(), dep, session))
			server.SetFault(c.fault)
			for range 3 {
				err := lookup(t.Context(), dep, session)
				require.Error(t, err)
				if c.is != nil && !errors.Is(err, c.is) {
					require.True(t, strings.Contains(err.Error(), "EOF") || errors.Is(err, gocql.ErrNoConnections), "%v", err)
				}
			}
			require.Equal(t, guard.CallCounts{Succeeded: 1, Failed: 3}, callsOf(g))
		})
	}
}

// A server that has forgotten the statement is asked again by the driver.
func TestUnpreparedNeverSurfaces(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	for range 3 {
		require.NoError(t, lookup(t.Context(), dep, session))
		server.Forget()
	}
	require.Equal(t, guard.CallCounts{Succeeded: 3}, callsOf(g))
}
