package guard_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// After Close no Check runs, whatever state the breaker was in: calls probe.
func TestCheckAfterClose(t *testing.T) {
	for _, row := range []struct {
		name  string
		heeds bool          // the Check heeds its context
		after time.Duration // of the opening, until Close
	}{
		{"closed", true, -1},
		{"before the first Check", true, 0},
		{"while it runs", true, time.Second},
		{"while it hangs", false, time.Second},
		{"while it probes", true, 2200 * time.Millisecond},
		{"while it probes and hangs", false, 2200 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			check := new(heldCheck)
			c := guard.DependencyConfig{
				MinCalls: 1, OpenFor: 2 * time.Second, CheckEvery: time.Second, ProbeTimeout: time.Minute,
				Check: func(ctx context.Context) error {
					if row.heeds {
						check.runs.Add(1)
						<-ctx.Done()
						return ctx.Err()
					}
					return check.check(ctx)
				},
			}
			if row.after > time.Second { // the Check is to begin half-open
				c.CheckEvery = time.Hour
			}
			inBubble(t, c, func(t *testing.T, r *rig) {
				check.in(t)
				if row.after >= 0 {
					r.trip()
					time.Sleep(row.after)
					synctest.Wait()
				}
				ran := check.runs.Load()
				require.NoError(t, r.guard.Close())
				synctest.Wait()
				if row.after < 0 {
					r.trip()
				}
				time.Sleep(time.Until(r.events[0].At.Add(r.events[0].OpenFor)))
				require.Equal(t, guard.StateHalfOpen, r.State())
				require.NoError(t, r.call(nil), "calls probe from now on")
				require.Equal(t, guard.StateClosed, r.State())
				r.toHalfOpen()
				time.Sleep(time.Hour)
				require.NoError(t, r.call(nil))
				require.Equal(t, ran, check.runs.Load(), "one ran after Close")
				require.NoError(t, r.guard.Close())
			})
		})
	}
}

// Close ends the goroutine that waits for the next Check, and the Check that
// heeds its context.
func TestGuarantee10CloseStopsTheCheck(t *testing.T) {
	for _, at := range []time.Duration{0, time.Second, 3 * time.Second} {
		inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: 2 * time.Second, CheckEvery: time.Second}, func(t *testing.T, r *rig) {
			bare := goroutinesHere()
			require.NoError(t, r.Tune(func(c *guard.DependencyConfig) {
				c.Check = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			}))
			r.trip()
			time.Sleep(at)
			synctest.Wait()
			require.Equal(t, bare+1, goroutinesHere(), "one for the dependency")
			require.NoError(t, r.guard.Close())
			synctest.Wait()
			require.Equal(t, bare, goroutinesHere())
		})
	}
}

// goroutinesHere counts the goroutines that run code of checks.
func goroutinesHere() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "created by example.com/guard.(*Dependency)")
}

// A Check may close the guard, tune it, force it, and call the dependency.
func TestCheckCallsBack(t *testing.T) {
	for name, does := range map[string]func(*rig) error{
		"close": func(r *rig) error { return r.guard.Close() },
		"tune":  func(r *rig) error { return r.Tune(func(c *guard.DependencyConfig) { c.Check = nil }) },
		"force": func(r *rig) error { r.Force(guard.ModeAuto); return nil },
		"call":  func(r *rig) error { _ = r.call(nil); r.State(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			var r *rig
			c := guard.DependencyConfig{
				MinCalls: 1, OpenFor: time.Second, ProbeTimeout: time.Second, CheckEvery: 10 * time.Second,
				Check: func(context.Context) error { return does(r) },
			}
			inBubble(t, c, func(t *testing.T, the *rig) {
				r = the
				time.Sleep(r.trip())
				synctest.Wait()
				time.Sleep(time.Minute)
				_ = r.call(nil)
				require.Equal(t, guard.StateClosed, r.State())
				require.NoError(t, r.call(nil))
				r.told()
			})
		})
	}
}

// A Check that is set while the breaker is not closed takes over the probing, and
// one that is removed leaves it to calls.
func TestGuarantee7TuneOfTheCheck(t *testing.T) {
	check := new(heldCheck)
	set := func(r *rig, f func(context.Context) error) {
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Check = f }))
		synctest.Wait()
	}
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, CheckEvery: time.Hour, ProbeTimeout: time.Minute}
	inBubble(t, c, func(t *testing.T, r *rig) {
		check.in(t)
		wait := r.trip() // open: set, removed, and set again
		set(r, check.check)
		set(r, nil)
		set(r, check.check)
		require.Equal(t, wait, r.refused())
		time.Sleep(wait)
		synctest.Wait()
		require.EqualValues(t, 1, check.runs.Load())
		check.come(nil)
		require.Equal(t, guard.StateClosed, r.State())

		wait = r.trip() // removed for good
		set(r, nil)
		time.Sleep(wait)
		synctest.Wait()
		require.NoError(t, r.call(nil))
		require.EqualValues(t, 1, check.runs.Load())

		r.toHalfOpen() // set while half-open
		set(r, check.check)
		require.EqualValues(t, 2, check.runs.Load())
		require.Negative(t, r.refused())
		check.come(nil)
		require.Equal(t, guard.StateClosed, r.State())

		set(r, nil) // removed while it probes: what it comes to counts
		r.toHalfOpen()
		set(r, check.check)
		set(r, nil)
		require.EqualValues(t, 3, check.runs.Load())
		check.come(nil)
		require.Equal(t, guard.StateClosed, r.State())

		r.toHalfOpen() // set while a call probes: whoever is first
		p := r.acquire()
		set(r, check.check)
		require.EqualValues(t, 4, check.runs.Load())
		p.Done(nil)
		require.Equal(t, guard.StateClosed, r.State())
		check.come(errBroken)
		require.Equal(t, guard.StateClosed, r.State())

		set(r, nil) // removed while it runs and the breaker is open
		wait = r.trip()
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.CheckEvery = time.Millisecond }))
		set(r, check.check)
		time.Sleep(wait / 2)
		set(r, nil)
		require.EqualValues(t, 5, check.runs.Load())
		time.Sleep(wait - wait/2)
		require.NoError(t, r.call(nil), "it may take any time now")
		check.come(errBroken)
		require.Equal(t, guard.StateClosed, r.State())
		require.EqualValues(t, 1, check.most.Load())
	})
}

// Many set and remove the Check, and trip and force the breaker, all at once:
// there is never more than one Check, and none when all is over.
func TestCheckIsSingleUnderContention(t *testing.T) {
	check := new(heldCheck)
	quick := func(ctx context.Context) error {
		check.most.Store(max(check.most.Load(), check.at.Add(1)))
		defer check.at.Add(-1)
		check.runs.Add(1)
		time.Sleep(time.Millisecond)
		if check.runs.Load()%5 == 0 {
			runtime.Goexit()
		}
		return ctx.Err()
	}
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Millisecond, CheckEvery: time.Millisecond, Check: quick}
	inBubble(t, c, func(t *testing.T, r *rig) {
		done := make(chan struct{})
		const crowd = 8
		for i := range crowd {
			go func() {
				defer func() { done <- struct{}{} }()
				for n := range 100 {
					_ = r.call(errBroken)
					switch (n + i) % 10 {
					case 0:
						_ = r.Tune(func(c *guard.DependencyConfig) { c.Check = nil })
					case 1:
						_ = r.Tune(func(c *guard.DependencyConfig) { c.Check = quick })
					case 2:
						r.Force(guard.Mode(n / 10 % 3))
					}
					time.Sleep(time.Millisecond)
				}
			}()
		}
		for range crowd {
			<-done
		}
		r.Force(guard.ModeAuto)
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Check = nil }))
		require.NotZero(t, check.runs.Load())
		require.EqualValues(t, 1, check.most.Load())
		time.Sleep(time.Minute)
		require.Zero(t, check.at.Load())
		require.Equal(t, guard.StateClosed, r.State())
		r.told()
	})
}

// A Check that takes as long as a slow call closes nothing: calls would be no
// faster.
func TestCheckSlow(t *testing.T) {
	for took, state := range map[time.Duration]guard.State{time.Second - 1: guard.StateClosed, time.Second: guard.StateOpen} {
		check := func(context.Context) error {
			time.Sleep(took)
			return nil
		}
		c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, SlowCall: time.Second, ProbeTimeout: time.Minute, Check: check}
		inBubble(t, c, func(t *testing.T, r *rig) {
			time.Sleep(r.trip())
			synctest.Wait()
			time.Sleep(took)
			synctest.Wait()
			require.Equal(t, state, r.State(), "a Check of %v", took)
		})
	}
}
