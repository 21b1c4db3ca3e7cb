package guardcassandra_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// A counted statement counts how often it reaches the driver.
type counted struct {
	gocql.Statement

	times *atomic.Int64
}

func (c counted) ExecContext(ctx context.Context) error {
	c.times.Add(1)
	return c.Statement.ExecContext(ctx)
}

// outage is a dependency whose breaker's changes are counted.
type outage struct {
	guard    *guard.Guard
	dep      *guard.Dependency
	session  *guardcassandra.Session
	reached  atomic.Int64 // calls that reached the driver
	opened   atomic.Int64 // times that the breaker opened
	halfOpen atomic.Int64
	strange  atomic.Int64 // errors that would not be a 502
}

func newOutage(t *testing.T, c guard.DependencyConfig, cluster func() *gocql.ClusterConfig, check bool) *outage {
	t.Helper()
	o := &outage{session: open(t, cluster, guardcassandra.Options{CheckTimeout: 50 * time.Millisecond})}
	var err error
	o.guard, err = guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
		BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
			switch e.To {
			case guard.StateOpen:
				o.opened.Add(1)
			case guard.StateHalfOpen:
				o.halfOpen.Add(1)
			case guard.StateClosed:
			}
		},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { o.guard.Close() })
	c.Classify = o.session.Classify
	if check {
		c.Check = o.session.Check
	}
	o.dep, err = o.guard.Dependency("cassandra", c)
	require.NoError(t, err)
	return o
}

// call is what a handler would do.
func (o *outage) call(ctx context.Context) error {
	s, err := o.session.Session(ctx, o.dep)
	if err == nil {
		err = guardcassandra.Exec(ctx, o.dep, counted{s.Query(selectName, "7"), &o.reached})
	}
	if err != nil && !errors.As(err, new(*guard.DependencyError)) {
		o.strange.Add(1)
	}
	return err
}

// quick is a configuration that trips and probes fast.
func quick() guard.DependencyConfig {
	return guard.DependencyConfig{
		Timeout: 200 * time.Millisecond, MinCalls: 5, Window: time.Second,
		OpenFor: 20 * time.Millisecond, MaxOpenFor: 40 * time.Millisecond, CheckEvery: 10 * time.Millisecond,
	}
}

// Whatever happens to Cassandra under load: the breaker opens, calls stay away
// from the driver but for the probes, and it closes again when it is over.
func TestOutages(t *testing.T) {
	const load = 4
	for name, c := range map[string]struct {
		begin      func(*cassandratest.Server)
		end        func(*testing.T, *cassandratest.Server)
		statements bool // nothing else fails
	}{
		"killed and restarted": {
			func(s *cassandratest.Server) { s.Stop() },
			func(t *testing.T, s *cassandratest.Server) { require.NoError(t, s.Restart()) }, false,
		},
		"connections closed": {func(s *cassandratest.Server) { s.SetFault(cassandratest.Down()) }, healthy, false},
		"black hole":         {func(s *cassandratest.Server) { s.SetFault(cassandratest.Hang()) }, healthy, false},
		"slow":               {func(s *cassandratest.Server) { s.SetFault(cassandratest.Slow(time.Hour)) }, healthy, true},
		"half answers":       {func(s *cassandratest.Server) { s.SetFault(cassandratest.DropMidFrame()) }, healthy, true},
		"garbage":            {func(s *cassandratest.Server) { s.SetFault(cassandratest.Garbage()) }, healthy, true},
		"overloaded": {func(s *cassandratest.Server) {
			s.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
		}, healthy, true},
	} {
		for how, check := range map[string]bool{"probed by calls": false, "probed by the check": true} {
			if check && c.statements {
				continue // system tables are fine: the Check passes, and lets calls through
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				server := start(t)
				o := newOutage(t, quick(), func() *gocql.ClusterConfig {
					c := clusterOf(server)
					c.Timeout = 400 * time.Millisecond // longer than the guard's
					return c
				}, check)
				eventually(t, func() bool { return o.call(t.Context()) == nil }, "it connects within a call's time")
				stop := under(t, load, func() { _ = o.call(t.Context()) })
				eventually(t, func() bool { return server.Requests() > 10*load })
				require.Equal(t, guard.StateClosed, o.dep.State())

				c.begin(server)
				eventually(t, func() bool { return o.opened.Load() > 0 }, "the breaker opens")
				eventually(t, func() bool { return o.guard.Snapshot().Dependencies[0].InFlight <= 1 }, "who was in flight comes back")
				before := o.reached.Load()
				probes := o.halfOpen.Load()
				eventually(t, func() bool { return o.halfOpen.Load() >= probes+2 })
				stop()
				require.LessOrEqual(t, o.reached.Load()-before, o.halfOpen.Load()-probes+1, "only probes reach the driver")

				c.end(t, server)
				eventually(t, func() bool {
					err := o.call(t.Context())
					if errors.Is(err, gocql.ErrNoConnections) {
						_ = o.session.Check(t.Context()) // the driver may never find it again
					}
					return err == nil && o.dep.State() == guard.StateClosed
				}, "it recovers")
				require.Zero(t, o.strange.Load(), "every error is a 502")
			})
		}
	}
}

func healthy(_ *testing.T, s *cassandratest.Server) { s.SetFault(cassandratest.Fault{}) }

// While the breaker is open, nothing at all reaches the driver.
func TestOpenBreakerIsQuiet(t *testing.T) {
	server := start(t)
	c := quick()
	c.OpenFor, c.MaxOpenFor = time.Hour, time.Hour
	o := newOutage(t, c, on(server), false)
	require.NoError(t, o.call(t.Context()))
	server.SetFault(cassandratest.Hang())
	for o.dep.State() == guard.StateClosed {
		require.ErrorIs(t, o.call(t.Context()), guard.ErrTimeout, "the guard's Timeout ends it, not the driver's")
	}
	before := o.reached.Load()
	for range 10_000 {
		require.ErrorIs(t, o.call(t.Context()), guard.ErrOpen)
	}
	require.Equal(t, before, o.reached.Load())
}

// While the Check fails, no user's request is the guinea pig.
func TestCheckProbes(t *testing.T) {
	server := start(t)
	o := newOutage(t, quick(), on(server), true)
	require.NoError(t, o.call(t.Context()))
	server.Stop()
	for o.dep.State() == guard.StateClosed {
		require.Error(t, o.call(t.Context()))
	}
	before := o.reached.Load()
	eventually(t, func() bool { return errors.Is(o.call(t.Context()), guard.ErrOpen) && o.halfOpen.Load() >= 3 })
	require.Equal(t, before, o.reached.Load())
	require.NoError(t, server.Restart())
	eventually(t, func() bool { return o.call(t.Context()) == nil })
}

// The first probe after Cassandra has come up succeeds, whatever the backoff says.
func TestFirstProbeConnects(t *testing.T) {
	server := start(t)
	server.Stop()
	session := open(t, on(server), guardcassandra.Options{Backoff: time.Hour, MaxBackoff: time.Hour})
	g, dep := depend(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Millisecond, MaxOpenFor: time.Millisecond, Classify: session.Classify})
	_, err := session.Session(t.Context(), dep)
	require.Error(t, err)
	require.NoError(t, server.Restart())
	eventually(t, func() bool { return dep.State() == guard.StateHalfOpen })
	s, err := session.Session(t.Context(), dep)
	require.NoError(t, err)
	require.Equal(t, guard.StateClosed, dep.State())
	require.NoError(t, lookup(t.Context(), dep, s))
	require.Equal(t, guard.CallCounts{Failed: 1, Succeeded: 2}, callsOf(g))
}

// A black hole at the start: callers wait no longer than the Timeout, for one
// attempt, and then do not wait at all.
func TestBlackHoleAtStart(t *testing.T) {
	server := start(t)
	server.SetFault(cassandratest.Hang())
	c := quick()
	c.OpenFor, c.MaxOpenFor = time.Hour, time.Hour
	o := newOutage(t, c, on(server), false)
	for range c.MinCalls {
		require.ErrorIs(t, o.call(t.Context()), guard.ErrTimeout)
	}
	require.ErrorIs(t, o.call(t.Context()), guard.ErrOpen)
	require.Equal(t, 1, server.Connections(), "one attempt, for all")
}

// Slow answers, which are what an overloaded Cassandra gives, open the breaker if
// they are to count.
func TestSlowCallsOpenTheBreaker(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Slow(20 * time.Millisecond))
	g, dep := depend(t, guard.DependencyConfig{SlowCall: 10 * time.Millisecond, MinCalls: 5, OpenFor: time.Hour, MaxOpenFor: time.Hour})
	for range 5 {
		require.NoError(t, lookup(t.Context(), dep, session))
	}
	require.ErrorIs(t, lookup(t.Context(), dep, session), guard.ErrOpen)
	require.Equal(t, guard.CallCounts{Succeeded: 5, Slow: 5, Open: 1}, callsOf(g))
}

// Up and down, over and over again: what fails is a 502, and in the end all is
// as it was, goroutines included.
func TestFlapping(t *testing.T) {
	server := start(t)
	o := newOutage(t, quick(), on(server), true)
	require.NoError(t, o.call(t.Context()))
	eventually(t, func() bool { return server.OpenConnections() == 3 })
	before := runtime.NumGoroutine()
	stop := under(t, 8, func() { _ = o.call(t.Context()) })
	server.SetFault(cassandratest.Flapping(15*time.Millisecond, 25*time.Millisecond))
	eventually(t, func() bool { return o.opened.Load() >= 10 })
	server.SetFault(cassandratest.Fault{})
	stop()
	eventually(t, func() bool { return o.call(t.Context()) == nil && o.dep.State() == guard.StateClosed })
	require.Zero(t, o.strange.Load())
	eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, "goroutines are as many as before, but for what the driver does now")
}

// One node of two is gone: the driver uses the other, and the breaker stays closed.
func TestOneNodeOfTwo(t *testing.T) {
	one := start(t)
	addr := "127.0.0.2" + one.Addr()[len("127.0.0.1"):]
	two, err := cassandratest.Listen(addr)
	if err != nil {
		t.Skip("needs a second loopback address with the same port: ", err)
	}
	t.Cleanup(func() { two.Close() })
	serve(two)
	one.SetPeers(two)
	two.SetPeers(one)
	o := newOutage(t, guard.DependencyConfig{MinCalls: 100}, on(one, two), true)
	stop := under(t, 4, func() { _ = o.call(t.Context()) })
	eventually(t, func() bool { return one.Requests() > 200 && two.Requests() > 200 })
	two.Stop()
	before := one.Requests()
	eventually(t, func() bool { return one.Requests() > before+1000 })
	stop()
	require.Zero(t, o.opened.Load())
	counts := callsOf(o.guard)
	require.Greater(t, counts.Succeeded, 10*counts.Failed)
}

// Close under traffic: what was in flight fails, but is nobody's failure.
func TestCloseUnderTraffic(t *testing.T) {
	server := start(t)
	for range 10 {
		o := newOutage(t, guard.DependencyConfig{MinCalls: 5}, on(server), true)
		require.NoError(t, o.call(t.Context()))
		var closed atomic.Bool
		var early, late atomic.Int64
		stop := under(t, 8, func() {
			begun := closed.Load()
			err := o.call(t.Context())
			switch {
			case err == nil && begun:
				late.Add(1)
			case err != nil && !errors.Is(err, gocql.ErrSessionClosed) && begun:
				late.Add(1)
			case err != nil && !o.closing():
				early.Add(1)
			}
		})
		before := server.Requests()
		eventually(t, func() bool { return server.Requests() > before+50 })
		o.session.Close()
		closed.Store(true)
		o.session.Close()
		eventually(t, func() bool { return errors.Is(o.call(t.Context()), gocql.ErrSessionClosed) })
		stop()
		require.Zero(t, early.Load(), "nothing fails before")
		require.Zero(t, late.Load(), "and all that comes after, in the same way")
		counts := callsOf(o.guard)
		require.Zero(t, counts.Failed)
		require.Zero(t, counts.Open)
		require.Equal(t, guard.StateClosed, o.dep.State())
	}
}

// closing reports whether the session is being closed: it then ignores failures.
func (o *outage) closing() bool {
	return o.session.Classify(gocql.ErrConnectionClosed) == guard.OutcomeIgnored
}
