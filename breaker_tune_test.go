package guard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Guarantee 7 for a breaker: a change keeps what was counted, the state and how
// long that lasts; one that is invalid changes nothing at all.
func TestGuarantee7TuneKeepsTheBreaker(t *testing.T) {
	changes := map[string]func(*guard.DependencyConfig){
		"valid": func(c *guard.DependencyConfig) {
			c.Timeout, c.Window, c.OpenFor, c.MaxOpenFor = time.Second, time.Hour, time.Minute, time.Hour
			c.Probes, c.ProbeTimeout, c.SlowCall, c.Concurrency.Max = 7, time.Hour, time.Nanosecond, 100
		},
		"invalid": func(c *guard.DependencyConfig) { c.MinCalls, c.Probes = 1, -1 },
	}
	for name, change := range changes {
		for _, from := range riggedStates {
			t.Run(name+", "+from.name, func(t *testing.T) {
				inBubble(t, guard.DependencyConfig{MinCalls: 2, OpenFor: time.Second}, func(t *testing.T, r *rig) {
					from.to(r)
					before, told := r.snapshot(), r.told()
					config := r.Config()
					err := r.Tune(change)
					require.Equal(t, name == "valid", err == nil)
					after := r.snapshot()
					if err != nil {
						require.Equal(t, before, after)
						require.Equal(t, config, r.Config())
					} else {
						before.Window.SlowCall, before.MaxInFlight = time.Nanosecond, 100
						if before.State != guard.StateClosed { // it shows what will be
							before.Window.Length = time.Hour
						}
						require.Equal(t, before, after)
					}
					require.Equal(t, told, r.told())
				})
			})
		}
	}
}

// What was counted before a change goes on to count after it.
func TestGuarantee7TuneKeepsTheCounts(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 100}, func(t *testing.T, r *rig) {
		for range 4 {
			_ = r.call(errBroken)
			_ = r.call(nil)
		}
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.MinCalls, c.FailureRate = 10, 0.5 }))
		_ = r.call(errBroken)
		require.Equal(t, guard.StateClosed, r.State())
		_ = r.call(errBroken)
		require.Equal(t, guard.StateOpen, r.State())
		require.EqualValues(t, 10, r.events[0].Calls)
	})
	inBubble(t, guard.DependencyConfig{MinCalls: 100, FailureRate: 1}, func(t *testing.T, r *rig) {
		_ = r.call(nil)
		for range 4 {
			_ = r.call(errBroken)
		}
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.MinCalls = 5 }))
		require.Equal(t, guard.StateClosed, r.State(), "it takes a call to trip")
		_ = r.call(errBroken)
		require.Equal(t, guard.StateOpen, r.State(), "five in a row, four of them before")
	})
}

// Probes takes effect at the next change of state: neither does a half-open
// breaker let more calls through, nor does it take fewer to close it.
func TestGuarantee7TuneOfProbes(t *testing.T) {
	probes := func(r *rig, n int) {
		require.NoError(r.tb, r.Tune(func(c *guard.DependencyConfig) { c.Probes = n }))
	}
	inBubble(t, guard.DependencyConfig{MinCalls: 1, Probes: 2}, func(t *testing.T, r *rig) {
		r.toHalfOpen()
		probes(r, 3)
		one, two := r.acquire(), r.acquire()
		r.refused()
		probes(r, 1)
		one.Done(nil)
		require.Equal(t, guard.StateHalfOpen, r.State())
		r.refused()
		two.Done(nil)
		require.Equal(t, guard.StateClosed, r.State())

		r.trip()
		probes(r, 3) // while open: the next change is to half-open
		time.Sleep(r.refused())
		one, two = r.acquire(), r.acquire()
		three := r.acquire()
		r.refused()
		one.Done(nil)
		two.Done(nil)
		require.Equal(t, guard.StateHalfOpen, r.State())
		three.Done(nil)
		require.Equal(t, guard.StateClosed, r.State())
	})
}

// Window takes effect at the next change of state, too, also for what the open
// time goes by.
func TestGuarantee7TuneOfWindow(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 2, FailureRate: 1, Window: 10 * time.Second, OpenFor: time.Second}, func(t *testing.T, r *rig) {
		window := func(w time.Duration) {
			require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Window = w }))
		}
		_ = r.call(errBroken)
		_ = r.call(nil)
		window(time.Second)
		require.Equal(t, 10*time.Second, r.snapshot().Window.Length)
		time.Sleep(9 * time.Second)
		require.EqualValues(t, 2, r.snapshot().Window.Calls)
		time.Sleep(time.Second)
		require.Zero(t, r.snapshot().Window.Calls)

		r.toHalfOpen()
		_ = r.call(errBroken) // twice as long
		time.Sleep(r.refused())
		_ = r.call(nil)
		window(time.Hour)
		require.Equal(t, time.Second, r.snapshot().Window.Length)
		time.Sleep(time.Second) // a whole window
		r.around(time.Second, r.trip())
		time.Sleep(r.refused())
		_ = r.call(nil)
		require.Equal(t, time.Hour, r.snapshot().Window.Length)
	})
}

// A call goes by the config that it began with, a probe's ProbeTimeout included.
func TestGuarantee7TuneLeavesCallsThatHaveBegun(t *testing.T) {
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, ProbeTimeout: 5 * time.Second, SlowCall: time.Minute, Timeout: time.Hour}
	inBubble(t, c, func(t *testing.T, r *rig) {
		p := r.acquire()
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.SlowCall, c.SlowRate = time.Second, 0.01 }))
		time.Sleep(10 * time.Second)
		p.Done(nil)
		require.Zero(t, r.snapshot().Window.Slow)

		r.toHalfOpen()
		r.acquire()
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.ProbeTimeout = time.Hour }))
		time.Sleep(5*time.Second - 1)
		require.Equal(t, guard.StateHalfOpen, r.State())
		time.Sleep(time.Nanosecond)
		require.Equal(t, guard.StateOpen, r.State())
	})
}
