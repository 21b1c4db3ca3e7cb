package guard_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// seconds returns times of so many seconds.
func seconds(all ...int) []time.Duration {
	times := make([]time.Duration, len(all))
	for i, n := range all {
		times[i] = time.Duration(n) * time.Second
	}
	return times
}

// The open time doubles with each failed probe, hung ones included, up to
// MaxOpenFor, which no jitter exceeds.
func TestOpenTimeDoubles(t *testing.T) {
	for _, how := range []string{"fails", "panics", "hangs"} {
		t.Run(how, func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second, MaxOpenFor: 7 * time.Second, ProbeTimeout: time.Minute}
			inBubble(t, c, func(t *testing.T, r *rig) {
				wait := r.trip()
				for _, want := range seconds(1, 2, 4, 7, 7, 7) {
					r.around(want, wait)
					require.LessOrEqual(t, wait, c.MaxOpenFor)
					time.Sleep(wait - 1)
					require.EqualValues(t, 1, r.refused(), "all refusals name the same instant")
					time.Sleep(time.Nanosecond)
					switch how {
					case "fails":
						require.ErrorIs(t, r.call(errBroken), errBroken)
					case "panics":
						require.Panics(t, func() { _ = r.call(panicError{}) })
					case "hangs":
						r.acquire()
						time.Sleep(time.Minute)
					}
					wait = r.refused()
				}
			})
		})
	}
}

// A panicError is an error that panics when it is looked at.
type panicError struct{ error }

func (panicError) As(any) bool { panic("As") }

// Jitter is for breakers that open together: not all wait equally long, and not
// each time anew.
func TestOpenTimeIsJittered(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour}, func(t *testing.T, r *rig) {
		var shorter, longer int
		for range 64 {
			require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.MaxOpenFor = 2 * time.Hour }))
			wait := r.trip()
			require.Equal(t, wait, r.refused())
			switch r.around(time.Hour, wait); {
			case wait < time.Hour:
				shorter++
			case wait > time.Hour:
				longer++
			}
			r.Force(guard.ModeAuto)
		}
		require.NotZero(t, shorter)
		require.NotZero(t, longer)
	})
}

// A breaker that trips again within a Window had not recovered, and stays open
// as long as the last time. After a whole Window it had.
func TestOpenTimeIsKeptForAWindow(t *testing.T) {
	const window = 10 * time.Second
	for _, row := range []struct {
		closed time.Duration
		want   time.Duration
	}{
		{0, 4 * time.Second},
		{window / 2, 4 * time.Second},
		{window - 1, 4 * time.Second},
		{window, time.Second},
		{100 * window, time.Second},
	} {
		t.Run(row.closed.String(), func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 3, OpenFor: time.Second, Window: window}
			inBubble(t, c, func(t *testing.T, r *rig) {
				wait := r.trip()
				for range 2 {
					time.Sleep(wait)
					require.ErrorIs(t, r.call(errBroken), errBroken)
					wait = r.refused()
				}
				r.around(4*time.Second, wait)
				time.Sleep(wait)
				require.NoError(t, r.call(nil))
				time.Sleep(row.closed)
				r.around(row.want, r.trip())

				time.Sleep(r.refused())
				require.ErrorIs(t, r.call(errBroken), errBroken)
				r.around(2*row.want, r.refused(), "it goes on from there")
			})
		})
	}
}

// A Check that closes the breaker while calls fail all the same was wrong, and
// must not make it flap.
func TestOpenTimeDoublesIfTheCheckWasWrong(t *testing.T) {
	c := guard.DependencyConfig{
		MinCalls: 2, OpenFor: time.Second, MaxOpenFor: 30 * time.Second, CheckEvery: time.Second,
		Check: checkThat(nil),
	}
	inBubble(t, c, func(t *testing.T, r *rig) {
		wait := r.trip()
		for _, want := range seconds(1, 2, 4, 8, 16, 30, 30) {
			r.around(want, wait)
			opened := time.Now()
			sleepUntil(t, guard.StateClosed, r)
			require.Equal(t, wait, time.Since(opened), "the Check does not close early what calls have opened")
			wait = r.trip()
		}
		// A whole Window without a trip is a recovery, whoever closed it.
		sleepUntil(t, guard.StateClosed, r)
		time.Sleep(10 * time.Second)
		r.around(time.Second, r.trip())
		// Nor is it the Check's mistake if a call has closed the breaker.
		require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Check = nil }))
		time.Sleep(r.refused())
		require.NoError(t, r.call(nil))
		r.around(time.Second, r.trip())
	})
}

// Whatever the limits are that a config may have, an open breaker stays open.
func TestOpenTimeOfAges(t *testing.T) {
	for _, openFor := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64/11*10 + 1, math.MaxInt64 / 2} {
		t.Run(fmt.Sprint(openFor), func(t *testing.T) {
			inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: openFor}, func(t *testing.T, r *rig) {
				r.trip()
				time.Sleep(24 * time.Hour)
				require.Equal(t, guard.StateOpen, r.State())
			})
		})
	}
}

// Tuned bounds hold from the next opening on, also for what has grown.
func TestOpenTimeFollowsTune(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: 4 * time.Second}, func(t *testing.T, r *rig) {
		fail := func(want time.Duration, set func(*guard.DependencyConfig)) {
			t.Helper()
			wait := r.refused()
			require.NoError(t, r.Tune(set))
			require.Equal(t, wait, r.refused(), "what is open stays so for as long as it was told")
			time.Sleep(wait)
			require.ErrorIs(t, r.call(errBroken), errBroken)
			r.around(want, r.refused())
		}
		r.around(4*time.Second, r.trip())
		fail(8*time.Second, func(*guard.DependencyConfig) {})
		fail(5*time.Second, func(c *guard.DependencyConfig) { c.MaxOpenFor = 5 * time.Second })
		require.LessOrEqual(t, r.refused(), 5*time.Second)
		fail(10*time.Second, func(c *guard.DependencyConfig) { c.MaxOpenFor = time.Hour })
		fail(time.Minute, func(c *guard.DependencyConfig) { c.OpenFor = time.Minute })
		fail(2*time.Minute, func(c *guard.DependencyConfig) { c.OpenFor = time.Second })
		fail(2*time.Second, func(c *guard.DependencyConfig) { c.MaxOpenFor = 2 * time.Second })
		fail(4*time.Second, func(c *guard.DependencyConfig) { c.MaxOpenFor = time.Hour })
		// What has been cut does not grow back.
		for _, most := range []time.Duration{2 * time.Second, time.Hour} {
			time.Sleep(r.refused())
			require.NoError(t, r.call(nil))
			require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.MaxOpenFor = most }))
			r.around(2*time.Second, r.trip())
		}
	})
}

// slowError takes its time when it is looked at, and time goes on.
type slowError struct{ takes time.Duration }

func (slowError) Error() string { return "slow" }

func (e slowError) As(any) bool { time.Sleep(e.takes); return false }

// A result may be reported long after its call has ended, if its error is slow
// to tell what it is: then the open time is over at the instant at which it
// begins, and the breaker must go on from there.
func TestGuarantee3LateTripDoesNotWedge(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Second}, func(t *testing.T, r *rig) {
		r.hook = func(e guard.BreakerEvent) {
			if e.To == guard.StateOpen {
				r.hook = nil
				_ = r.call(nil) // refused or not, no time goes by
			}
		}
		require.ErrorAs(t, r.call(slowError{time.Hour}), new(slowError))
		if r.State() == guard.StateOpen {
			time.Sleep(r.refused())
		}
		if r.State() == guard.StateHalfOpen {
			require.NoError(t, r.call(nil), "there is no probe out, and none may go")
		}
		require.Equal(t, guard.StateClosed, r.State())
	})
}

// The error of the call that trips the breaker tells for how long.
func TestRetryAfterOfTheCallThatTrips(t *testing.T) {
	inBubble(t, guard.DependencyConfig{MinCalls: 2}, func(t *testing.T, r *rig) {
		var e *guard.DependencyError
		require.ErrorAs(t, r.call(errBroken), &e)
		require.Negative(t, e.RetryAfter(), "the breaker is still closed")
		require.ErrorAs(t, r.call(errBroken), &e)
		require.Equal(t, r.refused(), e.RetryAfter())
	})
}
