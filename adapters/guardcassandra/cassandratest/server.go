package cassandratest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Server is one node, listening on a loopback address. [Start] and [Listen]
// make it; [Server.Close] must be called in the end. Its methods are safe for
// concurrent use.
type Server struct {
	addr   netip.AddrPort
	hostID [16]byte

	requests atomic.Int64 // statements that arrived
	accepted atomic.Int64 // connections that arrived

	running sync.WaitGroup // all goroutines; added to under mu while not closed

	mu        sync.Mutex // guards the fields below
	closed    bool
	listener  net.Listener // nil: stopped
	conns     map[*conn]struct{}
	fault     Fault
	down      bool          // what fault says of connections now
	flapping  chan struct{} // closed to end the goroutine of a flapping fault; nil: there is none
	handlers  map[string]registration
	prepared  map[string]string // id to statement
	passwords map[string]string // nil: no authentication
	peers     []*Server
}

// A registration is what [Server.Handle] was given.
type registration struct {
	handler Handler
	markers []Type
}

// maxPrepared is how many statements are kept prepared; beyond, one of them is
// forgotten for each new one, and prepared again when the driver is told so.
const maxPrepared = 4096

// Start listens on a free port of 127.0.0.1.
func Start() (*Server, error) {
	return Listen("127.0.0.1:0")
}

// Listen listens on an address: an IP and a port, which can be 0 for any free
// one. Any other network than loopback would let strangers in; that is refused
// with an error, as is an address that is in use.
func Listen(addr string) (*Server, error) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("cassandratest: address %q: %w", addr, err)
	}
	if !want.Addr().IsLoopback() {
		return nil, fmt.Errorf("cassandratest: address is %q, want one of loopback", addr)
	}
	s := newServer(want)
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// newServer returns a server that does not listen yet.
func newServer(addr netip.AddrPort) *Server {
	s := &Server{
		addr:     addr,
		conns:    map[*conn]struct{}{},
		handlers: map[string]registration{},
		prepared: map[string]string{},
	}
	rand.Read(s.hostID[:]) // never returns an error
	s.hostID[6], s.hostID[8] = s.hostID[6]&0x0F|0x40, s.hostID[8]&0x3F|0x80
	return s
}

// listen listens on the address, and keeps the port it got.
func (s *Server) listen() error {
	if err := s.idle(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr.String()) //nolint:noctx // there is nothing to wait for on loopback
	if err != nil {
		return fmt.Errorf("cassandratest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.idleLocked(); err != nil {
		_ = listener.Close() // nobody has connected
		return err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
		s.addr = netip.AddrPortFrom(s.addr.Addr(), uint16(tcp.Port)) //nolint:gosec // G115: a port
	}
	s.listener = listener
	s.running.Go(func() { s.accept(listener) })
	return nil
}

func (s *Server) idle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleLocked()
}

// idleLocked returns an error if it is no time to begin to listen.
func (s *Server) idleLocked() error {
	switch {
	case s.closed:
		return errors.New("cassandratest: the server is closed")
	case s.listener != nil:
		return errors.New("cassandratest: the server is running")
	}
	return nil
}

// accept serves the connections of a listener until it is closed.
func (s *Server) accept(listener net.Listener) {
	for {
		nc, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: none is freed by hurrying.
			time.Sleep(time.Millisecond)
			continue
		}
		s.accepted.Add(1)
		if !s.admit(listener, nc) {
			_ = nc.Close() // it is refused, and that is how
		}
	}
}

// admit starts to serve the connection; it returns false if it must not.
func (s *Server) admit(listener net.Listener, nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.down || s.listener != listener {
		return false
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.running.Go(c.serve)
	return true
}

// Addr returns host:port, the same over [Server.Stop] and [Server.Restart].
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr.String()
}

// Close stops the server for good, and waits for its goroutines. Handlers that
// run are waited for, too: one that blocks should heed [Request.Done], and none
// may call Close. It always returns nil, and may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.endFlappingLocked()
	s.mu.Unlock()
	s.Stop()
	s.running.Wait()
	return nil
}

// Stop closes the listener and all connections, as the end of the process
// would: connections are refused until [Server.Restart]. It does not wait for
// handlers, whose answers are lost. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	listener := s.listener
	s.listener = nil
	conns := s.takeConnsLocked()
	s.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // it cannot be listened on any more, whatever it says
	}
	closeAll(conns)
}

// Restart listens on the same address again. Handlers, prepared statements, the
// fault and the counters are what they were. It returns an error if the server
// runs or is closed, or if somebody else has the address and keeps it for
// seconds.
func (s *Server) Restart() error {
	// A driver that dials a local port nobody listens on can, by chance, be given
	// that port for its own end, and is then connected to itself for a moment.
	const patience, pause = 5 * time.Second, 10 * time.Millisecond
	for began := time.Now(); ; time.Sleep(pause) {
		err := s.listen()
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || time.Since(began) > patience {
			return err
		}
	}
}

// takeConnsLocked empties the set of connections and returns what was in it.
func (s *Server) takeConnsLocked() []*conn {
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	clear(s.conns)
	return conns
}

// leave takes a connection that has ended out of the set.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}

// Requests returns how many statements have arrived so far, whatever became of
// them; a batch is one. It leaves out prepares and what a driver asks for
// itself: the system tables, and USE.
func (s *Server) Requests() int {
	return int(s.requests.Load())
}

// Connections returns how many connections have arrived so far, those that were
// closed at once included.
func (s *Server) Connections() int {
	return int(s.accepted.Load())
}

// OpenConnections returns how many connections are open now.
func (s *Server) OpenConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
