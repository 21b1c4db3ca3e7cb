//go:build unix

package guardcassandra_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra"
)

// startTime is how long a real Cassandra may take to start: it is done in 20 s
// where nothing else runs.
const startTime = 3 * time.Minute

// A realCassandra is a node on loopback that the tests start, stop and torment.
type realCassandra struct {
	tb       testing.TB
	script   string
	folder   string
	log      *os.File
	settings []string
	port     int
	storage  int

	node     *exec.Cmd     // nil: it does not run
	gone     chan struct{} // closed when it has ended
	watchdog *exec.Cmd
	leash    io.Closer
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
	log, err := os.CreateTemp("", "cassandra-*.log") //nolint:usetesting // it outlives a test that fails
	require.NoError(t, err)
	ports := freePorts(t, 2)
	c := &realCassandra{tb: t, script: script, folder: t.TempDir(), log: log, settings: settings, port: ports[0], storage: ports[1]}
	t.Cleanup(c.end)
	return c
}

// freePorts returns ports of loopback that were free just now.
func freePorts(tb testing.TB, n int) (ports []int) {
	tb.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(tb, err)
		defer l.Close() // when all are known, so that each is another
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func (c *realCassandra) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// start starts the node. Should the test's process die, the node follows: a
// watchdog reads from a pipe that ends with the process.
func (c *realCassandra) start() {
	c.tb.Helper()
	require.Nil(c.tb, c.node, "it runs already")
	node := exec.Command("bash", c.script, strconv.Itoa(c.port), c.folder)
	node.Env = append(os.Environ(), append([]string{"STORAGE_PORT=" + strconv.Itoa(c.storage)}, c.settings...)...)
	node.Stdout, node.Stderr = c.log, c.log
	require.NoError(c.tb, node.Start())
	gone := make(chan struct{})
	c.node, c.gone = node, gone
	go func() {
		_ = node.Wait() // which says that it was killed
		close(gone)
	}()
	watchdog := exec.Command("bash", "-c", `read -r; kill -KILL "$1"`, "watchdog", strconv.Itoa(node.Process.Pid))
	leash, err := watchdog.StdinPipe()
	require.NoError(c.tb, err)
	require.NoError(c.tb, watchdog.Start())
	c.watchdog, c.leash = watchdog, leash
}

// awaken waits until the node answers a query, and returns when it first
// answered anything.
func (c *realCassandra) awaken(cluster *gocql.ClusterConfig) (answered time.Time) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), startTime)
	defer cancel()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		var err error
		if answered.IsZero() {
			if err = askOptions(ctx, c.addr()); err == nil {
				answered = time.Now()
			}
		} else if err = askVersion(ctx, cluster); err == nil {
			return answered
		}
		select {
		case <-c.gone:
			require.FailNow(c.tb, "Cassandra has ended by itself")
		case <-ctx.Done():
			require.FailNow(c.tb, "Cassandra did not come up", "within %v: %v", startTime, err)
		case <-retry.C:
		}
	}
}

// askOptions sends the one request that needs no session, and waits for the
// answer to it: OPTIONS and SUPPORTED of the protocol's version 4.
func askOptions(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{4, 0, 0, 0, 5, 0, 0, 0, 0}); err != nil {
		return err
	}
	var header [9]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return err
	}
	if header[4] != 6 {
		return fmt.Errorf("opcode %d, want SUPPORTED; length %d", header[4], binary.BigEndian.Uint32(header[5:]))
	}
	return nil
}

func askVersion(ctx context.Context, cluster *gocql.ClusterConfig) error {
	session, err := cluster.CreateSession()
	if err != nil {
		return err
	}
	defer session.Close()
	var version string
	return session.Query("SELECT release_version FROM system.local").ScanContext(ctx, &version)
}

// signal sends a signal to the node alone, by its process id.
func (c *realCassandra) signal(s syscall.Signal) {
	c.tb.Helper()
	require.NotNil(c.tb, c.node, "it does not run")
	require.NoError(c.tb, c.node.Process.Signal(s))
}

// kill ends the node as kill -9 does, and waits until it is gone.
func (c *realCassandra) kill() {
	if c.node == nil {
		return
	}
	if c.watchdog != nil { // first, since the process id will be somebody else's
		_ = c.watchdog.Process.Kill()
		_ = c.watchdog.Wait()
		_ = c.leash.Close()
		c.watchdog = nil
	}
	_ = c.node.Process.Kill() // a stopped process dies, too
	<-c.gone
	c.node = nil
}

// end ends the node for good, and keeps its log if the test has failed.
func (c *realCassandra) end() {
	c.kill()
	c.log.Close()
	if !c.tb.Failed() {
		os.Remove(c.log.Name())
		return
	}
	text, _ := os.ReadFile(c.log.Name())
	c.tb.Logf("the node's log is in %s; its end:\n%s", c.log.Name(), text[max(0, len(text)-4096):])
}

// cluster makes the configuration of a driver for the node.
func (c *realCassandra) cluster() *gocql.ClusterConfig {
	cluster := gocql.NewCluster(c.addr())
	cluster.Timeout = 10 * time.Second
	cluster.ConnectTimeout = 10 * time.Second
	cluster.Logger = gocql.NewLogger(gocql.LogLevelNone)
	cluster.RetryPolicy = guardcassandra.RetryPolicy(nil)
	return cluster
}
