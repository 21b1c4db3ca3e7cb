package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// hookedDependency returns a dependency that a hook is told of the changes of.
func hookedDependency(t *testing.T, c guard.DependencyConfig, changed func(context.Context, guard.BreakerEvent)) *guard.Dependency {
	t.Helper()
	g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{BreakerChanged: changed}})
	d, err := g.Dependency("db", c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return d
}

func tripped(t *testing.T, d *guard.Dependency) {
	t.Helper()
	for range 10 {
		_ = d.Do(t.Context(), func(context.Context) error { return errors.New(secret) })
	}
	require.Equal(t, guard.StateOpen, d.State())
}

// What a hook takes is not the dependency's doing: a probe in whose goroutine
// the change is told must not be slow, nor late, nor hang by it.
func TestSlowHookIsNoSlowProbe(t *testing.T) {
	for name, c := range map[string]guard.DependencyConfig{
		"slow call": {SlowCall: 100 * time.Millisecond, Timeout: guard.NoTimeout},
		"timeout":   {Timeout: 100 * time.Millisecond},
		"hung":      {Timeout: guard.NoTimeout, ProbeTimeout: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := hookedDependency(t, c, func(context.Context, guard.BreakerEvent) { time.Sleep(200 * time.Millisecond) })
				tripped(t, d)
				time.Sleep(6 * time.Second)
				require.NoError(t, d.Do(t.Context(), func(ctx context.Context) error { return ctx.Err() }), "it has all its time")
				require.Equal(t, guard.StateClosed, d.State())
			})
		})
	}
}

// Likewise for the Check, whose context must have all its time.
func TestSlowHookIsNoSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks, late atomic.Int32
		d := hookedDependency(t, guard.DependencyConfig{
			ProbeTimeout: 100 * time.Millisecond,
			Check: func(ctx context.Context) error {
				checks.Add(1)
				if ctx.Err() != nil {
					late.Add(1)
				}
				return ctx.Err()
			},
		}, func(context.Context, guard.BreakerEvent) { time.Sleep(200 * time.Millisecond) })
		tripped(t, d)
		time.Sleep(8 * time.Second)
		require.Positive(t, checks.Load())
		require.Zero(t, late.Load())
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// A hook that never returns, called where the Check runs, does not leave the
// breaker to a Check that never comes: calls probe then.
func TestHookThatBlocksTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		var broken atomic.Bool
		broken.Store(true)
		d := hookedDependency(t, guard.DependencyConfig{Check: func(context.Context) error {
			if broken.Load() {
				return errors.New(secret)
			}
			return nil
		}}, func(_ context.Context, e guard.BreakerEvent) {
			if e.From == guard.StateHalfOpen && e.To == guard.StateOpen {
				<-gate
			}
		})
		tripped(t, d)
		time.Sleep(6 * time.Second) // the Check fails once, and the hook of that blocks
		require.Equal(t, guard.StateOpen, d.State())
		broken.Store(false)
		time.Sleep(time.Hour)
		for range 10 {
			_ = d.Do(t.Context(), func(context.Context) error { return nil })
			time.Sleep(time.Minute)
		}
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// A hook that ends the goroutine of a probe has the probe end, too.
func TestHookThatEndsAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var exits atomic.Bool
		exits.Store(true)
		d := hookedDependency(t, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}}, func(_ context.Context, e guard.BreakerEvent) {
			if e.To == guard.StateHalfOpen && exits.Load() {
				runtime.Goexit()
			}
		})
		tripped(t, d)
		time.Sleep(6 * time.Second)
		out := runApart(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			_ = d.Do(context.Background(), func(context.Context) error { return nil })
		}), put())
		require.Equal(t, errExited, out, "the hook was called for the probe")
		exits.Store(false)
		require.NoError(t, d.Do(t.Context(), func(context.Context) error { return nil }), "the place and the probe are free")
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// A hook that ends each goroutine that it is called in does not keep the Check
// from running, and from closing the breaker.
func TestHookThatEndsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int32
		var exits atomic.Bool
		exits.Store(true)
		d := hookedDependency(t, guard.DependencyConfig{
			Timeout: time.Second, OpenFor: time.Second, MaxOpenFor: time.Second, CheckEvery: 5 * time.Second,
			Check: func(context.Context) error {
				checks.Add(1)
				return nil
			},
		}, func(context.Context, guard.BreakerEvent) {
			if exits.Load() {
				runtime.Goexit()
			}
		})
		for range 10 {
			_ = runApart(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				_ = d.Do(context.Background(), func(context.Context) error { return errors.New(secret) })
			}), put())
		}
		time.Sleep(time.Minute)
		require.Positive(t, checks.Load(), "in a minute, with CheckEvery 5 s")
		exits.Store(false)
		require.Equal(t, guard.StateClosed, d.State())
	})
}

type nameKey struct{}

// A hook is given the context of the call that brought the change about, though
// another one has come to tell it.
func TestHooksGetTheContextOfTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := map[guard.State]any{}
		d := hookedDependency(t, guard.DependencyConfig{}, func(ctx context.Context, e guard.BreakerEvent) {
			told[e.To] = ctx.Value(nameKey{})
			if e.To == guard.StateHalfOpen {
				time.Sleep(time.Second)
			}
		})
		as := func(name string) context.Context { return context.WithValue(context.Background(), nameKey{}, name) }
		call := func(name string, err error) { _ = d.Do(as(name), func(context.Context) error { return err }) }
		for range 10 {
			call("tripping", errors.New(secret))
		}
		require.Equal(t, "tripping", told[guard.StateOpen])
		time.Sleep(6 * time.Second)
		_, p, err := d.Acquire(as("another"))
		require.NoError(t, err)
		require.Equal(t, "another", told[guard.StateHalfOpen], "who finds out what the clock has done")
		p.Done(nil)
		time.Sleep(time.Minute)
		for range 10 {
			call("again", errors.New(secret))
		}
		time.Sleep(6 * time.Second)
		go d.State() // tells, for a second
		synctest.Wait()
		call("closing", nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, "closing", told[guard.StateClosed])
	})
}
