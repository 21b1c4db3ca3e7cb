package guard_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// The times of the calls below: what a caller has to leave, and what is allowed.
const (
	fairShare  = time.Second
	ownTimeout = 10 * time.Second
)

// fault is whose fault it is that a call was cut short.
type fault int

const (
	ofCaller     fault = iota // it hung up, or left too little time
	ofDependency              // it had its share of the caller's time
	ofTimeout                 // it had all of the guard's time
	ofCall                    // it cancelled itself, the caller still wants it
	ofNobody                  // it was not cut short
)

var errCause = errors.New("the visitor has closed the page")

// cuts are ways in which a call is cut short. The context is the caller's.
var cuts = []struct {
	name  string
	ctx   func(context.Context) (context.Context, context.CancelFunc)
	lasts time.Duration // until it is cut
	fault fault
	deaf  bool // also for a call that looks at its context only at its end
}{
	{"not at all", context.WithCancel, 100 * time.Millisecond, ofNobody, true},
	{"cancelled at once", cancelsAfter(time.Millisecond), time.Millisecond, ofCaller, true},
	{"cancelled late", cancelsAfter(9 * time.Second), 9 * time.Second, ofCaller, true},
	{"cancelled by a sibling", siblingFails, 2 * time.Second, ofCaller, true},
	{"deadline, far too soon", deadlineAfter(time.Millisecond), time.Millisecond, ofCaller, true},
	{"deadline, less than the share", deadlineAfter(fairShare - 1), fairShare - 1, ofCaller, true},
	{"deadline, just the share", deadlineAfter(fairShare), fairShare, ofDependency, true},
	{"deadline, more than the share", deadlineAfter(2 * fairShare), 2 * fairShare, ofDependency, true},
	{"deadline, just before the Timeout", deadlineAfter(ownTimeout - 1), ownTimeout - 1, ofDependency, true},
	{"deadline, just the Timeout", deadlineAfter(ownTimeout), ownTimeout, ofTimeout, true},
	{"deadline, after the Timeout", deadlineAfter(ownTimeout + 1), ownTimeout, ofTimeout, true},
	{"Timeout", context.WithCancel, ownTimeout, ofTimeout, true},
	{"Timeout, and then cancelled", cancelsAfter(ownTimeout + time.Millisecond), ownTimeout, ofTimeout, false},
	{"cancelled by a cause", causesAfter(2 * time.Second), 2 * time.Second, ofCaller, true},
	{"deadline with a cause, too soon", func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, time.Millisecond, errCause)
	}, time.Millisecond, ofCaller, true},
	{"deadline with a cause", func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, fairShare, errCause)
	}, fairShare, ofDependency, true},
}

func cancelsAfter(wait time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(wait, cancel)
		return ctx, cancel
	}
}

func causesAfter(wait time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(wait, func() { cancel(errCause) })
		return ctx, func() { cancel(nil) }
	}
}

func deadlineAfter(wait time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, wait) }
}

// siblingFails is the context of an errgroup, one of whose functions fails.
func siblingFails(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		time.Sleep(2 * time.Second)
		cancel(errors.New("the sibling's error"))
	}()
	return ctx, func() { cancel(nil) }
}

// returns are what a call says when it is cut short.
var returns = map[string]func(context.Context) error{
	"Err":         context.Context.Err,
	"Cause":       context.Cause,
	"wrapped Err": func(ctx context.Context) error { return fmt.Errorf("query: %w", ctx.Err()) },
	"a driver's":  func(context.Context) error { return errors.New("driver: i/o timeout") },
	"joined": func(ctx context.Context) error {
		return errors.Join(errors.New("driver: i/o timeout"), ctx.Err())
	},
	"nil": func(context.Context) error { return nil },
}

// saying returns a classifier; of OutcomeDefault, none at all.
func saying(o guard.Outcome) func(error) guard.Outcome {
	if o == guard.OutcomeDefault {
		return nil
	}
	return func(error) guard.Outcome { return o }
}

// judged is what guarantee 6 says of a call, put as plainly as may be.
func judged(f fault, err error, said guard.Outcome) guard.Outcome {
	if err == nil {
		return guard.OutcomeSucceeded
	}
	cancelled := errors.Is(err, context.Canceled)
	ofContext := cancelled || errors.Is(err, context.DeadlineExceeded)
	if said <= guard.OutcomeDefault || said > guard.OutcomeIgnored {
		said = guard.OutcomeFailed
	}
	switch {
	case f == ofCall && cancelled:
		return guard.OutcomeIgnored
	case f == ofCaller && (ofContext || said == guard.OutcomeFailed):
		return guard.OutcomeIgnored
	case (f == ofTimeout || f == ofDependency) && ofContext:
		return guard.OutcomeFailed
	}
	return said
}

// requireOutcome requires that a guard has counted one call, as what it was.
func requireOutcome(t *testing.T, g *guard.Guard, want guard.Outcome, what string) {
	t.Helper()
	var counts guard.CallCounts
	var window int64 // what the breaker goes by
	switch want {
	case guard.OutcomeSucceeded:
		counts.Succeeded, window = 1, 1
	case guard.OutcomeFailed:
		counts.Failed, window = 1, 1
	case guard.OutcomeAnswered:
		counts.Answered = 1
	default:
		counts.Ignored = 1
	}
	s := g.Snapshot().Dependencies[0]
	require.Equal(t, counts, s.Counts, what)
	require.Equal(t, window, s.Window.Calls, what)
	require.EqualValues(t, counts.Failed, s.Window.Failed, what)
	require.EqualValues(t, counts.Failed, s.Window.Streak, what)
	require.Zero(t, s.InFlight, what)
}

// requireError requires that a call returned what belongs to its outcome.
func requireError(t *testing.T, got, fell error, want guard.Outcome, f fault, what string) {
	t.Helper()
	if fell == nil {
		require.NoError(t, got, what)
		return
	}
	require.ErrorIs(t, got, fell, what)
	timeout := f == ofTimeout && want == guard.OutcomeFailed
	ended := errors.Is(fell, context.DeadlineExceeded)
	require.Equal(t, timeout, errors.Is(got, guard.ErrTimeout), what)
	require.Equal(t, timeout || ended, errors.Is(got, context.DeadlineExceeded), what)
	require.NotErrorIs(t, got, guard.ErrOpen)
	var dependency *guard.DependencyError
	is := errors.As(got, &dependency)
	switch {
	case want == guard.OutcomeFailed, want == guard.OutcomeAnswered, ended, errors.Is(fell, context.Canceled):
		require.True(t, is, "%s: it is the dependency's, for who answers the client: %T", what, got)
		require.Equal(t, "db", dependency.Dependency())
		require.Equal(t, fell, dependency.Unwrap())
	case f != ofCaller: // see TestGuarantee6HiddenEnds
		require.Equal(t, fell, got, "%s: untouched", what)
	}
}

// Guarantee 6: who ends a call is to blame for it, whatever the call says then.
func TestGuarantee6WhoseFault(t *testing.T) {
	config := guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare, MinCalls: 1000}
	synctest.Test(t, func(t *testing.T) {
		for _, cut := range cuts {
			for said := guard.Outcome(-1); said <= guard.OutcomeIgnored+2; said++ {
				config.Classify = saying(said)
				for errName, fall := range returns {
					for way, call := range waysToCall {
						for _, deaf := range []bool{false, true} {
							if deaf && !cut.deaf {
								continue
							}
							what := fmt.Sprintf("%s, %s, classified as %v, %s, deaf: %t", cut.name, errName, said, way, deaf)
							g, d := guardedCalls(t, guard.Config{}, config)
							ctx, cancel := cut.ctx(t.Context())
							var fell error
							got := call(ctx, d, func(ctx context.Context) error {
								switch {
								case deaf:
									time.Sleep(cut.lasts + time.Microsecond)
								case cut.fault == ofNobody:
								default:
									<-ctx.Done()
									time.Sleep(time.Second) // it takes a while to give up
								}
								fell = fall(ctx)
								if cut.fault == ofNobody && fell != nil && errName != "a driver's" {
									fell = errors.New("of its own")
								}
								return fell
							})
							cancel()
							want := judged(cut.fault, fell, said)
							requireOutcome(t, g, want, what)
							requireError(t, got, fell, want, cut.fault, what)
						}
					}
				}
			}
		}
	})
}

// A call that bounds or cancels its own work: its time-out is the dependency's
// failure, as far as the classifier agrees, and its cancellation is not.
func TestGuarantee6EndsOfItsOwn(t *testing.T) {
	config := guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare, MinCalls: 1000}
	synctest.Test(t, func(t *testing.T) {
		for name, cut := range map[string]func(context.Context) (context.Context, context.CancelFunc){
			"time-out": deadlineAfter(time.Millisecond), "cancelled": cancelsAfter(time.Millisecond), "errgroup": siblingFails,
		} {
			for said := guard.Outcome(-1); said <= guard.OutcomeIgnored+2; said++ {
				config.Classify = saying(said)
				for way, call := range waysToCall {
					what := fmt.Sprintf("%s, classified as %v, %s", name, said, way)
					g, d := guardedCalls(t, guard.Config{}, config)
					var fell error
					got := call(t.Context(), d, func(ctx context.Context) error {
						inner, cancel := cut(ctx)
						defer cancel()
						<-inner.Done()
						fell = inner.Err()
						return fell
					})
					want := judged(ofCall, fell, said)
					requireOutcome(t, g, want, what)
					requireError(t, got, fell, want, ofCall, what)
				}
			}
		}
	})
}

// The same holds for a probe: a client that hangs up leaves the breaker
// half-open with room for the next, and does not open it again.
func TestGuarantee6Probes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cut := range cuts {
			for errName, fall := range returns {
				_, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{
					Timeout: ownTimeout, FairShare: fairShare, OpenFor: 20 * time.Second, MinCalls: 10,
				})
				tripByFailures(d)
				time.Sleep(22 * time.Second)
				require.Equal(t, guard.StateHalfOpen, d.State())
				ctx, cancel := cut.ctx(t.Context())
				var fell error
				_ = d.Do(ctx, func(ctx context.Context) error {
					if cut.fault != ofNobody {
						<-ctx.Done()
					}
					fell = fall(ctx)
					return fell
				})
				cancel()
				want := map[guard.Outcome]guard.State{
					guard.OutcomeSucceeded: guard.StateClosed, guard.OutcomeFailed: guard.StateOpen, guard.OutcomeIgnored: guard.StateHalfOpen,
				}[judged(cut.fault, fell, guard.OutcomeDefault)]
				require.Equal(t, want, d.State(), "%s, %s", cut.name, errName)
				if want == guard.StateHalfOpen {
					require.NoError(t, d.Do(t.Context(), comesTo(nil)), "there is room for the next")
				}
			}
		}
	})
}

// The end of the caller's context is no less its own if the driver does not say
// so: the answer is not a 500, since nothing unexpected has happened.
func TestGuarantee6HiddenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cut := range cuts {
			if cut.fault != ofCaller {
				continue
			}
			d := newDependency(t, guard.DependencyConfig{Timeout: ownTimeout, FairShare: fairShare})
			ctx, cancel := cut.ctx(t.Context())
			err := d.Do(ctx, func(ctx context.Context) error {
				<-ctx.Done()
				return errors.New("driver: i/o timeout")
			})
			cancel()
			var dependency *guard.DependencyError
			assert.ErrorAs(t, err, &dependency, cut.name)
		}
	})
}
