package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// aside runs a function in a goroutine of its own, and returns what it panics
// with.
func aside(f func()) (recovered any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { recovered = recover() }()
		f()
	}()
	<-done
	return recovered
}

// However a call ends, its places come back: that among the probes, and that
// among the calls at once.
func TestGuarantee3PermitsComeBack(t *testing.T) {
	own := &guard.Error{Status: http.StatusNotFound}
	cancelled := func(r *rig, end func(context.Context, context.CancelFunc) error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_ = r.Do(ctx, func(ctx context.Context) error { return end(ctx, cancel) })
	}
	do := func(f func()) func(*rig) {
		return func(r *rig) {
			_ = r.Do(context.Background(), func(context.Context) error { f(); return nil })
		}
	}
	const closed, halfOpen, open = guard.StateClosed, guard.StateHalfOpen, guard.StateOpen
	for _, row := range []struct {
		name     string
		use      func(*rig)
		panics   any
		becomes  guard.State // from half-open
		classify func(error) guard.Outcome
	}{
		{name: "return", use: func(r *rig) { _ = r.call(nil) }, becomes: closed},
		{name: "error", use: func(r *rig) { _ = r.call(errBroken) }, becomes: open},
		{name: "own error", use: func(r *rig) { _ = r.call(own) }, becomes: closed},
		{name: "answered", use: func(r *rig) { _ = r.call(errRefused) }, becomes: closed, classify: classified},
		{name: "ignored", use: func(r *rig) { _ = r.call(errUnsaid) }, becomes: halfOpen, classify: classified},
		{name: "panic", use: do(func() { panic("boom") }), panics: "boom", becomes: open},
		{name: "ErrAbortHandler", use: do(func() { panic(http.ErrAbortHandler) }), panics: http.ErrAbortHandler, becomes: open},
		{name: "Goexit", use: do(runtime.Goexit), becomes: halfOpen},
		{
			name: "panic of classify", use: func(r *rig) { _ = r.call(errBroken) }, panics: "boom", becomes: open,
			classify: func(error) guard.Outcome { panic("boom") },
		},
		{
			name: "Goexit of classify", use: func(r *rig) { _ = r.call(errBroken) }, becomes: halfOpen,
			classify: func(error) guard.Outcome { runtime.Goexit(); return 0 },
		},
		{name: "hang-up", becomes: halfOpen, use: func(r *rig) {
			cancelled(r, func(ctx context.Context, cancel context.CancelFunc) error { cancel(); return ctx.Err() })
		}},
		{name: "hang-up, hidden", becomes: halfOpen, use: func(r *rig) {
			cancelled(r, func(_ context.Context, cancel context.CancelFunc) error { cancel(); return errBroken })
		}},
		{name: "Call", becomes: open, use: func(r *rig) {
			_, _ = guard.Call(context.Background(), r.Dependency, func(context.Context) (int, error) { return 0, errBroken })
		}},
		{name: "Done", use: func(r *rig) { r.acquire().Done(nil) }, becomes: closed},
		{name: "Done of an error", use: func(r *rig) { r.acquire().Done(errBroken) }, becomes: open},
		{
			name: "Done, and panic of classify", use: func(r *rig) { r.acquire().Done(errBroken) }, panics: "boom", becomes: open,
			classify: func(error) guard.Outcome { panic("boom") },
		},
		{
			name: "Done, and Goexit of classify", use: func(r *rig) { r.acquire().Done(errBroken) }, becomes: halfOpen,
			classify: func(error) guard.Outcome { runtime.Goexit(); return 0 },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 2, Concurrency: guard.Concurrency{Max: 1}, ProbeTimeout: time.Hour}
			inBubble(t, c, func(t *testing.T, r *rig) {
				r.toHalfOpen()
				require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Classify = row.classify }))
				require.Equal(t, row.panics, aside(func() { row.use(r) }))
				require.Equal(t, row.becomes, r.State())
				require.Zero(t, r.snapshot().InFlight)
				if row.becomes == open {
					time.Sleep(r.refused())
				}
				require.NoError(t, r.call(nil), "the place did not come back")
				require.Equal(t, closed, r.State())
			})
		})
	}
}

// A hook that ends the goroutine of the call must not take its places along.
func TestGuarantee3PermitsComeBackFromHooks(t *testing.T) {
	for _, to := range []guard.State{guard.StateOpen, guard.StateHalfOpen, guard.StateClosed} {
		t.Run(to.String(), func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 1, Concurrency: guard.Concurrency{Max: 1}, ProbeTimeout: time.Second}
			inBubble(t, c, func(t *testing.T, r *rig) {
				once := true
				r.hook = func(e guard.BreakerEvent) {
					if e.To == to && once {
						once = false
						runtime.Goexit()
					}
				}
				for range 4 {
					aside(func() { _ = r.call(errBroken) })
					time.Sleep(time.Minute)
					aside(func() { _ = r.call(nil) })
				}
				require.False(t, once)
				require.Zero(t, r.snapshot().InFlight)
				require.NoError(t, r.call(nil))
				r.told()
			})
		})
	}
}

// At ProbeTimeout, to the nanosecond, a probe that is not back has failed. The
// open time counts from then, whoever looks whenever.
func TestGuarantee3HungProbe(t *testing.T) {
	for _, late := range []error{nil, errBroken} {
		for _, looks := range []bool{true, false} {
			t.Run(fmt.Sprintf("late %v, looked at %v", late, looks), func(t *testing.T) {
				c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, ProbeTimeout: 3 * time.Second}
				inBubble(t, c, func(t *testing.T, r *rig) {
					r.toHalfOpen()
					began := time.Now()
					hung := r.acquire()
					time.Sleep(3*time.Second - 1)
					require.Negative(t, r.refused(), "nobody knows when the probe will be back")
					require.Equal(t, guard.StateHalfOpen, r.State())
					time.Sleep(time.Nanosecond)
					if looks {
						require.Equal(t, guard.StateOpen, r.State())
						r.around(2*time.Second, r.refused())
					}
					time.Sleep(2 * time.Second * 11 / 10)
					require.Equal(t, guard.StateHalfOpen, r.State())
					e := r.events[2]
					require.Equal(t, guard.StateOpen, e.To)
					require.Equal(t, 3*time.Second, e.At.Sub(began))
					r.around(2*time.Second, e.OpenFor)
					require.Equal(t, 3*time.Second+e.OpenFor, r.events[3].At.Sub(began))

					hung.Done(late)
					require.Equal(t, guard.StateHalfOpen, r.State(), "a late result changes nothing")
					require.Zero(t, r.snapshot().InFlight)
					require.NoError(t, r.call(nil))
					require.Equal(t, guard.StateClosed, r.State())
				})
			})
		}
	}
}

// Probes that hang for ever leave the breaker to itself, as often as it takes.
func TestGuarantee3HungProbesDoNotWedge(t *testing.T) {
	c := guard.DependencyConfig{MinCalls: 1, Probes: 3, OpenFor: time.Second, MaxOpenFor: 8 * time.Second, ProbeTimeout: time.Second}
	inBubble(t, c, func(t *testing.T, r *rig) {
		var hung []*guard.Permit
		for range 20 {
			_, p, err := r.Acquire(context.Background())
			if err == nil {
				hung = append(hung, p)
			}
			time.Sleep(500 * time.Millisecond)
		}
		require.NotEmpty(t, hung)
		for _, want := range seconds(1, 2, 4, 8, 8) {
			if r.State() == guard.StateClosed {
				_ = r.call(errBroken)
			}
			wait := r.refused()
			require.LessOrEqual(t, wait, 8*time.Second)
			r.around(want, wait)
			time.Sleep(wait)
			for range 3 {
				hung = append(hung, r.acquire())
			}
			require.Negative(t, r.refused())
			time.Sleep(time.Second)
		}
		for _, p := range hung {
			p.Done(nil)
		}
		require.Equal(t, guard.StateOpen, r.State())
		time.Sleep(r.refused())
		for range 3 {
			require.NoError(t, r.call(nil))
		}
		require.Equal(t, guard.StateClosed, r.State())
	})
}

// Results of an older state change nothing in a newer one, not even in one of
// the same kind.
func TestGuarantee3LateResults(t *testing.T) {
	c := guard.DependencyConfig{MinCalls: 2, OpenFor: time.Second, ProbeTimeout: time.Hour, SlowCall: time.Minute, SlowRate: 0.01}
	inBubble(t, c, func(t *testing.T, r *rig) {
		var old []*guard.Permit
		keep := func() {
			for range 4 {
				old = append(old, r.acquire())
			}
		}
		results := func(want guard.State) {
			before := r.snapshot()
			for i, p := range old {
				p.Done([]error{nil, errBroken, context.Canceled, errBroken}[i%4])
				require.Equal(t, want, r.State())
			}
			after := r.snapshot()
			require.Equal(t, before.Window, after.Window)
			require.Equal(t, before.NextProbe, after.NextProbe)
			require.Zero(t, after.InFlight)
			old = nil
		}
		keep()
		r.trip()
		results(guard.StateOpen)
		time.Sleep(r.refused())
		require.NoError(t, r.call(nil))

		keep()
		r.toHalfOpen()
		results(guard.StateHalfOpen)
		require.NoError(t, r.call(nil))

		keep()
		time.Sleep(time.Hour) // they are slow, too
		r.toHalfOpen()
		require.NoError(t, r.call(nil))
		results(guard.StateClosed)

		r.toHalfOpen()
		old = append(old, r.acquire())
		r.Force(guard.ModeAuto)
		results(guard.StateClosed)
		keep()
		r.Force(guard.ModeAuto)
		results(guard.StateClosed)
	})
}

// At the very instant at which it may probe, many calls come at once: exactly as
// many get through as are to probe.
func TestGuarantee3ExactlyAsManyProbes(t *testing.T) {
	const crowd = 2000
	for _, probes := range []int{1, 3} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, fails %v", probes, fails), func(t *testing.T) {
				inBubble(t, guard.DependencyConfig{MinCalls: 1, Probes: probes}, func(t *testing.T, r *rig) {
					wait := r.trip()
					var through, refused atomic.Int64
					back := make(chan error)
					for range crowd {
						go func() {
							time.Sleep(wait)
							err := r.Do(context.Background(), func(context.Context) error {
								through.Add(1)
								return <-back
							})
							if errors.Is(err, guard.ErrOpen) {
								refused.Add(1)
							}
						}()
					}
					time.Sleep(wait - 1)
					synctest.Wait()
					require.Zero(t, through.Load(), "one came too early")
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					require.EqualValues(t, probes, through.Load())
					require.EqualValues(t, crowd-probes, refused.Load())
					for i := range probes {
						require.Equal(t, guard.StateHalfOpen, r.State())
						if fails && i == probes-1 {
							back <- errBroken
						} else {
							back <- nil
						}
						synctest.Wait()
					}
					require.Equal(t, map[bool]guard.State{false: guard.StateClosed, true: guard.StateOpen}[fails], r.State())
					require.Zero(t, r.snapshot().InFlight)
				})
			})
		}
	}
}
