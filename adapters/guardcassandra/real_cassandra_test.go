//go:build unix

package guardcassandra_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandra"
)

// startTime is how long a real Cassandra may take to start: it is done in 20 s
// where nothing else runs.
const startTime = 3 * time.Minute

// A realCassandra is a node on loopback that the tests start.
type realCassandra struct {
	*cassandra.Node

	tb testing.TB
}

// newRealCassandra prepares a node with settings of the environment, and does
// not start it. Without GUARD_CASSANDRA it skips the test.
func newRealCassandra(t *testing.T, settings ...string) *realCassandra {
	t.Helper()
	script := os.Getenv("GUARD_CASSANDRA")
	if script == "" {
		t.Skip("this starts a real Cassandra, with bash, Java 17 and Maven: run scripts/cassandra-tests.sh at the " +
			"repository's root, or set GUARD_CASSANDRA to the path of adapters/guardcassandra/cassandra/cassandra.sh")
	}
	log, err := os.CreateTemp(t.TempDir(), "cassandra-*.log")
	require.NoError(t, err)
	node, err := cassandra.New(script, t.TempDir(), log, settings...)
	require.NoError(t, err)
	t.Cleanup(func() {
		node.Kill()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the node's log:\n%s", text[max(0, len(text)-4096):])
		}
	})
	return &realCassandra{node, t}
}

// awaken waits until the node answers a query.
func (c *realCassandra) awaken(cluster *gocql.ClusterConfig) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), startTime)
	defer cancel()
	require.NoError(c.tb, c.Await(ctx))
	require.Eventually(c.tb, func() bool { // it makes its first account later
		session, err := cluster.CreateSession()
		if err != nil {
			return false
		}
		defer session.Close()
		var version string
		return session.Query("SELECT release_version FROM system.local").ScanContext(ctx, &version) == nil
	}, startTime, 100*time.Millisecond)
}

// cluster makes the configuration of a driver for the node.
func (c *realCassandra) cluster() *gocql.ClusterConfig {
	cluster := gocql.NewCluster(c.Addr())
	cluster.Timeout = 10 * time.Second
	cluster.ConnectTimeout = 10 * time.Second
	cluster.Logger = gocql.NewLogger(gocql.LogLevelNone)
	cluster.RetryPolicy = guardcassandra.RetryPolicy(nil)
	return cluster
}

// A realTable is a table in Markdown.
type realTable struct {
	head []string
	rows [][]string
}

func (r *realTable) add(row ...string) { r.rows = append(r.rows, row) }

func (r *realTable) log(t *testing.T) {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(r.head)
	line(slices.Repeat([]string{"---"}, len(r.head)))
	for _, row := range r.rows {
		line(row)
	}
	t.Logf("\n%s", b.String())
}
