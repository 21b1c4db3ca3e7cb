package guardcassandra_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(patience); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own, and those
// that the runtime keeps for signals, once there are none or patience is out.
//
// It leaves out one of the driver's: v2.1.2 forgets to stop the heartbeat of a
// control connection that is closed before the heartbeat has begun, as may
// happen when the server goes down right after the first connection.
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
const patience = 30 * time.Second

// eventually waits until the condition holds.
func eventually(tb testing.TB, holds func() bool, msg ...any) {
	tb.Helper()
	require.Eventually(tb, holds, patience, 2*time.Millisecond, msg...)
}

// The statements that the tests execute.
const (
	selectName   = "SELECT name FROM visit WHERE id = ?"
	selectNumber = "SELECT n FROM numbers"
	insertVisit  = "INSERT INTO visit (id, name) VALUES (?, ?)"
	insertNew    = "INSERT INTO visit (id, name) VALUES (?, ?) IF NOT EXISTS"
)

// start returns a server that is closed with the test, and knows the statements.
func start(tb testing.TB) *cassandratest.Server {
	tb.Helper()
	server, err := cassandratest.Start()
	require.NoError(tb, err)
	tb.Cleanup(func() { server.Close() })
	serve(server)
	return server
}

// serve teaches a server the statements.
func serve(server *cassandratest.Server) {
	text := func(name string) cassandratest.Column {
		return cassandratest.Column{Name: name, Type: cassandratest.Text}
	}
	server.Handle(selectName, func(q *cassandratest.Request) cassandratest.Response {
		rows := cassandratest.Rows{Columns: []cassandratest.Column{text("name")}}
		if id := q.Values[0].Text(); id != "none" {
			rows.Values = [][]any{{"visit " + id}}
		}
		return rows
	})
	server.Handle(selectNumber, func(q *cassandratest.Request) cassandratest.Response {
		rows := cassandratest.Rows{Columns: []cassandratest.Column{{Name: "n", Type: cassandratest.Int}}}
		for n := range 25 {
			rows.Values = append(rows.Values, []any{n})
		}
		return rows.Page(q)
	})
	server.Handle(insertVisit, func(*cassandratest.Request) cassandratest.Response { return cassandratest.Void{} })
	server.Handle(insertNew, func(q *cassandratest.Request) cassandratest.Response {
		if q.Values[0].Text() == "taken" {
			return cassandratest.Rows{
				Columns: []cassandratest.Column{{Name: "[applied]", Type: cassandratest.Boolean}, text("id"), text("name")},
				Values:  [][]any{{false, "taken", "somebody"}, {false, "taken", "somebody else"}},
			}
		}
		return cassandratest.Applied(true)
	})
}

// clusterOf makes the configuration of a driver that is in a hurry.
func clusterOf(servers ...*cassandratest.Server) *gocql.ClusterConfig {
	hosts := make([]string, 0, len(servers))
	for _, s := range servers {
		hosts = append(hosts, s.Addr())
	}
	cluster := gocql.NewCluster(hosts...)
	cluster.ProtoVersion = 4
	cluster.Metadata.CacheMode = gocql.Disabled
	cluster.Timeout = 5 * time.Second
	cluster.ConnectTimeout = 5 * time.Second
	cluster.WriteCoalesceWaitTime = 0
	cluster.ReconnectInterval = 20 * time.Millisecond
	cluster.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1, Interval: 10 * time.Millisecond}
	cluster.RetryPolicy = guardcassandra.RetryPolicy(nil)
	return cluster
}

// connect returns a session of the driver that is closed with the test.
func connect(tb testing.TB, cluster *gocql.ClusterConfig) *gocql.Session {
	tb.Helper()
	session, err := cluster.CreateSession()
	require.NoError(tb, err)
	tb.Cleanup(session.Close)
	return session
}

// open returns a session that is closed with the test.
func open(tb testing.TB, cluster func() *gocql.ClusterConfig, o guardcassandra.Options) *guardcassandra.Session {
	tb.Helper()
	session, err := guardcassandra.Open(cluster, o)
	require.NoError(tb, err)
	tb.Cleanup(session.Close)
	return session
}

// depend returns a dependency of a guard that is closed with the test.
func depend(tb testing.TB, c guard.DependencyConfig) (*guard.Guard, *guard.Dependency) {
	tb.Helper()
	g, err := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	tb.Cleanup(func() { g.Close() })
	if c.Classify == nil {
		c.Classify = guardcassandra.Classify
	}
	dep, err := g.Dependency("cassandra", c)
	require.NoError(tb, err)
	return g, dep
}

// callsOf returns what has become of calls to the guard's only dependency.
func callsOf(g *guard.Guard) guard.CallCounts { return g.Snapshot().Dependencies[0].Counts }

// lookup asks for the name of a visit.
func lookup(ctx context.Context, dep *guard.Dependency, session *gocql.Session) error {
	var name string
	return guardcassandra.Scan(ctx, dep, session.Query(selectName, "7"), &name)
}

// under lets n goroutines call fn over and over again until the function that it
// returns is called, which returns how many calls there were.
func under(tb testing.TB, n int, fn func()) (stop func() int64) {
	tb.Helper()
	var calls atomic.Int64
	over, ended := make(chan struct{}), make(chan struct{}, n)
	for range n {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-over:
					return
				default:
					fn()
					calls.Add(1)
					runtime.Gosched() // refusals take no time, and leave others none
				}
			}
		}()
	}
	return func() int64 {
		close(over)
		for range n {
			<-ended
		}
		return calls.Load()
	}
}
