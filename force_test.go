package guard_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// riggedStates bring a breaker into each of its states.
var riggedStates = []struct {
	name string
	to   func(*rig)
}{
	{"closed", func(r *rig) { _ = r.call(errBroken) }},
	{"open", func(r *rig) { r.trip() }},
	{"half-open", func(r *rig) { r.toHalfOpen() }},
	{"half-open by the clock", func(r *rig) { time.Sleep(r.trip()) }},
	{"probing", func(r *rig) { r.toHalfOpen(); r.acquire() }},
	{"hung", func(r *rig) { r.toHalfOpen(); r.acquire(); time.Sleep(time.Hour) }},
	{"forced open", func(r *rig) { r.Force(guard.ModeOpen) }},
	{"forced closed", func(r *rig) { r.Force(guard.ModeClosed); _ = r.call(errBroken) }},
}

// Force works from every state, and the events chain.
func TestForce(t *testing.T) {
	for _, from := range riggedStates {
		for _, mode := range []guard.Mode{guard.ModeAuto, guard.ModeOpen, guard.ModeClosed} {
			t.Run(fmt.Sprint(from.name, " to ", mode), func(t *testing.T) {
				inBubble(t, guard.DependencyConfig{MinCalls: 2, OpenFor: time.Second}, func(t *testing.T, r *rig) {
					from.to(r)
					r.Force(mode)
					require.Equal(t, mode, r.snapshot().Mode)
					switch mode {
					case guard.ModeOpen:
						for range 3 {
							require.Negative(t, r.refused(), "nobody knows for how long")
							require.Equal(t, guard.StateOpen, r.State())
							require.Zero(t, r.snapshot().NextProbe)
							time.Sleep(1000 * time.Hour)
						}
						if e := r.events[len(r.events)-1]; e.Reason == "forced" {
							require.Zero(t, e.OpenFor)
						}
					case guard.ModeClosed:
						for range 100 {
							require.ErrorIs(t, r.call(errBroken), errBroken)
							require.Equal(t, guard.StateClosed, r.State())
						}
					case guard.ModeAuto:
						require.Equal(t, guard.StateClosed, r.State())
						w := r.snapshot().Window
						require.Zero(t, w.Calls+w.Failed+w.Slow+w.Streak)
						r.around(time.Second, r.trip(), "what has grown is forgotten")
						time.Sleep(r.refused())
						require.NoError(t, r.call(nil))
					}
					r.told()

					r.Force(guard.ModeAuto)
					require.Equal(t, guard.StateClosed, r.State())
					r.around(time.Second, r.trip())
					time.Sleep(r.refused())
					require.NoError(t, r.call(nil))
					require.Equal(t, guard.StateClosed, r.State())
					r.told()
				})
			})
		}
	}
}

// Any other mode does nothing, and so does that in which it is already, but that
// ModeAuto starts anew.
func TestForceTwice(t *testing.T) {
	for _, from := range riggedStates {
		t.Run(from.name, func(t *testing.T) {
			inBubble(t, guard.DependencyConfig{MinCalls: 2, OpenFor: time.Second}, func(t *testing.T, r *rig) {
				from.to(r)
				before := r.snapshot()
				told := r.told()
				for _, m := range []guard.Mode{-1, 3, 100} {
					r.Force(m)
				}
				if before.Mode != guard.ModeAuto {
					r.Force(before.Mode)
				}
				after := r.snapshot()
				require.Equal(t, before, after)
				require.Equal(t, told, r.told())
			})
		})
	}
}

// Held closed, a breaker refuses nothing but what is above the Concurrency.
func TestForceClosedKeepsTheBulkhead(t *testing.T) {
	c := guard.DependencyConfig{MinCalls: 1, Concurrency: guard.Concurrency{Max: 2}}
	inBubble(t, c, func(t *testing.T, r *rig) {
		r.Force(guard.ModeClosed)
		one, two := r.acquire(), r.acquire()
		require.ErrorIs(t, r.call(nil), guard.ErrSaturated)
		one.Done(errBroken)
		require.ErrorIs(t, r.call(errBroken), errBroken)
		r.Force(guard.ModeOpen)
		r.refused()
		two.Done(errBroken)
		require.Zero(t, r.snapshot().InFlight)
		require.Equal(t, guard.StateOpen, r.State())
	})
}

// A breaker that is forced has no use for the Check, and one that is given back
// does not take the word of a Check that began before.
func TestForceAndTheCheck(t *testing.T) {
	check := new(heldCheck)
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, CheckEvery: time.Second, Check: check.check}
	inBubble(t, c, func(t *testing.T, r *rig) {
		check.in(t)
		r.Force(guard.ModeOpen)
		time.Sleep(time.Hour)
		require.Zero(t, check.runs.Load())
		r.Force(guard.ModeAuto)
		r.toHalfOpen()
		time.Sleep(time.Nanosecond)
		require.EqualValues(t, 1, check.runs.Load())
		r.Force(guard.ModeAuto)
		check.come(errBroken)
		require.Equal(t, guard.StateClosed, r.State())
		r.toHalfOpen()
		time.Sleep(time.Nanosecond)
		require.EqualValues(t, 2, check.runs.Load())
		r.Force(guard.ModeOpen)
		check.come(nil)
		require.Equal(t, guard.StateOpen, r.State())
		require.Equal(t, guard.ModeOpen, r.snapshot().Mode)
	})
}

// Hooks may force, tune and call back, whatever they are told of.
func TestForceInHooks(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second}, func(t *testing.T, r *rig) {
		r.hook = func(e guard.BreakerEvent) {
			r.State()
			switch e.To {
			case guard.StateOpen:
				r.Force(guard.ModeClosed)
			case guard.StateHalfOpen:
				_ = r.call(nil)
			case guard.StateClosed:
				r.hook = nil
				_ = r.call(errBroken)
				_ = r.Tune(func(c *guard.DependencyConfig) { c.MinCalls = 2 })
				r.Force(guard.ModeAuto)
				_ = r.Do(context.Background(), func(context.Context) error { return errBroken })
				_ = r.call(errBroken)
			}
		}
		_ = r.call(errBroken)
		require.Equal(t, []guard.State{guard.StateClosed, guard.StateOpen, guard.StateClosed, guard.StateOpen}, r.told())
		require.Equal(t, guard.StateOpen, r.State())
	})
}
