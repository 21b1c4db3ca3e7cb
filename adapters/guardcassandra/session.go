package guardcassandra

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// Options say how a [Session] connects and checks. The zero value is a good
// start. Negative values are errors.
type Options struct {
	// Backoff is for how long, after the first attempt to connect that failed,
	// there is no other: who asks gets the error of the one before. It doubles with
	// each failure up to MaxBackoff. A half-open breaker's probes and the Check do
	// not wait for it. 0 means 100 ms.
	Backoff time.Duration
	// MaxBackoff bounds what Backoff grows to. 0 means 1 s, or Backoff if that is
	// longer.
	MaxBackoff time.Duration
	// CheckTimeout is how long one [Session.Check] may take. It should be less than
	// the dependency's ProbeTimeout, or calls probe while a Check hangs. 0 means 2 s.
	CheckTimeout time.Duration
	// CheckQuery is what [Session.Check] asks. "" means a read of one row of
	// system.local, which every node answers alone.
	CheckQuery string
}

// A Session is a session of the driver that need not be there yet: it connects
// when it is first needed, and again and again until it has succeeded, one
// attempt at a time. From then on the driver keeps the connections itself, and a
// Check that finds that it has none connects anew.
//
// A Session starts one goroutine, for an attempt to connect, when somebody asks
// for it; it ends with the attempt, or when Close aborts that. All methods are
// safe for concurrent use.
type Session struct {
	cluster func() *gocql.ClusterConfig
	options Options
	gone    context.Context //nolint:containedctx // it ends with the session; connections are dialed with it
	leave   context.CancelFunc
	live    atomic.Pointer[gocql.Session] // nil: not connected yet
	closing atomic.Bool

	mu      sync.Mutex // guards the fields below
	attempt *attempt   // that is being made; nil: none
	failed  error      // of the last attempt
	backoff time.Duration
	next    time.Time // when the backoff is over
}

// Open returns a session for a cluster, without connecting. Open cannot fail
// because Cassandra is down.
//
// cluster makes the driver's configuration. It is called twice by Open, and once
// for each attempt to connect, in the goroutine of that; it must return a new
// HostSelectionPolicy each time, since some policies panic when they are used for
// a second session, and a session that could not connect was one. It is also the
// place to read passwords anew.
//
// The error says what is wrong with the options or the configuration: what the
// driver would refuse, TLS files that cannot be read included, and what would make
// it hang or panic later.
func Open(cluster func() *gocql.ClusterConfig, o Options) (*Session, error) {
	if cluster == nil {
		return nil, errors.New("guardcassandra: Open was given a nil function")
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		none  time.Duration
	}{
		{"Backoff", &o.Backoff, 100 * time.Millisecond},
		{"MaxBackoff", &o.MaxBackoff, max(time.Second, o.Backoff)},
		{"CheckTimeout", &o.CheckTimeout, 2 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.none
		}
		if *f.value < 0 {
			return nil, fmt.Errorf("guardcassandra: %s is %v, want >= 0", f.name, *f.value)
		}
	}
	if o.MaxBackoff < o.Backoff {
		return nil, fmt.Errorf("guardcassandra: MaxBackoff is %v, less than the Backoff of %v", o.MaxBackoff, o.Backoff)
	}
	if o.CheckQuery == "" {
		o.CheckQuery = "SELECT key FROM system.local WHERE key = 'local'"
	}
	if err := validate(cluster); err != nil {
		return nil, err
	}
	s := &Session{cluster: cluster, options: o}
	s.gone, s.leave = context.WithCancel(context.Background())
	return s, nil
}

// Session returns the driver's session. Ask for it each time, and do not keep it:
// when Cassandra has been away, there may be another, and the one before is closed.
// Do not close it either, as it is everybody's: the next who asks has to connect.
//
// Until there is a session, this is a call to dep that connects, or waits for the
// attempt that is being made: so the breaker opens if Cassandra does not come up, further calls are
// refused with the time to wait, and connecting is what probes. An attempt goes
// on when ctx or dep's Timeout ends, for those who come later.
//
// The error is that of the call, or matches [gocql.ErrSessionClosed] after Close.
func (s *Session) Session(ctx context.Context, dep *guard.Dependency) (*gocql.Session, error) {
	if dep == nil {
		return nil, errNoDependency
	}
	if s.closing.Load() {
		return nil, gocql.ErrSessionClosed
	}
	live := s.live.Load()
	if live != nil && !live.Closed() {
		return live, nil
	}
	return guard.Call(ctx, dep, func(ctx context.Context) (*gocql.Session, error) {
		return s.connect(ctx, dep.State() == guard.StateHalfOpen, live)
	})
}

// Classify is the function [Classify], but for two things. What fails while or
// after the session closes is ignored: the connections are cut, and who waits on
// them gets the errors of an outage. And until then, a session of the driver that
// is closed is one that has been replaced, or that somebody else closed: that is
// answered, so that it is a 502 and counts for nothing. It is for the
// [guard.DependencyConfig.Classify] of the dependencies that are called through
// this session.
func (s *Session) Classify(err error) guard.Outcome {
	o, closing := Classify(err), s.closing.Load()
	switch {
	case o == guard.OutcomeFailed && closing:
		return guard.OutcomeIgnored
	case o == guard.OutcomeIgnored && !closing && errors.Is(err, gocql.ErrSessionClosed):
		return guard.OutcomeAnswered
	}
	return o
}

// Check asks Cassandra for a single row, and connects first if there is no
// session yet, or none that is open and has a connection left. So it need not
// wait for the driver to find Cassandra again; which the driver may fail to, if
// Cassandra comes back while it is taking note that it has gone. It is for
// [guard.DependencyConfig.Check], and safe there before anything has connected.
//
// It returns nil if Cassandra answers, be it with an error that is not one of its
// own health: see [Classify].
func (s *Session) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.CheckTimeout)
	defer cancel()
	session, err := s.connect(ctx, true, nil)
	if err != nil {
		return err
	}
	err = s.ask(ctx, session)
	if !errors.Is(err, gocql.ErrNoConnections) && !errors.Is(err, gocql.ErrSessionClosed) {
		return err
	}
	session, err = s.connect(ctx, true, session)
	if err != nil {
		return err
	}
	return s.ask(ctx, session)
}

// ask asks the session for a single row.
func (s *Session) ask(ctx context.Context, session *gocql.Session) error {
	err := session.Query(s.options.CheckQuery).
		Consistency(gocql.One).RetryPolicy(nil).Idempotent(false).ExecContext(ctx)
	switch Classify(err) {
	case guard.OutcomeSucceeded, guard.OutcomeAnswered:
		return nil
	case guard.OutcomeDefault, guard.OutcomeFailed, guard.OutcomeIgnored:
	}
	return err
}

// Close closes the driver's session, or aborts the attempt to make it. Calls that
// go on end with an error that counts for nothing, if [Session.Classify] judges
// them; so have the server drained first: see [guard.Guard.Shutdown]. The driver
// may take its ConnectTimeout to close while it is connecting to a node that
// hangs. A second Close does nothing.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closing.Swap(true) {
		s.mu.Unlock()
		return
	}
	live, a := s.live.Load(), s.attempt
	s.mu.Unlock()
	s.leave()
	if a != nil {
		a.abort()
	}
	if live != nil {
		live.Close()
	}
}
