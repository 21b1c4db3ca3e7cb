package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// An undeclared deadline is one that Deadline does not tell of, as with contexts
// that merge others.
type undeclared struct{ context.Context }

func (undeclared) Deadline() (time.Time, bool) { return time.Time{}, false }

// A declared deadline is one that Deadline tells of, and that the context is
// late to heed. A driver that has set it on its connection may be earlier.
type declared struct {
	context.Context
	at time.Time
}

func (d declared) Deadline() (time.Time, bool) { return d.at, true }

// Guarantee 6: a context ends as it does, whatever type it is of. What ended is
// the caller's, though the guard's own Timeout is then told of it.
func TestGuarantee6UndeclaredDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for lasts, want := range map[time.Duration]guard.Outcome{
			fairShare / 2: guard.OutcomeIgnored, fairShare - 1: guard.OutcomeIgnored,
			fairShare: guard.OutcomeFailed, 3 * fairShare: guard.OutcomeFailed,
		} {
			for errName, fall := range returns {
				if errName == "nil" {
					continue
				}
				for _, deaf := range []bool{false, true} {
					g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare})
					ctx, cancel := context.WithTimeout(t.Context(), lasts)
					err := d.Do(undeclared{ctx}, func(ctx context.Context) error {
						if deaf {
							time.Sleep(lasts)
							synctest.Wait() // the timer of the context is due now, too
						} else {
							<-ctx.Done()
						}
						return fall(ctx)
					})
					cancel()
					what := fmt.Sprintf("%v, %s, deaf: %t", lasts, errName, deaf)
					require.NotErrorIs(t, err, guard.ErrTimeout, what)
					counts := callsOf(g)
					assert.Equal(t, want == guard.OutcomeFailed, counts.Failed == 1, "%s: %+v", what, counts)
					assert.Equal(t, want == guard.OutcomeIgnored, counts.Ignored == 1, "%s: %+v", what, counts)
				}
			}
		}
	})
}

// Guarantee 6: so it is for a call that is one of many, when not each is timed.
func TestGuarantee6UndeclaredDeadlineOfOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: guard.NoTimeout, FairShare: fairShare})
		time.Sleep(time.Hour) // the dependency is older than the share
		for range 5000 {
			require.NoError(t, d.Do(t.Context(), comesTo(nil)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_ = d.Do(undeclared{ctx}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		assert.Equal(t, guard.CallCounts{Succeeded: 5000, Ignored: 1}, callsOf(g))
	})
}

// Guarantee 6: a driver that has got the caller's deadline may notice it a moment
// before the context does. It has passed all the same.
func TestGuarantee6DeadlineNoticedByTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, said := range map[string]error{
			"DeadlineExceeded": context.DeadlineExceeded, "a driver's": errors.New("read tcp: i/o timeout"),
		} {
			for lasts, want := range map[time.Duration]guard.CallCounts{
				fairShare - 1: {Ignored: 1}, fairShare: {Failed: 1},
			} {
				for way, call := range waysToCall {
					g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare})
					ctx := declared{t.Context(), time.Now().Add(lasts)}
					_ = call(ctx, d, func(context.Context) error {
						time.Sleep(lasts)
						return said
					})
					assert.Equal(t, want, callsOf(g), "%s, after %v, %s", name, lasts, way)
				}
			}
			// What comes before the deadline is no part of this.
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare})
			_ = d.Do(declared{t.Context(), time.Now().Add(2)}, comesTo(said))
			assert.Equal(t, guard.CallCounts{Failed: 1}, callsOf(g), name)
		}
	})
}

// Guarantee 6: who has hung up does not count, though the call has not noticed and
// is back only when its Timeout has passed, too.
func TestGuarantee6HungUpBeforeTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for way, call := range waysToCall {
			for _, said := range []error{errors.New("driver: i/o timeout"), context.Canceled, context.DeadlineExceeded} {
				g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: ownTimeout})
				ctx, hangUp := cancelsAfter(time.Second)(t.Context())
				err := call(ctx, d, func(context.Context) error { time.Sleep(2 * ownTimeout); return said })
				hangUp()
				require.NotErrorIs(t, err, guard.ErrTimeout)
				assert.Equal(t, guard.CallCounts{Ignored: 1}, callsOf(g), "%s, %v", way, said)
			}
		}
	})
}

// Guarantee 6: a client that hangs up does not count, though the proxy in the
// call tells of it by a panic, as net/http/httputil does.
func TestGuarantee6AbortOfWhoHungUp(t *testing.T) {
	for _, timeout := range []time.Duration{0, guard.NoTimeout} {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: timeout})
		ctx, hangUp := context.WithCancel(t.Context())
		panicked, _ := fate(func() {
			_ = d.Do(ctx, func(context.Context) error {
				hangUp()
				panic(http.ErrAbortHandler)
			})
		})
		require.Equal(t, http.ErrAbortHandler, panicked)
		assert.Equal(t, guard.CallCounts{Ignored: 1}, callsOf(g))
		requireIdle(t, g)
	}
}

// What a snapshot says of a time-out does not depend on how the driver puts it.
func TestLastFailureOfATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for errName, fall := range returns {
			if errName == "nil" {
				continue
			}
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: time.Second})
			err := d.Do(t.Context(), func(ctx context.Context) error {
				<-ctx.Done()
				return fall(ctx)
			})
			require.ErrorIs(t, err, guard.ErrTimeout)
			assert.Equal(t, "timeout", g.Snapshot().Dependencies[0].LastFailure, errName)
		}
	})
}
