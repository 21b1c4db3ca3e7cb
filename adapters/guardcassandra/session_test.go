package guardcassandra_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// on makes what Open wants of a configuration.
func on(servers ...*cassandratest.Server) func() *gocql.ClusterConfig {
	return func() *gocql.ClusterConfig { return clusterOf(servers...) }
}

func TestOpenConnectsWhenNeeded(t *testing.T) {
	server := start(t)
	session := open(t, on(server), guardcassandra.Options{})
	require.Zero(t, server.Connections())
	g, dep := depend(t, guard.DependencyConfig{Classify: session.Classify})

	const callers = 50
	var first sync.WaitGroup
	sessions := make([]*gocql.Session, callers)
	for i := range callers {
		first.Go(func() { sessions[i], _ = session.Session(t.Context(), dep) })
	}
	first.Wait()
	for _, s := range sessions {
		require.NotNil(t, s)
		require.Same(t, sessions[0], s, "there is one, whoever asked for it")
	}
	connected := callsOf(g)
	require.NoError(t, lookup(t.Context(), dep, sessions[0]))
	again, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.Same(t, sessions[0], again)
	require.Equal(t, connected.Succeeded+1, callsOf(g).Succeeded, "once connected, it is no call")
}

// A server that starts while Cassandra is down answers 502, with the time to
// wait when the breaker has opened, and works as soon as Cassandra does.
func TestDownAtStart(t *testing.T) {
	server := start(t)
	server.Stop()
	session := open(t, on(server), guardcassandra.Options{Backoff: time.Millisecond})
	g, dep := depend(t, guard.DependencyConfig{
		MinCalls: 3, OpenFor: 20 * time.Millisecond, MaxOpenFor: 20 * time.Millisecond, Classify: session.Classify,
	})
	h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		s, err := session.Session(r.Context(), dep)
		if err != nil {
			return err
		}
		return lookup(r.Context(), dep, s)
	})
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w
	}
	for range 3 {
		require.Equal(t, http.StatusBadGateway, ask().Code)
	}
	require.Equal(t, guard.StateOpen, dep.State())
	w := ask()
	require.Equal(t, http.StatusBadGateway, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.NoError(t, server.Restart())
	eventually(t, func() bool { return ask().Code == http.StatusOK })
	require.Equal(t, guard.StateClosed, dep.State())
}

// With a Check, no request need come by for the session to be there.
func TestCheckConnects(t *testing.T) {
	server := start(t)
	server.Stop()
	session := open(t, on(server), guardcassandra.Options{Backoff: time.Hour, MaxBackoff: time.Hour})
	g, dep := depend(t, guard.DependencyConfig{
		MinCalls: 1, OpenFor: 10 * time.Millisecond, MaxOpenFor: 10 * time.Millisecond, CheckEvery: 5 * time.Millisecond,
		Classify: session.Classify, Check: session.Check,
	})
	_, err := session.Session(t.Context(), dep)
	require.ErrorAs(t, err, new(*guard.DependencyError))
	require.NoError(t, server.Restart())
	eventually(t, func() bool { return dep.State() == guard.StateClosed }, "the Check closes it, in spite of the backoff")
	require.Equal(t, guard.CallCounts{Failed: 1}, callsOf(g))
	s, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.NoError(t, lookup(t.Context(), dep, s))
}

func TestCheck(t *testing.T) {
	server := start(t)
	session := open(t, on(server), guardcassandra.Options{CheckTimeout: 100 * time.Millisecond})
	require.NoError(t, session.Check(t.Context()))
	require.NoError(t, session.Check(t.Context()))
	server.SetFault(cassandratest.Hang())
	require.ErrorIs(t, session.Check(t.Context()), context.DeadlineExceeded)
	server.Stop()
	require.Error(t, session.Check(t.Context()))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, session.Check(ended))
	session.Close()
	require.ErrorIs(t, session.Check(t.Context()), gocql.ErrSessionClosed)
}

// A session that has lost its connections, and does not get them back, is
// replaced. (The driver may end like that by itself: v2.1.2 marks a node as up
// whose pool it has closed, if the node comes back while it is marked as down.)
func TestCheckReplacesALostSession(t *testing.T) {
	server := start(t)
	var lost atomic.Bool
	made := 0
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		if made++; made == 3 { // Open makes two
			c.Dialer = dialerFunc(func(ctx context.Context) (net.Conn, error) {
				if lost.Load() {
					return nil, errors.New("this one never connects again")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", server.Addr())
			})
		}
		return c
	}, guardcassandra.Options{})
	g, dep := depend(t, guard.DependencyConfig{Classify: session.Classify})
	first, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.NoError(t, session.Check(t.Context()))
	again, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.Same(t, first, again, "while all is well, it is the same")

	lost.Store(true)
	server.Stop()
	eventually(t, func() bool { return errors.Is(first.Query(selectName, "7").Exec(), gocql.ErrNoConnections) })
	require.Error(t, session.Check(t.Context()))
	again, err = session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.Same(t, first, again, "nor is it replaced by nothing")

	require.NoError(t, server.Restart())
	require.NoError(t, session.Check(t.Context()))
	second, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.NoError(t, lookup(t.Context(), dep, second))
	eventually(t, first.Closed)

	before := callsOf(g)
	err = lookup(t.Context(), dep, first)
	require.ErrorIs(t, err, gocql.ErrSessionClosed)
	require.ErrorAs(t, err, new(*guard.DependencyError), "a 502")
	require.Equal(t, before.Answered+1, callsOf(g).Answered)
	require.Equal(t, before.Failed, callsOf(g).Failed)
}

// What the query of the Check comes to matters only as far as it is Cassandra's health.
func TestCheckQuery(t *testing.T) {
	server := start(t)
	session := open(t, on(server), guardcassandra.Options{CheckQuery: "SELECT name FROM visit"})
	for _, c := range codes {
		if c.code == gocql.ErrCodeUnprepared {
			continue
		}
		server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: c.code}, "visit"))
		before := server.Requests()
		err := session.Check(t.Context())
		require.Equal(t, c.want == answered, err == nil, "code %#04x: %v", c.code, err)
		require.Equal(t, before+1, server.Requests())
	}
}

// While nothing listens, attempts are one at a time, and as rare as the backoff has it.
func TestBackoff(t *testing.T) {
	var attempts, atOnce atomic.Int64
	session := open(t, func() *gocql.ClusterConfig {
		c := gocql.NewCluster("127.0.0.1")
		c.ProtoVersion = 4
		c.Dialer = dialerFunc(func(context.Context) (net.Conn, error) {
			attempts.Add(1)
			defer atOnce.Add(-1)
			if atOnce.Add(1) > 1 {
				return nil, errors.New("two attempts at once")
			}
			return nil, errors.New("refused")
		})
		return c
	}, guardcassandra.Options{Backoff: time.Hour, MaxBackoff: 2 * time.Hour})
	_, dep := depend(t, guard.DependencyConfig{MinCalls: 1 << 20})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				_, err := session.Session(t.Context(), dep)
				if err == nil || errors.Is(err, guard.ErrOpen) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, attempts.Load(), "1000 calls, and one attempt")
	require.Error(t, session.Check(t.Context()))
	require.EqualValues(t, 2, attempts.Load(), "a Check does not wait for the backoff")
}

type dialerFunc func(context.Context) (net.Conn, error)

func (f dialerFunc) DialContext(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }

// hostDialerFunc is a dialer of the other kind.
type hostDialerFunc func(context.Context) (net.Conn, error)

func (f hostDialerFunc) DialHost(ctx context.Context, _ *gocql.HostInfo) (*gocql.DialedHost, error) {
	conn, err := f(ctx)
	if err != nil {
		return nil, err
	}
	return &gocql.DialedHost{Conn: conn}, nil
}

// Close ends an attempt to connect, wherever it is: dialing, or waiting for a
// node that hangs.
func TestCloseWhileConnecting(t *testing.T) {
	for name, set := range map[string]func(*gocql.ClusterConfig, func(context.Context) (net.Conn, error)){
		"Dialer": func(c *gocql.ClusterConfig, dial func(context.Context) (net.Conn, error)) {
			c.Dialer = dialerFunc(dial)
		},
		"HostDialer": func(c *gocql.ClusterConfig, dial func(context.Context) (net.Conn, error)) {
			c.HostDialer = hostDialerFunc(dial)
		},
	} {
		for _, stage := range []string{"dialing", "hung", "dialed too late"} {
			t.Run(name+"/"+stage, func(t *testing.T) {
				server := start(t)
				server.SetFault(cassandratest.Hang())
				dialing, closed := make(chan struct{}, 10), make(chan struct{})
				session := open(t, func() *gocql.ClusterConfig {
					c := clusterOf(server)
					c.Timeout, c.ConnectTimeout = time.Hour, time.Hour
					set(c, func(ctx context.Context) (net.Conn, error) {
						switch stage {
						case "hung":
							conn, err := new(net.Dialer).DialContext(ctx, "tcp", server.Addr())
							dialing <- struct{}{}
							return conn, err
						case "dialed too late":
							dialing <- struct{}{}
							<-closed
							return new(net.Dialer).DialContext(context.WithoutCancel(ctx), "tcp", server.Addr())
						}
						dialing <- struct{}{}
						<-ctx.Done()
						return nil, ctx.Err()
					})
					return c
				}, guardcassandra.Options{})
				g, dep := depend(t, guard.DependencyConfig{Timeout: guard.NoTimeout, Classify: session.Classify})
				ended := make(chan error)
				go func() {
					_, err := session.Session(t.Context(), dep)
					ended <- err
				}()
				<-dialing
				session.Close()
				close(closed)
				require.ErrorIs(t, <-ended, gocql.ErrSessionClosed)
				requireCounted(t, g, ignored)
				_, err := session.Session(t.Context(), dep)
				require.ErrorIs(t, err, gocql.ErrSessionClosed)
				requireCounted(t, g, ignored)
			})
		}
	}
}

// A caller waits for an attempt as long as its context lasts; the attempt goes
// on, and serves who comes later.
func TestAttemptOutlivesItsCaller(t *testing.T) {
	server := start(t)
	dialing, dial := make(chan struct{}, 10), make(chan struct{})
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.Dialer = dialerFunc(func(ctx context.Context) (net.Conn, error) {
			dialing <- struct{}{}
			<-dial
			return new(net.Dialer).DialContext(ctx, "tcp", server.Addr())
		})
		return c
	}, guardcassandra.Options{})
	g, dep := depend(t, guard.DependencyConfig{Timeout: 20 * time.Millisecond})
	_, err := session.Session(t.Context(), dep)
	require.ErrorIs(t, err, guard.ErrTimeout)
	requireCounted(t, g, failed)
	<-dialing
	close(dial)
	patient, err := g.Dependency("patient", guard.DependencyConfig{})
	require.NoError(t, err)
	_, err = session.Session(t.Context(), patient)
	require.NoError(t, err)
	eventually(t, func() bool { return server.OpenConnections() == 1+2 }, "a control connection, and a pool of two")
	require.Equal(t, 1+2, server.Connections(), "one attempt was enough")
}

// A policy that is made anew each time is fine, and one that panics for a second
// session does not get one.
func TestFreshPolicyForEachAttempt(t *testing.T) {
	server := start(t)
	server.Stop()
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
		return c
	}, guardcassandra.Options{})
	for range 3 {
		require.Error(t, session.Check(t.Context()))
	}
	require.NoError(t, server.Restart())
	require.NoError(t, session.Check(t.Context()))
}

// Wrong passwords are an outage, and the right ones are read at the next attempt.
func TestPasswordsAreReadAnew(t *testing.T) {
	server := start(t)
	server.SetPasswords(map[string]string{"guard": "right"})
	password := make(chan string, 4)
	for _, p := range []string{"", "", "wrong", "right"} { // Open looks twice
		password <- p
	}
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.Authenticator = gocql.PasswordAuthenticator{Username: "guard", Password: <-password}
		return c
	}, guardcassandra.Options{Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond})
	g, dep := depend(t, guard.DependencyConfig{Classify: session.Classify})
	_, err := session.Session(t.Context(), dep)
	require.ErrorContains(t, err, "unable to create session")
	requireCounted(t, g, failed)
	_, err = session.Session(t.Context(), dep)
	require.NoError(t, err)
}

// A session that is there just when nobody wants it any more is closed.
func TestCloseAsItConnects(t *testing.T) {
	server := start(t)
	ready, closed := make(chan struct{}), make(chan struct{})
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.Metadata.SessionReadyListener = readyFunc(func() {
			close(ready)
			<-closed
		})
		return c
	}, guardcassandra.Options{})
	_, dep := depend(t, guard.DependencyConfig{Classify: session.Classify})
	ended := make(chan error)
	go func() {
		s, err := session.Session(t.Context(), dep)
		if s != nil {
			err = errors.New("a session, in spite of Close")
		}
		ended <- err
	}()
	<-ready
	session.Close()
	close(closed)
	require.ErrorIs(t, <-ended, gocql.ErrSessionClosed)
	eventually(t, func() bool { return server.OpenConnections() == 0 })
}

type readyFunc func()

func (f readyFunc) OnSessionReady(*gocql.Session) { f() }

// The configuration is user code: what it does wrong later is an error, too.
func TestBrokenConfigurationLater(t *testing.T) {
	for text, broken := range map[string]func() *gocql.ClusterConfig{
		"connecting panicked: oh": func() *gocql.ClusterConfig { panic("oh") },
		"configuration is nil":    func() *gocql.ClusterConfig { return nil },
		"ended its goroutine":     goexit,
	} {
		server := start(t)
		times := 0
		session := open(t, func() *gocql.ClusterConfig {
			if times++; times == 3 {
				return broken()
			}
			return clusterOf(server)
		}, guardcassandra.Options{})
		require.ErrorContains(t, session.Check(t.Context()), text)
		require.NoError(t, session.Check(t.Context()), "the next attempt is as good as any")
	}
}

func goexit() *gocql.ClusterConfig {
	runtime.Goexit()
	return nil
}
