//go:build unix

package guardcassandra_test

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// What the server of the fault tests is made of. The driver waits less than the
// guard; and the check less than a slow node takes, since a check that passes
// closes the breaker, however long it took.
const (
	realTimeout    = time.Second // of the guard, for a call
	realSlack      = 9 * time.Second
	realCheckEvery = 500 * time.Millisecond
	realCheckTime  = 500 * time.Millisecond
	realSlow       = 300 * time.Millisecond
	realDelay      = 700 * time.Millisecond // of a slow node
	realPace       = 5 * time.Millisecond   // between two requests
)

// A realServer is a guarded HTTP server with one route that needs Cassandra, and
// one that does not.
type realServer struct {
	t       *testing.T
	guard   *guard.Guard
	dep     *guard.Dependency
	session *guardcassandra.Session
	server  *httptest.Server
	addr    string // of the node, or of the proxy before it

	requests atomic.Int64
	changes  atomic.Int64 // of the breaker's state
	dials    atomic.Int64
	checks   atomic.Int64 // calls of Check that reached the driver
	leaked   atomic.Int64 // calls that reached the driver though the breaker was open all along

	mu      sync.Mutex // guards the fields below
	events  []guard.BreakerEvent
	answers []realAnswer
}

// A realAnswer is what a client got.
type realAnswer struct {
	sent    time.Time
	took    time.Duration
	visits  bool // it was of the route that needs Cassandra
	status  int  // 0: none within the client's patience
	problem error
}

// begun is what a handler saw when it began.
type begun struct {
	state   guard.State
	changes int64
}

type begunKey struct{}

func newRealServer(t *testing.T, addr string) *realServer {
	t.Helper()
	s := &realServer{t: t, addr: addr}
	s.session = open(t, s.cluster, guardcassandra.Options{CheckTimeout: realCheckTime})
	var err error
	s.guard, err = guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
		BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changes.Add(1)
			s.events = append(s.events, e)
		},
	}})
	require.NoError(t, err)
	s.dep, err = s.guard.Dependency("cassandra", guard.DependencyConfig{
		Timeout: realTimeout, SlowCall: realSlow, Window: 5 * time.Second,
		OpenFor: 500 * time.Millisecond, MaxOpenFor: time.Second,
		Check: s.session.Check, CheckEvery: realCheckEvery, Classify: s.session.Classify,
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("GET /visits", s.guard.HandlerFunc(s.visits))
	mux.Handle("GET /plain", s.guard.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "plain\n")
		return err
	}))
	s.server = httptest.NewUnstartedServer(s.guard.Mux(mux))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.Start()
	t.Cleanup(func() {
		s.server.Close()
		s.guard.Close()
		s.session.Close()
	})
	return s
}

// cluster makes the driver's configuration, which counts what reaches it.
func (s *realServer) cluster() *gocql.ClusterConfig {
	cluster := gocql.NewCluster("127.0.0.1")
	cluster.Logger = gocql.NewLogger(gocql.LogLevelNone)
	cluster.Consistency = gocql.One
	cluster.Timeout = realTimeout * 8 / 10
	cluster.ConnectTimeout = realTimeout * 8 / 10
	cluster.ReconnectInterval = time.Second
	cluster.RetryPolicy = guardcassandra.RetryPolicy(nil)
	cluster.PoolConfig.HostSelectionPolicy = realPolicy{gocql.RoundRobinHostPolicy(), s}
	cluster.Dialer = realDialer{s}
	return cluster
}

// A realDialer counts, and dials the one node that there is.
type realDialer struct{ s *realServer }

func (d realDialer) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	d.s.dials.Add(1)
	return (&net.Dialer{Timeout: realTimeout}).DialContext(ctx, network, d.s.addr)
}

// A realPolicy is asked for a node for everything that reaches the driver.
type realPolicy struct {
	gocql.HostSelectionPolicy

	s *realServer
}

func (p realPolicy) Pick(q gocql.ExecutableStatement) gocql.NextHost {
	if q, ok := q.(interface{ Context() context.Context }); ok {
		at, ofRequest := q.Context().Value(begunKey{}).(begun)
		switch {
		case !ofRequest:
			p.s.checks.Add(1)
		case at.state != guard.StateClosed && at.changes == p.s.changes.Load() && p.s.dep.State() != guard.StateClosed:
			p.s.leaked.Add(1)
		}
	}
	return p.HostSelectionPolicy.Pick(q)
}

// visits makes a call in one of three ways, in turn.
func (s *realServer) visits(w http.ResponseWriter, r *http.Request) error {
	changes := s.changes.Load() // first, since the state may change in between
	ctx := context.WithValue(r.Context(), begunKey{}, begun{s.dep.State(), changes})
	session, err := s.session.Session(ctx, s.dep)
	if err != nil {
		return err
	}
	switch s.requests.Add(1) % 3 {
	case 0:
		err = guardcassandra.Exec(ctx, s.dep, session.Query("SELECT key FROM system.local WHERE key = ?", "local"))
	case 1:
		var version string
		err = guardcassandra.Scan(ctx, s.dep, session.Query("SELECT release_version FROM system.local"), &version)
	case 2:
		err = s.tables(ctx, session)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "visits\n")
	return err
}

// tables reads several pages.
func (s *realServer) tables(ctx context.Context, session *gocql.Session) error {
	it, err := guardcassandra.NewIter(ctx, s.dep, session.Query("SELECT table_name FROM system_schema.tables").PageSize(20))
	if err != nil {
		return err
	}
	var name string
	for it.Scan(&name) {
	}
	return it.Close()
}

// load sends requests at a steady pace, whatever becomes of them, until stop is
// called, which waits for the answers. Each fifth is for the plain route.
func (s *realServer) load() (stop func()) {
	client := &http.Client{
		Timeout:   realTimeout + realSlack,
		Transport: &http.Transport{MaxIdleConnsPerHost: 16}, // few, since each is three of the goroutines that are counted
	}
	over := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		pace := time.NewTicker(realPace)
		defer pace.Stop()
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-pace.C:
				work.Go(func() { s.send(client, n%5 > 0) })
			}
		}
	})
	return sync.OnceFunc(func() {
		close(over)
		work.Wait()
		client.CloseIdleConnections()
	})
}

func (s *realServer) send(client *http.Client, visits bool) {
	path := "/plain"
	if visits {
		path = "/visits"
	}
	a := realAnswer{sent: time.Now(), visits: visits}
	resp, err := client.Get(s.server.URL + path)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	a.took, a.problem = time.Since(a.sent), err
	if err == nil {
		a.status = resp.StatusCode
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
}

// sent returns the answers to what was sent in a time to a route.
func (s *realServer) sent(from, to time.Time, visits bool) (answers []realAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.answers {
		if a.visits == visits && !a.sent.Before(from) && a.sent.Before(to) {
			answers = append(answers, a)
		}
	}
	return answers
}

// told returns the first event since a time that led to a state.
func (s *realServer) told(since time.Time, to guard.State) (guard.BreakerEvent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.To == to && e.At.After(since) {
			return e, true
		}
	}
	return guard.BreakerEvent{}, false
}

// served waits for n answers of 200 in a row from Cassandra to what was sent
// since a time, and returns when the first 200 arrived.
func (s *realServer) served(since time.Time, n int) (first time.Time) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		inRow := 0
		for _, a := range s.sent(since, time.Now(), true) {
			if inRow++; a.status != http.StatusOK {
				inRow = 0
			} else if got := a.sent.Add(a.took); first.IsZero() || got.Before(first) {
				first = got
			}
		}
		return inRow >= n
	}, startTime, 20*time.Millisecond, "no %d answers of 200 in a row", n)
	return first
}
