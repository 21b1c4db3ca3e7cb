//go:build unix

package guardcassandra_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A faultProxy stands between the driver and a node, and does what networks do.
type faultProxy struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	delay  time.Duration
	resets bool
	closed bool
	conns  map[*net.TCPConn]bool
}

// newFaultProxy returns a proxy to the target, which ends with the test.
func newFaultProxy(tb testing.TB, target string) *faultProxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	p := &faultProxy{listener: l, target: target, conns: map[*net.TCPConn]bool{}}
	p.work.Go(p.accept)
	tb.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cut()
		p.work.Wait()
	})
	return p
}

func (p *faultProxy) addr() string { return p.listener.Addr().String() }

// slow has everything that the node says from now on come later.
func (p *faultProxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// reset cuts all connections, and each new one, if on.
func (p *faultProxy) reset(on bool) {
	p.mu.Lock()
	p.resets = on
	p.mu.Unlock()
	if on {
		p.cut()
	}
}

// cut resets all connections.
func (p *faultProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.SetLinger(0) // so that it is a reset
		c.Close()
	}
}

// keep adds a connection, unless connections are not kept now.
func (p *faultProxy) keep(c *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resets || p.closed {
		c.SetLinger(0)
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *faultProxy) drop(c *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *faultProxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if client := c.(*net.TCPConn); p.keep(client) {
			p.work.Go(func() { p.join(client) })
		}
	}
}

// join copies both ways until either side has ended.
func (p *faultProxy) join(client *net.TCPConn) {
	defer p.drop(client)
	c, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	node := c.(*net.TCPConn)
	if !p.keep(node) {
		return
	}
	defer p.drop(node)
	p.work.Go(func() {
		io.Copy(node, client)
		node.Close()
	})
	p.copyLater(client, node)
}

// copyLater copies with the delay, which does not add up: what is read while
// something waits is not later for that.
func (p *faultProxy) copyLater(to, from *net.TCPConn) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	chunks := make(chan chunk, 4096)
	p.work.Go(func() {
		defer to.Close()
		wait := time.NewTimer(0)
		defer wait.Stop()
		for c := range chunks {
			wait.Reset(time.Until(c.due))
			<-wait.C
			if _, err := to.Write(c.data); err != nil {
				from.Close()
				for range chunks { // so that the reader can end
				}
			}
		}
	})
	defer close(chunks)
	for {
		data := make([]byte, 16<<10)
		n, err := from.Read(data)
		if err != nil {
			return
		}
		p.mu.Lock()
		due := time.Now().Add(p.delay)
		p.mu.Unlock()
		chunks <- chunk{due, data[:n]}
	}
}
