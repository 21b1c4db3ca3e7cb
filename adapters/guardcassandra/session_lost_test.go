package guardcassandra_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// Whoever closes the driver's session, as code does that made its own before,
// must not have taken it from all others for good: what he causes counts for
// nothing, so that neither breaker nor Check would ever find out.
func TestDriversSessionClosedByItsUser(t *testing.T) {
	server := start(t)
	session := open(t, on(server), guardcassandra.Options{})
	g, dep := depend(t, guard.DependencyConfig{Classify: session.Classify})
	first, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	first.Close()
	second, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.NoError(t, lookup(t.Context(), dep, second))

	second.Close()
	require.NoError(t, session.Check(t.Context()))
	third, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.NoError(t, lookup(t.Context(), dep, third))
	require.Equal(t, guard.CallCounts{Succeeded: 4}, callsOf(g), "two that connect, and two look-ups")
	third.Close()
	session.Close()
	_, err = session.Session(t.Context(), dep)
	require.ErrorIs(t, err, gocql.ErrSessionClosed)
}

// In shadow mode calls go on while the breaker is open, and they wait for the
// backoff then, too: only a probe does not.
func TestBackoffInShadowMode(t *testing.T) {
	var attempts atomic.Int64
	session := open(t, func() *gocql.ClusterConfig {
		c := gocql.NewCluster("127.0.0.1")
		c.ProtoVersion = 4
		c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1}
		c.Dialer = dialerFunc(func(context.Context) (net.Conn, error) {
			attempts.Add(1)
			return nil, errors.New("refused")
		})
		return c
	}, guardcassandra.Options{Backoff: time.Hour, MaxBackoff: time.Hour})
	g, err := guard.New(guard.Config{Shadow: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { g.Close() })
	dep, err := g.Dependency("cassandra", guard.DependencyConfig{MinCalls: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour, Classify: session.Classify})
	require.NoError(t, err)
	for range 10 {
		_, err := session.Session(t.Context(), dep)
		require.ErrorContains(t, err, "unable to create session")
	}
	require.Equal(t, guard.StateOpen, dep.State())
	require.EqualValues(t, 1, attempts.Load())
}

// A dialer is user code, and the driver calls it in goroutines of its own, where
// a panic would be the end of the process; and where it would not, the driver
// would leave goroutines behind.
func TestBrokenDialers(t *testing.T) {
	for name, broken := range map[string]func() (net.Conn, error){
		"panics":        func() (net.Conn, error) { panic("a broken dialer") },
		"dials nothing": func() (net.Conn, error) { return nil, nil },
	} {
		for kind, set := range map[string]func(*gocql.ClusterConfig, func(context.Context) (net.Conn, error)){
			"Dialer": func(c *gocql.ClusterConfig, dial func(context.Context) (net.Conn, error)) {
				c.Dialer = dialerFunc(dial)
			},
			"HostDialer": func(c *gocql.ClusterConfig, dial func(context.Context) (net.Conn, error)) {
				c.HostDialer = hostDialerFunc(dial)
			},
		} {
			for at, breaks := range map[string]func(dial int64) bool{
				"the control connection": func(dial int64) bool { return dial == 1 },
				"the pool's":             func(dial int64) bool { return dial == 2 || dial == 3 },
				"a later one":            func(dial int64) bool { return dial == 3 },
			} {
				t.Run(name+"/"+kind+"/"+at, func(t *testing.T) {
					server := start(t)
					var dials atomic.Int64
					session := open(t, func() *gocql.ClusterConfig {
						c := clusterOf(server)
						set(c, func(ctx context.Context) (net.Conn, error) {
							if breaks(dials.Add(1)) {
								return broken()
							}
							return new(net.Dialer).DialContext(ctx, "tcp", server.Addr())
						})
						return c
					}, guardcassandra.Options{})
					eventually(t, func() bool { // a query has the driver fill its pool
						return session.Check(t.Context()) == nil && server.OpenConnections() == 1+2
					}, "a control connection, and a pool of two")
				})
			}
		}
	}
}

// A HostDialer may also have no answer at all.
func TestHostDialerWithoutAnswer(t *testing.T) {
	server := start(t)
	var dials atomic.Int64
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.HostDialer = noAnswer{func(ctx context.Context) (net.Conn, error) {
			if dials.Add(1) == 1 {
				return nil, nil
			}
			return new(net.Dialer).DialContext(ctx, "tcp", server.Addr())
		}}
		return c
	}, guardcassandra.Options{})
	require.ErrorContains(t, session.Check(t.Context()), "the dialer returned neither a connection nor an error")
	require.NoError(t, session.Check(t.Context()))
}

// noAnswer dials, and returns nil for a nil connection.
type noAnswer struct {
	dial func(context.Context) (net.Conn, error)
}

func (n noAnswer) DialHost(ctx context.Context, host *gocql.HostInfo) (*gocql.DialedHost, error) {
	conn, err := n.dial(ctx)
	if conn == nil {
		return nil, err
	}
	return hostDialerFunc(func(context.Context) (net.Conn, error) { return conn, err }).DialHost(ctx, host)
}

// What a listener does to the attempt that has just connected leaves no
// connections behind.
func TestReadyListenerPanics(t *testing.T) {
	server := start(t)
	var times atomic.Int64
	session := open(t, func() *gocql.ClusterConfig {
		c := clusterOf(server)
		c.Metadata.SessionReadyListener = readyFunc(func() {
			if times.Add(1) <= 3 {
				panic("a broken listener")
			}
		})
		return c
	}, guardcassandra.Options{})
	for range 3 {
		require.ErrorContains(t, session.Check(t.Context()), "connecting panicked: a broken listener")
	}
	require.NoError(t, session.Check(t.Context()))
	eventually(t, func() bool { return server.OpenConnections() == 1+2 }, "only those of the last")
}

// A half-open breaker's probe is what finds that Cassandra is back, and so does
// not wait for the backoff.
func TestProbeDoesNotWaitForTheBackoff(t *testing.T) {
	server := start(t)
	server.Stop()
	session := open(t, on(server), guardcassandra.Options{Backoff: time.Hour, MaxBackoff: time.Hour})
	_, dep := depend(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Millisecond, MaxOpenFor: time.Millisecond, Classify: session.Classify})
	_, err := session.Session(t.Context(), dep)
	require.ErrorContains(t, err, "unable to create session")
	require.NoError(t, server.Restart())
	eventually(t, func() bool {
		_, err := session.Session(t.Context(), dep)
		return err == nil
	})
	require.Equal(t, guard.StateClosed, dep.State())
}
