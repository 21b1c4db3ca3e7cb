package guard_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// What a classifier does must not cost a permit its place, just as a Do's.
func TestGuarantee3ClassifiersThatDoNotReturn(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("classify") }, "Goexit": runtime.Goexit} {
		for way, call := range waysToCall {
			t.Run(name+"/"+way, func(t *testing.T) {
				g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{
					Concurrency: guard.Concurrency{Max: 1},
					Classify:    func(error) guard.Outcome { end(); return guard.OutcomeFailed },
				})
				panicked, returned := fate(func() { _ = call(t.Context(), d, comesTo(io.EOF)) })
				assert.False(t, returned, "it is not hidden")
				if name == "panic" {
					assert.Equal(t, "classify", panicked)
				}
				assert.Zero(t, g.Snapshot().Dependencies[0].InFlight, "a place is lost")
				require.NoError(t, d.Do(t.Context(), comesTo(nil)))
			})
		}
	}
}

// The context of a permit ends with Done, whatever else bounds it: goroutines
// that feed a stream rely on it.
func TestAcquiredContextEndsWithDone(t *testing.T) {
	sooner, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, test := range map[string]struct {
		timeout time.Duration
		ctx     context.Context
	}{
		"Timeout":                  {0, t.Context()},
		"NoTimeout":                {guard.NoTimeout, t.Context()},
		"the caller's is earlier":  {time.Hour, sooner},
		"the caller's, no Timeout": {guard.NoTimeout, sooner},
	} {
		d := newDependency(t, guard.DependencyConfig{Timeout: test.timeout})
		ctx, permit, err := d.Acquire(test.ctx)
		require.NoError(t, err)
		require.NoError(t, ctx.Err())
		permit.Done(nil)
		require.NoError(t, test.ctx.Err(), "it is the caller's own")
		assert.ErrorIs(t, ctx.Err(), context.Canceled, name)
	}
}

// A permit ends with its Timeout, and then says so.
func TestPermitTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: time.Second})
		ctx, permit, err := d.Acquire(t.Context())
		require.NoError(t, err)
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.EqualValues(t, 1, g.Snapshot().Dependencies[0].InFlight, "it is not over before Done")
		err = permit.Result(errors.New("driver: gave up"))
		require.ErrorIs(t, err, guard.ErrTimeout)
		require.Equal(t, guard.CallCounts{Failed: 1}, callsOf(g))
		requireIdle(t, g)
	})
}

// An error whose text cannot be had (a nil pointer in it, say) is still an error
// of its call, and nobody else's panic.
func TestErrorWithoutTextTripsTheBreaker(t *testing.T) {
	var told []guard.BreakerEvent
	g, d := guardedCalls(t, guard.Config{Hooks: guard.Hooks{
		BreakerChanged: func(_ context.Context, e guard.BreakerEvent) { told = append(told, e) },
	}}, guard.DependencyConfig{MinCalls: 1})
	panicked, returned := fate(func() {
		var dependency *guard.DependencyError
		assert.ErrorAs(t, d.Do(context.Background(), comesTo(badError{})), &dependency)
	})
	assert.True(t, returned, "it panicked: %v", panicked)
	assert.Equal(t, guard.StateOpen, d.State())
	assert.Len(t, told, 1, "nor does the event get lost")
	requireIdle(t, g)
}

// In shadow mode what would have been refused is called, and told as such.
func TestShadowOfCalls(t *testing.T) {
	for name, bring := range map[string]func(*guard.Dependency){
		"open":      tripByFailures,
		"forced":    func(d *guard.Dependency) { d.Force(guard.ModeOpen) },
		"saturated": func(d *guard.Dependency) { _, _, _ = d.Acquire(context.Background()) },
	} {
		for way, call := range waysToCall {
			var told []guard.RefusalEvent
			g, d := guardedCalls(t, guard.Config{Shadow: true, Hooks: guard.Hooks{
				Refused: func(_ context.Context, e guard.RefusalEvent) { told = append(told, e) },
			}}, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
			bring(d)
			before := g.Snapshot().Dependencies[0]
			told = nil
			called := false
			require.NoError(t, call(t.Context(), d, func(context.Context) error { called = true; return nil }))
			require.True(t, called, name)
			require.Len(t, told, 1)
			assert.True(t, told[0].Shadow, "%s, %s: it was let through all the same", name, way)
			assert.Equal(t, "db", told[0].Dependency)
			after := g.Snapshot().Dependencies[0]
			assert.Equal(t, before.Counts.Open+before.Counts.Saturated+1, after.Counts.Open+after.Counts.Saturated)
			assert.Equal(t, before.InFlight, after.InFlight)
			assert.Equal(t, before.State, after.State, "a call that should not have been proves nothing")
		}
	}
}

// The context is the caller's: if it panics, the place is free again.
func TestAcquireWithAContextThatPanics(t *testing.T) {
	g := newGuard(t, guard.Config{})
	d, err := g.Dependency("db", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
	require.NoError(t, err)
	require.Panics(t, func() { _, _, _ = d.Acquire(panickyContext{context.Background()}) })
	require.Zero(t, g.Snapshot().Dependencies[0].InFlight)
}

// panickyContext is a context that panics.
type panickyContext struct{ context.Context }

func (panickyContext) Deadline() (time.Time, bool) { panic("no") }
