package guard_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

var errBroken = errors.New("broken")

// A rig is a dependency of a guard of its own, and what was told of it.
type rig struct {
	*guard.Dependency
	tb    testing.TB
	guard *guard.Guard

	mu     sync.Mutex
	events []guard.BreakerEvent
	hook   func(guard.BreakerEvent) // or nil
}

func newRig(tb testing.TB, c guard.DependencyConfig) *rig {
	tb.Helper()
	r := &rig{tb: tb}
	r.guard = newGuard(tb, guard.Config{Hooks: guard.Hooks{BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
		r.mu.Lock()
		r.events = append(r.events, e)
		hook := r.hook
		r.mu.Unlock()
		if hook != nil {
			hook(e)
		}
	}}})
	var err error
	r.Dependency, err = r.guard.Dependency("db", c)
	require.NoError(tb, err)
	return r
}

// call makes a call that comes to err at once.
func (r *rig) call(err error) error {
	return r.Do(context.Background(), func(context.Context) error { return err })
}

// acquire begins a call that must be let through.
func (r *rig) acquire() *guard.Permit {
	r.tb.Helper()
	_, p, err := r.Acquire(context.Background())
	require.NoError(r.tb, err)
	return p
}

// refused makes a call that must be refused as by an open breaker, and returns
// how long it is told to wait.
func (r *rig) refused() time.Duration {
	r.tb.Helper()
	_, p, err := r.Acquire(context.Background())
	require.ErrorIs(r.tb, err, guard.ErrOpen)
	require.Nil(r.tb, p)
	var e *guard.DependencyError
	require.ErrorAs(r.tb, err, &e)
	return e.RetryAfter()
}

// trip has calls fail until the breaker opens, and returns for how long.
func (r *rig) trip() time.Duration {
	r.tb.Helper()
	for range r.snapshot().Window.MinCalls {
		require.Equal(r.tb, guard.StateClosed, r.State())
		require.ErrorIs(r.tb, r.call(errBroken), errBroken)
	}
	require.Equal(r.tb, guard.StateOpen, r.State())
	return r.refused()
}

// toHalfOpen trips the breaker and waits until it may probe.
func (r *rig) toHalfOpen() {
	r.tb.Helper()
	time.Sleep(r.trip())
	require.Equal(r.tb, guard.StateHalfOpen, r.State())
}

func (r *rig) snapshot() guard.DependencySnapshot { return r.guard.Snapshot().Dependencies[0] }

// told returns the states that were told, in order.
func (r *rig) told() []guard.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := []guard.State{guard.StateClosed}
	for _, e := range r.events {
		require.Equal(r.tb, states[len(states)-1], e.From, "the events do not chain")
		states = append(states, e.To)
	}
	return states
}

// around requires that an open time is what it should be, give or take the jitter.
func (r *rig) around(want, got time.Duration, about ...any) {
	r.tb.Helper()
	require.GreaterOrEqual(r.tb, got, want*9/10, about...)
	require.LessOrEqual(r.tb, got, want*11/10, about...)
}

// inBubble runs a test in a bubble, where time is virtual.
func inBubble(t *testing.T, c guard.DependencyConfig, test func(*testing.T, *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, c)
		defer r.guard.Close()
		test(t, r)
	})
}
