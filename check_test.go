package guard_test

import (
	"context"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

func checkThat(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// sleepUntil waits until somebody else has brought the breaker to a state. It
// looks at what was told alone, since State would move the breaker on itself.
func sleepUntil(t *testing.T, s guard.State, r *rig) {
	t.Helper()
	at := make(chan struct{})
	r.mu.Lock()
	r.hook = func(e guard.BreakerEvent) {
		if e.To == s {
			r.mu.Lock()
			r.hook = nil
			r.mu.Unlock()
			close(at)
		}
	}
	r.mu.Unlock()
	select {
	case <-at:
	case <-time.After(time.Hour):
		require.FailNow(t, "it never became "+s.String())
	}
	synctest.Wait()
}

// A heldCheck is a Check that waits until it is told what to come to. It does not
// heed its context.
type heldCheck struct {
	runs, at, most atomic.Int64
	ctx            context.Context // of the last run
	back           chan error
	stop           chan struct{}
}

// in makes it ready for a bubble.
func (c *heldCheck) in(t *testing.T) {
	t.Helper()
	c.back, c.stop = make(chan error), make(chan struct{})
	t.Cleanup(func() { close(c.stop) })
}

func (c *heldCheck) check(ctx context.Context) error {
	c.ctx = ctx
	c.runs.Add(1)
	c.most.Store(max(c.most.Load(), c.at.Add(1)))
	defer c.at.Add(-1)
	select {
	case err := <-c.back:
		return err
	case <-c.stop:
		return nil
	}
}

// come has the Check that runs come to err.
func (c *heldCheck) come(err error) {
	c.back <- err
	synctest.Wait()
}

// The Check probes in place of calls: in time, one at a time, with a context of
// its own that ends with ProbeTimeout.
func TestCheckProbes(t *testing.T) {
	for _, probes := range []int{1, 3} {
		check := new(heldCheck)
		c := guard.DependencyConfig{
			MinCalls: 1, OpenFor: 2 * time.Second, CheckEvery: time.Hour, Probes: probes, ProbeTimeout: time.Minute, Check: check.check,
		}
		inBubble(t, c, func(t *testing.T, r *rig) {
			check.in(t)
			wait := r.trip()
			time.Sleep(wait - 1)
			synctest.Wait()
			require.Zero(t, check.runs.Load())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			for i := range probes {
				require.EqualValues(t, i+1, check.runs.Load())
				deadline, ok := check.ctx.Deadline()
				require.True(t, ok)
				require.Equal(t, time.Minute, time.Until(deadline))
				for range 5 {
					require.Negative(t, r.refused(), "no call is the guinea pig")
				}
				require.Equal(t, guard.StateHalfOpen, r.State())
				check.come(nil)
			}
			require.Equal(t, guard.StateClosed, r.State())
			require.ErrorIs(t, check.ctx.Err(), context.Canceled, "its context ends with it")
			time.Sleep(24 * time.Hour)
			require.EqualValues(t, probes, check.runs.Load(), "it runs while the breaker is not closed")
			require.EqualValues(t, 1, check.most.Load())
			require.NoError(t, r.call(nil))
		})
	}
}

// While open, the Check runs every CheckEvery, and never twice at once.
func TestCheckEvery(t *testing.T) {
	check := new(heldCheck)
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Hour, CheckEvery: time.Second, ProbeTimeout: time.Minute, Check: check.check}
	inBubble(t, c, func(t *testing.T, r *rig) {
		check.in(t)
		opened := time.Now()
		r.trip()
		for i := range int64(5) {
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(t, i+1, check.runs.Load())
			check.come(nil)
			require.Equal(t, guard.StateOpen, r.State(), "calls have opened it, and only calls know")
		}
		time.Sleep(30 * time.Second) // one takes its time
		synctest.Wait()
		require.EqualValues(t, 6, check.runs.Load())
		require.EqualValues(t, 1, check.at.Load())
		require.Equal(t, 35*time.Second, time.Since(opened))
		check.come(errBroken)
		require.Equal(t, guard.StateOpen, r.State())
	})
}

// A breaker that the Check has opened is closed by it within CheckEvery, however
// long it would stay open.
func TestCheckHealsWithinCheckEvery(t *testing.T) {
	for _, how := range []string{"fails", "panics", "exits", "hangs"} {
		for _, probes := range []int{1, 3} {
			t.Run(how, func(t *testing.T) {
				var ill atomic.Bool
				ill.Store(true)
				c := guard.DependencyConfig{
					MinCalls: 1, OpenFor: 10 * time.Second, MaxOpenFor: time.Hour, CheckEvery: time.Second,
					Probes: probes, ProbeTimeout: 2 * time.Second,
					Check: func(ctx context.Context) error {
						switch {
						case !ill.Load():
							return nil
						case how == "panics":
							panic("check")
						case how == "exits":
							runtime.Goexit()
						case how == "hangs":
							<-ctx.Done()
						}
						return errBroken
					},
				}
				inBubble(t, c, func(t *testing.T, r *rig) {
					r.trip()
					for r.snapshot().NextProbe < 30*time.Minute { // it fails again and again
						time.Sleep(10 * time.Second)
					}
					require.Equal(t, guard.StateOpen, r.State())
					time.Sleep(3 * time.Second)
					ill.Store(false)
					healed := time.Now()
					sleepUntil(t, guard.StateClosed, r)
					most := time.Second
					if how == "hangs" {
						most += 2 * time.Second // the one that still runs
					}
					require.LessOrEqual(t, time.Since(healed), most)
					require.NoError(t, r.call(nil))
					r.told()
				})
			})
		}
	}
}

// An error that cannot even be printed, such as a nil pointer in an interface,
// must not take the process along: the Check runs in nobody's goroutine.
func TestCheckErrorIsANilPointer(t *testing.T) {
	c := guard.DependencyConfig{MinCalls: 1, CheckEvery: time.Second, Check: func(context.Context) error { return badError{} }}
	inBubble(t, c, func(t *testing.T, r *rig) {
		time.Sleep(r.trip())
		synctest.Wait()
		require.Equal(t, guard.StateOpen, r.State())
		require.Len(t, r.told(), 4)
		time.Sleep(time.Minute)
	})
}

// What calls come to can be no better.
func TestGuarantee3ErrorIsANilPointer(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 1, Concurrency: guard.Concurrency{Max: 1}}, func(t *testing.T, r *rig) {
		require.Nil(t, aside(func() { _ = r.call(badError{}) }))
		require.Equal(t, guard.StateOpen, r.State())
		require.Equal(t, []guard.State{guard.StateClosed, guard.StateOpen}, r.told())
		require.Zero(t, r.snapshot().InFlight)
	})
}

// A Check that hangs, and does not even heed its context, leaves the probing to
// calls after ProbeTimeout; it may come back whenever it likes.
func TestCheckHangs(t *testing.T) {
	check := new(heldCheck)
	c := guard.DependencyConfig{MinCalls: 1, OpenFor: 2 * time.Second, CheckEvery: time.Second, ProbeTimeout: 5 * time.Second, Check: check.check}
	inBubble(t, c, func(t *testing.T, r *rig) {
		check.in(t)
		r.toHalfOpen()
		synctest.Wait()
		require.EqualValues(t, 1, check.runs.Load(), "it hangs since a second after the opening")
		time.Sleep(time.Until(r.events[0].At.Add(6*time.Second - 1)))
		require.Negative(t, r.refused())
		time.Sleep(time.Nanosecond)
		require.NoError(t, r.call(nil))
		require.Equal(t, guard.StateClosed, r.State())
		r.toHalfOpen()
		require.NoError(t, r.call(nil))
		require.Equal(t, guard.StateClosed, r.State())
		require.EqualValues(t, 1, check.runs.Load())

		r.trip()
		check.come(nil) // of a state that is long over
		require.Equal(t, guard.StateOpen, r.State())
		time.Sleep(time.Second)
		synctest.Wait()
		require.EqualValues(t, 2, check.runs.Load())
		check.come(nil)
	})
}

// A hook that blocks where the Check is about to run does not leave the breaker
// to nobody: calls probe then.
func TestCheckBehindAHookThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		d := hookedDependency(t, guard.DependencyConfig{Check: func(context.Context) error { return nil }},
			func(_ context.Context, e guard.BreakerEvent) {
				if e.To == guard.StateHalfOpen {
					<-gate
				}
			})
		tripped(t, d)
		time.Sleep(24 * time.Hour)
		for range 10 {
			_ = d.Do(t.Context(), func(context.Context) error { return nil })
			time.Sleep(time.Minute)
		}
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// The Check does not sleep on by what was the open time before a Force, or how
// often it was to run before a Tune.
func TestCheckWakesUp(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *guard.Dependency){
		"Force": func(t *testing.T, d *guard.Dependency) {
			d.Force(guard.ModeAuto)
			tripped(t, d)
		},
		"Tune": func(t *testing.T, d *guard.Dependency) {
			require.NoError(t, d.Tune(func(c *guard.DependencyConfig) { c.CheckEvery = time.Second }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mended atomic.Bool
				d := hookedDependency(t, guard.DependencyConfig{
					OpenFor: time.Second, MaxOpenFor: time.Hour, CheckEvery: time.Hour,
					Check: func(context.Context) error {
						if mended.Load() {
							return nil
						}
						return io.ErrUnexpectedEOF
					},
				}, func(context.Context, guard.BreakerEvent) {})
				tripped(t, d)
				time.Sleep(90 * time.Minute) // the open time has grown
				require.NotEqual(t, guard.StateClosed, d.State())
				mended.Store(true)
				change(t, d)
				time.Sleep(2 * time.Second)
				require.Equal(t, guard.StateClosed, d.State())
			})
		})
	}
}
