package guardcassandra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// An attempt to connect is shared by all who wait for it.
type attempt struct {
	done    chan struct{} // closed when it is over
	session *gocql.Session
	err     error

	mu      sync.Mutex // guards the fields below
	conns   []net.Conn // that it has dialed; nil when it is over
	aborted bool
	over    bool
}

// connect returns the driver's session, or waits for the attempt to make it, for
// as long as ctx lasts; also if there is one, but that is the lost one. During
// the backoff it returns the last error, unless it is urgent.
func (s *Session) connect(ctx context.Context, urgent bool, lost *gocql.Session) (*gocql.Session, error) {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		return nil, gocql.ErrSessionClosed
	}
	if live := s.live.Load(); live != lost {
		s.mu.Unlock()
		return live, nil
	}
	a := s.attempt
	if a == nil {
		if !urgent && time.Now().Before(s.next) {
			defer s.mu.Unlock()
			return nil, s.failed
		}
		a = &attempt{done: make(chan struct{}), err: errPanicked}
		s.attempt = a
		go s.try(a)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// try makes an attempt.
func (s *Session) try(a *attempt) {
	defer func() { // also if the user's code has ended the goroutine
		if p := recover(); p != nil {
			a.err = fmt.Errorf("guardcassandra: connecting panicked: %v", p)
		}
		s.tried(a)
	}()
	a.session, a.err = s.create(a)
}

// create calls the driver, whose dialing it watches over.
func (s *Session) create(a *attempt) (*gocql.Session, error) {
	c := s.cluster()
	if err := validateCluster(c); err != nil {
		return nil, err
	}
	cluster := *c
	d := dialer{attempt: a, gone: s.gone}
	if cluster.HostDialer != nil {
		d.hosts = cluster.HostDialer
		cluster.HostDialer = hostDialer{d}
	} else {
		d.addresses = cluster.Dialer
		if d.addresses == nil { // as the driver has it
			d.addresses = &net.Dialer{Timeout: cluster.ConnectTimeout, KeepAlive: max(cluster.SocketKeepalive, 0)}
		}
		cluster.Dialer = d
	}
	if listener := cluster.Metadata.SessionReadyListener; listener != nil {
		cluster.Metadata.SessionReadyListener = readyListener{a, listener}
	}
	return cluster.CreateSession()
}

// tried takes the result of an attempt.
func (s *Session) tried(a *attempt) {
	a.finish()
	s.mu.Lock()
	s.attempt = nil
	var unwanted *gocql.Session
	switch {
	case s.closing.Load():
		unwanted, a.session, a.err = a.session, nil, gocql.ErrSessionClosed
	case a.err != nil:
		unwanted, a.session = a.session, nil // of a listener that panicked
		s.failed = a.err
		s.backoff = min(max(2*s.backoff, s.options.Backoff), s.options.MaxBackoff)
		s.next = time.Now().Add(s.backoff)
	default:
		unwanted = s.live.Swap(a.session)
		s.backoff = 0
	}
	s.mu.Unlock()
	close(a.done)
	if unwanted != nil {
		unwanted.Close()
	}
}

// A readyListener takes note of a session that is there, in case that the
// listener of the user panics: nobody else would close it.
type readyListener struct {
	attempt  *attempt
	listener gocql.SessionReadyListener
}

// OnSessionReady implements [gocql.SessionReadyListener].
func (r readyListener) OnSessionReady(s *gocql.Session) {
	r.attempt.session = s
	r.listener.OnSessionReady(s)
}

var (
	errConnectAborted = errors.New("guardcassandra: the session was closed while it connected")
	errNothingDialed  = errors.New("guardcassandra: the dialer returned neither a connection nor an error")
)

// hold keeps a connection, so that it can be closed under the driver, which
// otherwise waits for a node that hangs.
func (a *attempt) hold(c net.Conn) error {
	if c == nil {
		return errNothingDialed // with which the driver panics
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.aborted {
		_ = c.Close() // it was never used
		return errConnectAborted
	}
	if !a.over {
		a.conns = append(a.conns, c)
	}
	return nil
}

// finish lets go of the connections: they are the driver's alone.
func (a *attempt) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over, a.conns = true, nil
}

// abort makes the driver give up.
func (a *attempt) abort() {
	a.mu.Lock()
	conns := a.conns
	a.conns, a.aborted = nil, true
	a.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the driver sees that
	}
}

// A dialer dials for the driver until the session is closed: the driver's own
// contexts end too late for that. A dialer of the user that panics has failed to
// dial: the driver calls it in goroutines that nobody else can recover.
type dialer struct {
	attempt   *attempt
	gone      context.Context //nolint:containedctx // the session's end, as a context
	addresses gocql.Dialer
	hosts     gocql.HostDialer
}

// DialContext implements [gocql.Dialer].
func (d dialer) DialContext(ctx context.Context, network, addr string) (_ net.Conn, err error) {
	defer recovered(&err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.gone, cancel)()
	conn, err := d.addresses.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := d.attempt.hold(conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// recovered makes an error of a panic.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("guardcassandra: the dialer panicked: %v", p)
	}
}

type hostDialer struct{ dialer }

// DialHost implements [gocql.HostDialer].
func (d hostDialer) DialHost(ctx context.Context, host *gocql.HostInfo) (_ *gocql.DialedHost, err error) {
	defer recovered(&err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.gone, cancel)()
	dialed, err := d.hosts.DialHost(ctx, host)
	if err != nil {
		return nil, err
	}
	if dialed == nil {
		return nil, errNothingDialed
	}
	if err := d.attempt.hold(dialed.Conn); err != nil {
		return nil, err
	}
	return dialed, nil
}
