package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Changes of a breaker are told one at a time, in order and without a gap, by
// however many goroutines they are brought about.
func TestBreakerChangedIsAChain(t *testing.T) {
	names := []string{"a", "b"}
	var mu sync.Mutex
	last, events := map[string]guard.State{}, map[string]int{}
	var inside [2]atomic.Int32
	var faults []string
	var hook func(context.Context, guard.BreakerEvent)
	g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
		BreakerChanged: func(ctx context.Context, e guard.BreakerEvent) { hook(ctx, e) },
	}})
	hook = func(_ context.Context, e guard.BreakerEvent) {
		in := &inside[map[string]int{"a": 0, "b": 1}[e.Dependency]]
		n := in.Add(1)
		mu.Lock()
		if n != 1 {
			faults = append(faults, "two at once")
		}
		if e.From != last[e.Dependency] || e.From == e.To || e.At.IsZero() || e.Reason == "" {
			faults = append(faults, fmt.Sprintf("after %v: %+v", last[e.Dependency], e))
		}
		last[e.Dependency] = e.To
		events[e.Dependency]++
		mu.Unlock()
		_ = g.Snapshot() // a look, which tells
		in.Add(-1)
	}
	var all []*guard.Dependency
	for _, name := range names {
		d, err := g.Dependency(name, guard.DependencyConfig{
			MinCalls: 2, Window: time.Millisecond, OpenFor: time.Millisecond, ProbeTimeout: time.Millisecond,
		})
		require.NoError(t, err)
		all = append(all, d)
	}
	var work sync.WaitGroup
	for i := range 50 {
		work.Go(func() {
			for n := range 200 {
				d := all[(i+n)%2]
				switch (i * n) % 7 {
				case 0:
					d.Force(guard.Mode(n % 3))
				case 1:
					_ = d.State()
				case 2:
					_ = d.Do(context.Background(), func(context.Context) error { return nil })
				default:
					_ = d.Do(context.Background(), func(context.Context) error { return errors.New(secret) })
				}
			}
		})
	}
	work.Wait()
	for _, d := range all {
		d.Force(guard.ModeAuto)
	}
	for _, d := range all {
		require.Equal(t, guard.StateClosed, last[d.Name()], "all is told when nobody is telling")
		require.Greater(t, events[d.Name()], 50)
		require.Zero(t, d.State())
	}
	require.Empty(t, faults)
}

// The fields of each change in the life of a breaker.
func TestBreakerChangedTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: w.hooks()})
		d, err := g.Dependency("db", guard.DependencyConfig{OpenFor: 10 * time.Second, MinCalls: 4, SlowCall: time.Second, Probes: 2})
		require.NoError(t, err)
		errOwn := errors.New(secret)
		call := func(err error) { _ = d.Do(t.Context(), func(context.Context) error { return err }) }
		start := time.Now()
		next := func() guard.BreakerEvent {
			t.Helper()
			require.Len(t, w.breakers, 1)
			e := w.breakers[0]
			w.forget()
			require.Equal(t, "db", e.Dependency)
			return e
		}
		call(nil)
		call(nil)
		call(errOwn)
		call(errOwn)
		e := next()
		require.Equal(t, [2]guard.State{guard.StateClosed, guard.StateOpen}, [2]guard.State{e.From, e.To})
		require.Equal(t, "failure rate", e.Reason)
		require.Equal(t, [3]int64{4, 2, 0}, [3]int64{e.Calls, e.Failed, e.Slow})
		require.Equal(t, errOwn, e.Err)
		require.Equal(t, start, e.At)
		require.InDelta(t, 10*time.Second, e.OpenFor, float64(time.Second))
		opened := e.OpenFor

		time.Sleep(time.Hour)
		call(errOwn)
		require.Len(t, w.breakers, 2)
		half, again := w.breakers[0], w.breakers[1]
		w.forget()
		require.Equal(t, guard.BreakerEvent{Dependency: "db", From: guard.StateOpen, To: guard.StateHalfOpen, At: start.Add(opened), Reason: "open time is over"}, half)
		require.Equal(t, [2]guard.State{guard.StateHalfOpen, guard.StateOpen}, [2]guard.State{again.From, again.To})
		require.Equal(t, "probe failed", again.Reason)
		require.InDelta(t, 20*time.Second, again.OpenFor, float64(2*time.Second))
		require.Zero(t, again.Calls, "nothing has been counted")
		require.Equal(t, errOwn, again.Err)
		require.Equal(t, time.Now(), again.At)

		time.Sleep(again.OpenFor)
		require.Equal(t, guard.StateHalfOpen, d.State())
		require.Equal(t, time.Now(), next().At)
		call(nil)
		require.Empty(t, w.breakers, "two successes close it")
		w.forget()
		call(nil)
		require.Equal(t, guard.BreakerEvent{Dependency: "db", From: guard.StateHalfOpen, To: guard.StateClosed, At: time.Now(), Reason: "probes succeeded"}, next())

		d.Force(guard.ModeOpen)
		require.Equal(t, guard.BreakerEvent{Dependency: "db", From: guard.StateClosed, To: guard.StateOpen, At: time.Now(), Reason: "forced"}, next(), "for as long as it takes")
		d.Force(guard.ModeOpen)
		require.Zero(t, w.forget(), "nothing has changed")
		d.Force(guard.ModeClosed)
		require.Equal(t, guard.StateClosed, next().To)
		d.Force(guard.ModeAuto)
		require.Zero(t, w.forget(), "it was closed, too")
	})
}
