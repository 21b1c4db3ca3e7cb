package guard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// The rules of Do, for a caller who waits: what an error means, whether it comes
// back as it is, and what a client is told.
func TestVerdictsByRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{MinCalls: 1000, FailureRate: 1})
		other, err := g.Dependency("other", guard.DependencyConfig{MinCalls: 1000, Timeout: time.Second})
		require.NoError(t, err)
		otherTimesOut := other.Do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		other.Force(guard.ModeOpen)
		limiter, err := guard.NewLimiter(guard.Limit{Rate: 1.0 / 60, Burst: 1})
		require.NoError(t, err)
		limiter.Take(1)
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wouldExceed := limiter.Wait(soon, 1) // matches DeadlineExceeded, and nothing has ended
		require.ErrorIs(t, wouldExceed, guard.ErrLimited)
		expired, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
		defer stop()
		var nilError *guard.Error
		for name, test := range map[string]struct {
			err       error
			want      guard.Outcome
			untouched bool
			status    int
		}{
			"a driver's":            {io.EOF, guard.OutcomeFailed, false, 502},
			"an answer":             {guard.NotFound("none"), guard.OutcomeSucceeded, true, 404},
			"an answer, wrapped":    {fmt.Errorf("load: %w", guard.NotFound("none")), guard.OutcomeSucceeded, true, 404},
			"an answer of 499":      {&guard.Error{Status: 499, Err: io.EOF}, guard.OutcomeSucceeded, true, 499},
			"an answer of 500":      {&guard.Error{Status: 500}, guard.OutcomeFailed, false, 502},
			"an answer of 503":      {&guard.Error{Status: 503}, guard.OutcomeFailed, false, 502},
			"a nil *Error":          {nilError, guard.OutcomeFailed, false, 502},
			"another's, open":       {other.Do(t.Context(), comesTo(nil)), guard.OutcomeIgnored, true, 502},
			"another's Timeout":     {otherTimesOut, guard.OutcomeIgnored, true, 502},
			"another's, wrapped":    {fmt.Errorf("load: %w", otherTimesOut), guard.OutcomeIgnored, true, 502},
			"refused by a limiter":  {fmt.Errorf("load: %w", wouldExceed), guard.OutcomeIgnored, true, 503},
			"its own inner timeout": {expired.Err(), guard.OutcomeFailed, false, 502},
			// The application has looked at the error, and says what it means.
			"an answer to an inner timeout":      {&guard.Error{Status: 404, Err: expired.Err()}, guard.OutcomeSucceeded, true, 404},
			"an answer to an inner cancellation": {&guard.Error{Status: 409, Err: context.Canceled}, guard.OutcomeIgnored, true, 409},
			"body too large":                     {&http.MaxBytesError{Limit: 7}, guard.OutcomeIgnored, true, 413},
		} {
			for way, call := range waysToCall {
				what := name + ", " + way
				before := callsOf(g)
				got := call(t.Context(), d, comesTo(test.err))
				require.ErrorIs(t, got, test.err, what)
				after := callsOf(g)
				assert.Equal(t, test.want == guard.OutcomeSucceeded, after.Succeeded > before.Succeeded, what)
				assert.Equal(t, test.want == guard.OutcomeFailed, after.Failed > before.Failed, what)
				assert.Equal(t, test.want == guard.OutcomeIgnored, after.Ignored > before.Ignored, what)
				assert.Equal(t, test.untouched, got == test.err, "%s: %v", what, got) //nolint:errorlint // the very same
				var dependency *guard.DependencyError
				if !test.untouched && assert.ErrorAs(t, got, &dependency, what) {
					assert.Equal(t, "db", dependency.Dependency())
				}
				assert.Equal(t, test.status, problemFor(t, g, asJSON, "/", got).Code, what)
			}
		}
	})
}

// A nested call of the same dependency is a call, too; its error is not wrapped
// twice, and what it means is what it meant.
func TestVerdictOfANestedCall(t *testing.T) {
	for said, want := range map[guard.Outcome]guard.CallCounts{
		guard.OutcomeFailed: {Failed: 2}, guard.OutcomeAnswered: {Answered: 2}, guard.OutcomeIgnored: {Ignored: 2},
	} {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Classify: func(err error) guard.Outcome {
			if err == io.EOF { //nolint:errorlint // the very same
				return said
			}
			return guard.OutcomeDefault
		}})
		var inner error
		outer := d.Do(t.Context(), func(ctx context.Context) error {
			inner = d.Do(ctx, comesTo(io.EOF))
			return inner
		})
		if said == guard.OutcomeIgnored { // the error does not tell whence it came
			require.Equal(t, io.EOF, outer)
		} else {
			require.Same(t, inner, outer)
		}
		require.Equal(t, want, callsOf(g))
	}
}

// The share of time that is fair by default: half of the Timeout, at most 1 s.
func TestGuarantee6FairShareByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for timeout, share := range map[time.Duration]time.Duration{
			0: time.Second, guard.NoTimeout: time.Second, time.Hour: time.Second, 2 * time.Second: time.Second,
			time.Second: 500 * time.Millisecond, 7 * time.Millisecond: 3500 * time.Microsecond,
		} {
			for lasts, want := range map[time.Duration]guard.CallCounts{share - 1: {Ignored: 1}, share: {Failed: 1}} {
				g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: timeout})
				ctx, cancel := context.WithTimeout(t.Context(), lasts)
				_ = d.Do(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				cancel()
				require.Equal(t, want, callsOf(g), "Timeout %v, %v", timeout, lasts)
			}
		}
	})
}

// Guarantee 7: a call that has begun keeps its rules, whatever is tuned meanwhile.
func TestGuarantee7CallsKeepTheirRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for way, call := range waysToCall {
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{
				Timeout: time.Second, FairShare: time.Minute, Classify: saying(guard.OutcomeAnswered),
			})
			tune := func() {
				require.NoError(t, d.Tune(func(c *guard.DependencyConfig) {
					*c = guard.DependencyConfig{Timeout: time.Hour, FairShare: 1, SlowCall: 1, Concurrency: guard.Concurrency{Max: 1}}
				}))
			}
			_ = call(t.Context(), d, func(context.Context) error { tune(); time.Sleep(time.Millisecond); return io.EOF })
			require.Equal(t, guard.CallCounts{Answered: 1}, callsOf(g), way)
			require.NoError(t, d.Tune(func(c *guard.DependencyConfig) { *c = guard.DependencyConfig{Timeout: time.Second} }))
			began := time.Now()
			err := call(t.Context(), d, func(ctx context.Context) error { tune(); <-ctx.Done(); return ctx.Err() })
			require.ErrorIs(t, err, guard.ErrTimeout, way)
			require.Equal(t, time.Second, time.Since(began), way)
			requireIdle(t, g)
		}
	})
}

// A hook that ends the goroutine, as t.FailNow does, ends a call that has just
// been let through: it gives back its place.
func TestGuarantee3HooksThatEndTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for way, call := range waysToCall {
			end := false
			g, d := guardedCalls(t, guard.Config{Hooks: guard.Hooks{BreakerChanged: func(context.Context, guard.BreakerEvent) {
				if end {
					end = false
					runtime.Goexit()
				}
			}}}, guard.DependencyConfig{OpenFor: time.Second, Concurrency: guard.Concurrency{Max: 1}})
			tripByFailures(d)
			time.Sleep(2 * time.Second)
			end = true // when the call finds that the open time is over
			_, returned := fate(func() { _ = call(context.Background(), d, comesTo(nil)) })
			require.False(t, returned, way)
			assert.Zero(t, g.Snapshot().Dependencies[0].InFlight, "%s: a place is lost", way)
			require.NoError(t, d.Do(t.Context(), comesTo(nil)), "%s: so is the probe", way)
			assert.Equal(t, guard.StateClosed, d.State(), way)
		}
	})
}
