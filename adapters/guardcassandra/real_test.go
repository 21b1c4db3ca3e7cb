//go:build unix

package guardcassandra_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// A realSession is a session of the driver with the real node, and with the
// dependency that its calls are made to.
type realSession struct {
	*gocql.Session

	dep *guard.Dependency
}

func (s realSession) exec(ctx context.Context, cql string, values ...any) error {
	return guardcassandra.Exec(ctx, s.dep, s.Query(cql, values...))
}

// realErrors are all errors that a healthy node can be made to answer with, and
// what the driver makes of a few that it finds itself.
var realErrors = []struct {
	name string
	code int // 0: it is no answer of Cassandra
	want guard.Outcome
	make func(context.Context, realSession) error
}{
	{"syntax error", gocql.ErrCodeSyntax, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELEKT name FROM visit")
	}},
	{"unconfigured table", gocql.ErrCodeInvalid, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELECT name FROM nowhere")
	}},
	{"unknown column", gocql.ErrCodeInvalid, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELECT nothing FROM visit")
	}},
	{"filtering not allowed", gocql.ErrCodeInvalid, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELECT id FROM visit WHERE name = ?", "x")
	}},
	{"batch too large", gocql.ErrCodeInvalid, answered, func(ctx context.Context, s realSession) error {
		batch := s.Batch(gocql.UnloggedBatch)
		for i := range 8 { // 800 kB, where 640 KiB are the most
			batch.Query(insertVisit, strconv.Itoa(i), strings.Repeat("x", 100_000))
		}
		return guardcassandra.Exec(ctx, s.dep, batch)
	}},
	{"already exists, keyspace", gocql.ErrCodeAlreadyExists, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "CREATE KEYSPACE one WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
	}},
	{"already exists, table", gocql.ErrCodeAlreadyExists, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "CREATE TABLE visit (id text PRIMARY KEY)")
	}},
	{"configuration error", gocql.ErrCodeConfig, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "CREATE KEYSPACE two WITH replication = {'class': 'SimpleStrategy', 'copies': 1}")
	}},
	{"function failure", gocql.ErrCodeFunctionFailure, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELECT broken(id) FROM visit WHERE id = 'taken'")
	}},
	{"unavailable, read", gocql.ErrCodeUnavailable, failed, func(ctx context.Context, s realSession) error {
		return guardcassandra.Exec(ctx, s.dep, s.Query("SELECT id FROM three.visit WHERE id = 'x'").Consistency(gocql.Quorum))
	}},
	{"unavailable, write", gocql.ErrCodeUnavailable, failed, func(ctx context.Context, s realSession) error {
		return guardcassandra.Exec(ctx, s.dep, s.Query("INSERT INTO three.visit (id) VALUES ('x')").Consistency(gocql.Quorum))
	}},
	{"unavailable, serial", gocql.ErrCodeUnavailable, failed, func(ctx context.Context, s realSession) error {
		_, err := guardcassandra.ScanCAS(ctx, s.dep, s.Query("INSERT INTO three.visit (id) VALUES ('x') IF NOT EXISTS").Consistency(gocql.Quorum))
		return err
	}},
	{"read failure, tombstones", gocql.ErrCodeReadFailure, answered, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "SELECT n FROM grave WHERE id = 'x'")
	}},
	{"truncate", gocql.ErrCodeTruncate, ignored, func(ctx context.Context, s realSession) error {
		if err := s.exec(ctx, "TRUNCATE heap"); err != nil {
			return err
		}
		return errTooFast // it has taken less than the 10 ms that are the least
	}},
	{"write failure, change data", gocql.ErrCodeWriteFailure, failed, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, "INSERT INTO feed (id) VALUES ('x')")
	}},
	{"unknown consistency", gocql.ErrCodeProtocol, answered, func(ctx context.Context, s realSession) error {
		return guardcassandra.Exec(ctx, s.dep, s.Query("SELECT id FROM visit").Consistency(gocql.Consistency(99)))
	}},
	{"no row", 0, succeeded, func(ctx context.Context, s realSession) error {
		var name string
		return guardcassandra.Scan(ctx, s.dep, s.Query(selectName, "none"), &name)
	}},
	{"a value of another type", 0, ignored, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, selectName, 7)
	}},
	{"a value too many", 0, ignored, func(ctx context.Context, s realSession) error {
		return s.exec(ctx, selectName, "taken", "taken")
	}},
	{"a column too many", 0, ignored, func(ctx context.Context, s realSession) error {
		var name, more string
		return guardcassandra.Scan(ctx, s.dep, s.Query(selectName, "taken"), &name, &more)
	}},
	{"a column of another type", 0, ignored, func(ctx context.Context, s realSession) error {
		var name int
		return guardcassandra.Scan(ctx, s.dep, s.Query(selectName, "taken"), &name)
	}},
	{"deadline of the guard", 0, failed, func(ctx context.Context, s realSession) error {
		if err := s.dep.Tune(func(c *guard.DependencyConfig) { c.Timeout = time.Microsecond }); err != nil {
			return err
		}
		return s.exec(ctx, selectName, "taken")
	}},
}

var errTooFast = errors.New("it did not fail this time")

// What real Cassandra answers with is judged as the table of the package says.
func TestRealErrors(t *testing.T) {
	c := newRealCassandra(t, "AUTH=1", "JAVA_ARGS=-Dcassandra.config.allow_system_properties=true"+
		" -Dcassandra.settings.user_defined_functions_enabled=true"+
		" -Dcassandra.settings.tombstone_failure_threshold=1000"+
		" -Dcassandra.settings.truncate_request_timeout=10ms"+
		" -Dcassandra.settings.cdc_enabled=true -Dcassandra.settings.cdc_total_space=1MiB")
	as := func(user, password string) *gocql.ClusterConfig {
		cluster := c.cluster()
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: user, Password: password}
		return cluster
	}
	require.NoError(t, c.Start())
	c.awaken(as("cassandra", "cassandra"))
	table := &realTable{head: []string{"error", "code", "type of the driver's", "outcome"}}
	defer table.log(t)

	prepareReal(t, connect(t, as("cassandra", "cassandra")))
	cluster := as("cassandra", "cassandra")
	cluster.Keyspace = "one"
	cluster.Consistency = gocql.One
	super := connect(t, cluster)
	for _, e := range realErrors {
		t.Run(e.name, func(t *testing.T) {
			requireReal(t, table, super, e.name, e.code, e.want, e.make)
		})
	}
	t.Run("unauthorized", func(t *testing.T) {
		cluster := as("weak", "weak")
		cluster.Metadata.CacheMode = gocql.Disabled // it may not even read the schema
		requireReal(t, table, connect(t, cluster), "unauthorized", gocql.ErrCodeUnauthorized, answered, func(ctx context.Context, s realSession) error {
			return s.exec(ctx, "SELECT id FROM one.visit")
		})
	})
	t.Run("bad credentials", func(t *testing.T) { // the driver makes text of the code
		lazy := open(t, func() *gocql.ClusterConfig { return as("cassandra", "wrong") }, guardcassandra.Options{})
		requireReal(t, table, nil, "bad credentials", 0, failed, func(ctx context.Context, s realSession) error {
			_, err := lazy.Session(ctx, s.dep)
			require.ErrorContains(t, lazy.Check(ctx), "and/or password are incorrect")
			return err
		})
	})
	t.Run("CAS", func(t *testing.T) { testRealCAS(t, table, super) })
}

// prepareReal creates what the statements need.
func prepareReal(t *testing.T, session *gocql.Session) {
	t.Helper()
	const replication = " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': %d}"
	for _, cql := range []string{
		"CREATE KEYSPACE one" + fmt.Sprintf(replication, 1),
		"CREATE KEYSPACE three" + fmt.Sprintf(replication, 3),
		"CREATE TABLE one.visit (id text PRIMARY KEY, name text)",
		"CREATE TABLE three.visit (id text PRIMARY KEY)",
		"CREATE TABLE one.feed (id text PRIMARY KEY) WITH cdc = true",
		"CREATE TABLE one.heap (id text PRIMARY KEY)",
		"CREATE TABLE one.counter (id text PRIMARY KEY, n int)",
		"CREATE TABLE one.grave (id text, n int, PRIMARY KEY (id, n))",
		"CREATE FUNCTION one.broken (id text) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS 'return Integer.parseInt(id);'",
		"CREATE ROLE weak WITH LOGIN = true AND PASSWORD = 'weak'",
		"INSERT INTO one.visit (id, name) VALUES ('taken', 'somebody')",
		"INSERT INTO one.counter (id, n) VALUES ('x', 0)",
		"INSERT INTO one.heap (id) VALUES ('x')",
	} {
		require.NoError(t, session.Query(cql).Consistency(gocql.One).ExecContext(t.Context()), "%s", cql)
	}
	for n := range 1001 {
		require.NoError(t, session.Query("DELETE FROM one.grave WHERE id = 'x' AND n = ?", n).Consistency(gocql.One).ExecContext(t.Context()))
	}
}

// requireReal requires that a call comes to an error with the code, and is
// counted as it should be.
func requireReal(t *testing.T, table *realTable, session *gocql.Session, name string, code int, want guard.Outcome, call func(context.Context, realSession) error) {
	t.Helper()
	g, dep := depend(t, guard.DependencyConfig{Timeout: 30 * time.Second})
	err := call(t.Context(), realSession{session, dep})
	if errors.Is(err, errTooFast) {
		t.Skip(err)
	}
	require.Error(t, err)
	var wrapped *guard.DependencyError
	shown, said := "", err
	if want == failed || want == answered {
		require.ErrorAs(t, err, &wrapped, "so that the answer is a 502")
		said = errors.Unwrap(wrapped)
	} else {
		require.NotErrorAs(t, err, &wrapped)
	}
	var answer gocql.RequestError
	if code != 0 {
		require.ErrorAs(t, err, &answer, "%T %v", said, said)
		require.Equal(t, code, answer.Code(), "%v", err)
		shown = fmt.Sprintf("%#04x", code)
	} else {
		require.NotErrorAs(t, err, &answer)
	}
	if name != "deadline of the guard" { // of which the guard itself is the judge
		require.Equal(t, want, guardcassandra.Classify(said), "%T %v", said, said)
	}
	requireCounted(t, g, want)
	table.add(name, shown, fmt.Sprintf("%T", said), fmt.Sprint(want))
	t.Logf("%v", said)
}

// testRealCAS is about conditional statements: one that is not applied is a
// success, and what comes of contention does not count against Cassandra.
func testRealCAS(t *testing.T, table *realTable, session *gocql.Session) {
	g, dep := depend(t, guard.DependencyConfig{Timeout: 30 * time.Second})
	var id, name string
	applied, err := guardcassandra.ScanCAS(t.Context(), dep, session.Query(insertNew, "taken", "me"), &id, &name)
	require.NoError(t, err)
	require.False(t, applied)
	require.Equal(t, "somebody", name)
	batch := session.Batch(gocql.LoggedBatch)
	batch.Query(insertNew, "taken", "me")
	applied, rest, err := guardcassandra.MapExecCAS(t.Context(), dep, batch, map[string]any{})
	require.NoError(t, err)
	require.False(t, applied)
	require.NoError(t, rest.Close())
	require.Equal(t, guard.CallCounts{Succeeded: 2}, callsOf(g))
	table.add("CAS not applied", "", "nil", fmt.Sprint(succeeded))

	g, dep = depend(t, guard.DependencyConfig{Timeout: 30 * time.Second})
	var mu sync.Mutex
	kinds := map[string]int{}
	var contended atomic.Uint64
	stop := under(t, 100, func() {
		applied, err := guardcassandra.ScanCAS(t.Context(), dep, session.Query("UPDATE counter SET n = 1 WHERE id = 'x' IF n = 0"), new(int))
		if err == nil && !applied {
			applied, err = guardcassandra.ScanCAS(t.Context(), dep, session.Query("UPDATE counter SET n = 0 WHERE id = 'x' IF n = 1"), new(int))
		}
		kind := fmt.Sprintf("nil, applied: %v", applied)
		if err != nil {
			kind = fmt.Sprintf("%T", errors.Unwrap(err))
			var timeout *gocql.RequestErrWriteTimeout
			if errors.As(err, &timeout) {
				kind += " " + timeout.WriteType
			}
			if (timeout != nil && timeout.WriteType == "CAS") || errors.As(err, new(*gocql.RequestErrCASWriteUnknown)) {
				contended.Add(1)
			}
		}
		mu.Lock()
		kinds[kind]++
		mu.Unlock()
	})
	eventually(t, func() bool { // a fast machine may know no time-outs
		c := callsOf(g)
		return c.Answered > 0 || c.Succeeded > 1000
	})
	stop()
	counts := callsOf(g)
	require.Equal(t, contended.Load(), counts.Answered, "what comes of contention is answered: %v", kinds)
	table.add("CAS contention", "", fmt.Sprint(kinds), fmt.Sprintf("%d succeeded, %d answered, %d failed", counts.Succeeded, counts.Answered, counts.Failed))
}
