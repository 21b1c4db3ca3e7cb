package cassandratest_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(20 * time.Second); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own, and those
// that the runtime keeps for signals, once there are none or patience is out.
//
// One of the driver does not count: the heartbeat of the control connection
// never ends if the session was closed before it had begun (version 2.1.2:
// controlConn.close ends only one that has).
func goroutinesLeft(patience time.Duration) (left []string) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = nil
		for i, stack := range strings.Split(strings.TrimSpace(string(stacks)), "\n\n") {
			if i > 0 && !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "runtime.ensureSigM") &&
				!strings.Contains(stack, ".(*controlConn).heartBeat(") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// start returns a server that is closed with the test.
func start(tb testing.TB) *cassandratest.Server {
	tb.Helper()
	server, err := cassandratest.Start()
	require.NoError(tb, err)
	tb.Cleanup(func() { server.Close() })
	return server
}

// clusterOf is the configuration of a driver that is in a hurry.
func clusterOf(servers ...*cassandratest.Server) *gocql.ClusterConfig {
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, s.Addr())
	}
	cluster := gocql.NewCluster(hosts...)
	cluster.ProtoVersion = 4
	cluster.Metadata.CacheMode = gocql.Disabled
	cluster.Logger = gocql.NewLogger(gocql.LogLevelNone)
	cluster.WriteCoalesceWaitTime = 0
	cluster.ReconnectInterval = 20 * time.Millisecond
	cluster.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1, Interval: 10 * time.Millisecond}
	return cluster
}

// connect returns a session that is closed with the test.
func connect(tb testing.TB, cluster *gocql.ClusterConfig) *gocql.Session {
	tb.Helper()
	session, err := cluster.CreateSession()
	require.NoError(tb, err)
	tb.Cleanup(session.Close)
	return session
}

// one answers a statement with one column of one row.
func one(t cassandratest.Type, v any) cassandratest.Handler {
	return func(*cassandratest.Request) cassandratest.Response {
		return cassandratest.Rows{Columns: []cassandratest.Column{{Name: "v", Type: t}}, Values: [][]any{{v}}}
	}
}

func void(*cassandratest.Request) cassandratest.Response {
	return cassandratest.Void{}
}

// eventually waits until the condition holds.
func eventually(tb testing.TB, condition func() bool, what string) {
	tb.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-look.C {
		if time.Now().After(deadline) {
			tb.Fatal("in vain: ", what)
		}
	}
}
