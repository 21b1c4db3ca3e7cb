// Package cassandra starts a real Cassandra on loopback for tests that torment it,
// by the script cassandra.sh beside it: bash, Java 17 and, the first time, Maven.
// For tests that can do without one there is the package cassandratest.
package cassandra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// A Node is one Cassandra, which is a cluster of its own. Its methods are for one
// goroutine at a time.
type Node struct {
	script, folder string
	log            *os.File
	settings       []string
	port, storage  int

	process  *exec.Cmd     // nil: it does not run
	gone     chan struct{} // closed when it has ended
	watchdog *exec.Cmd
	leash    io.Closer
}

// New prepares a node, and does not start it: script is the path of cassandra.sh,
// the folder keeps its data, the log what it prints, and settings are of its
// environment ("AUTH=1"). Its ports are free ones of 127.0.0.1.
func New(script, folder string, log *os.File, settings ...string) (*Node, error) {
	n := &Node{script: script, folder: folder, log: log, settings: settings}
	for _, port := range []*int{&n.port, &n.storage} {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()                      //nolint:errcheck // it was only held so that the second port is another one
		*port = l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of "tcp" it is
	}
	return n, nil
}

// Addr is where clients find it.
func (n *Node) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port)) }

// Start starts the process, and does not wait until it answers. Should that of the
// caller die, the node follows: a watchdog reads from a pipe that ends with it.
func (n *Node) Start() error {
	if n.process != nil {
		return errors.New("cassandra: it runs already")
	}
	node := exec.Command("bash", n.script, strconv.Itoa(n.port), n.folder) //nolint:gosec,noctx // the caller's script; Kill ends it
	node.Env = append(os.Environ(), append([]string{"STORAGE_PORT=" + strconv.Itoa(n.storage)}, n.settings...)...)
	node.Stdout, node.Stderr = n.log, n.log
	if err := node.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	n.process, n.gone = node, gone
	go func() {
		_ = node.Wait() // which says that it was killed
		close(gone)
	}()
	watchdog := exec.Command("bash", "-c", `read -r; kill -KILL "$1"`, "watchdog", strconv.Itoa(node.Process.Pid)) //nolint:gosec,noctx // a number; Kill ends it
	leash, err := watchdog.StdinPipe()
	if err == nil {
		err = watchdog.Start()
	}
	if err != nil {
		n.Kill()
		return err
	}
	n.watchdog, n.leash = watchdog, leash
	return nil
}

// Await waits until the node answers. It returns an error that says why it does
// not when ctx ends, or at once when the node has ended.
func (n *Node) Await(ctx context.Context) error {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		err := n.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-n.gone:
			return errors.New("cassandra: it has ended by itself")
		case <-ctx.Done():
			return fmt.Errorf("cassandra: it does not answer: %w (%w)", err, ctx.Err())
		case <-retry.C:
		}
	}
}

// ask sends the one request that needs no session, and waits for the answer to it:
// OPTIONS and SUPPORTED of the protocol's version 4.
func (n *Node) ask(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.Addr())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is to be saved
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
		return fmt.Errorf("cassandra: it answers with opcode %d, want SUPPORTED", header[4])
	}
	return nil
}

// Signal sends a signal to the node alone, by its process id.
func (n *Node) Signal(s os.Signal) error {
	if n.process == nil {
		return errors.New("cassandra: it does not run")
	}
	return n.process.Process.Signal(s)
}

// Kill ends the node as kill -9 does, stopped or not, and waits until it is gone.
// Of a node that does not run it does nothing.
func (n *Node) Kill() {
	if n.process == nil {
		return
	}
	if n.watchdog != nil { // first, since the process id will be somebody else's
		_ = n.watchdog.Process.Kill()
		_ = n.watchdog.Wait()
		_ = n.leash.Close()
		n.watchdog = nil
	}
	_ = n.process.Process.Kill()
	<-n.gone
	n.process = nil
}
