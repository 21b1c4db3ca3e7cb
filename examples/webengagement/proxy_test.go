package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy stands between the server and a system, and does to their connections
// what networks do, by the kind of a fault.
type proxy struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	kind    string
	changed chan struct{} // closed when the kind is another one
	closed  bool
	pairs   map[*pair]bool
	users   int // requests of HTTP for agents that a client has sent
}

// The kinds of faults of a network, beside faultSlow.
const (
	faultResets   = "resets"     // it resets all connections, and each new one
	faultHole     = "black hole" // nothing arrives on either side until it is over
	faultHalfOpen = "half-open"  // the system's side of each connection has gone, and nobody says so until it is over
)

// A pair is a connection of a client and the one to the target for it; it is lost
// when the latter has gone in silence.
type pair struct {
	client, target *net.TCPConn // target: nil if it was lost from the start
	lost           bool         // guarded by the proxy's mu
}

// newProxy returns a proxy to the target, which ends with the test.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, target: target, changed: make(chan struct{}), pairs: map[*pair]bool{}}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.set(faultResets)
		p.work.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// requests returns how many requests for agents clients have sent, whatever became
// of them.
func (p *proxy) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users
}

// set begins a fault, or ends it with faultNone.
func (p *proxy) set(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kind = kind
	close(p.changed)
	p.changed = make(chan struct{})
	for c := range p.pairs {
		switch {
		case kind == faultResets, kind == faultNone && c.lost: // who has forgotten a connection resets it
			c.reset()
		case kind == faultHalfOpen:
			c.lost = true
			if c.target != nil {
				_ = c.target.Close()
			}
		}
	}
}

func (c *pair) reset() {
	for _, side := range []*net.TCPConn{c.client, c.target} {
		if side != nil {
			_ = side.SetLinger(0)
			_ = side.Close()
		}
	}
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.join(&pair{client: c.(*net.TCPConn)}) })
	}
}

// join copies both ways until either side has ended.
func (p *proxy) join(c *pair) {
	defer c.reset()
	if !p.keep(c) {
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pairs, c)
	}()
	if c.target == nil {
		_, _ = io.Copy(io.Discard, c.client)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.carry(c, c.target, c.client, false) })
	p.carry(c, c.client, c.target, true)
	both.Wait()
}

// keep adds a pair, and connects it if that is possible now.
func (p *proxy) keep(c *pair) bool {
	for {
		p.mu.Lock()
		kind, changed, closed := p.kind, p.changed, p.closed
		p.mu.Unlock()
		if kind == faultResets || closed {
			return false
		}
		if kind == faultHole { // a handshake that gets no answer
			<-changed
			continue
		}
		if kind != faultHalfOpen {
			target, err := net.Dial("tcp", p.target)
			if err != nil {
				return false
			}
			c.target, _ = target.(*net.TCPConn)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.kind == faultResets || p.closed {
			return false
		}
		if c.lost = p.kind == faultHalfOpen; c.lost && c.target != nil {
			_ = c.target.Close()
		}
		p.pairs[c] = true
		return true
	}
}

// carry copies one way. What is late, with later, does not make what is read
// meanwhile later still.
func (p *proxy) carry(c *pair, to, from *net.TCPConn, later bool) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	chunks := make(chan chunk, 4096)
	var writing sync.WaitGroup
	writing.Go(func() {
		for next := range chunks {
			time.Sleep(time.Until(next.due))
			if p.await(c) {
				_, _ = to.Write(next.data) // an error shows on the other way, too
			}
		}
	})
	for {
		data := make([]byte, 16<<10)
		n, err := from.Read(data)
		if err != nil {
			break
		}
		due := time.Now()
		p.mu.Lock()
		if later && p.kind == faultSlow {
			due = due.Add(slowness)
		}
		if !later {
			p.users += bytes.Count(data[:n], []byte("GET "+agentsPath))
		}
		p.mu.Unlock()
		chunks <- chunk{due, data[:n]}
	}
	close(chunks)
	writing.Wait()
	if p.await(c) {
		_ = to.Close()
	} else if from == c.target { // lost: the client is told nothing
		_, _ = io.Copy(io.Discard, c.client)
	}
}

// await waits while nothing gets through, and reports whether anything does then.
func (p *proxy) await(c *pair) bool {
	for {
		p.mu.Lock()
		kind, changed, lost := p.kind, p.changed, c.lost
		p.mu.Unlock()
		if kind != faultHole {
			return !lost
		}
		<-changed
	}
}
