package guard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// playCalls makes calls, one for each letter, a millisecond apart: s(ucceeds),
// f(ails), S and F the same but slow, a(nswered), i(gnored), and . for none but
// a whole second. It returns how many it took until the breaker was not closed,
// or 0.
func playCalls(r *rig, calls string) int {
	for i, letter := range calls {
		if letter == '.' {
			time.Sleep(time.Second)
			continue
		}
		err := map[rune]error{'f': errBroken, 'F': errBroken, 'a': errRefused, 'i': errUnsaid}[letter]
		_ = r.Do(context.Background(), func(context.Context) error {
			if letter == 'S' || letter == 'F' {
				time.Sleep(slowCall)
			} else {
				time.Sleep(time.Millisecond) // fast, if only just
			}
			return err
		})
		if r.State() != guard.StateClosed {
			return i + 1
		}
	}
	return 0
}

const slowCall = 2 * time.Millisecond

// When a breaker trips: at which call of a sequence, to the call.
func TestTrips(t *testing.T) {
	with := func(minCalls int, failures, slows float64) guard.DependencyConfig {
		return guard.DependencyConfig{
			MinCalls: minCalls, FailureRate: failures, SlowRate: slows, SlowCall: slowCall,
			Classify: classified, Window: 10 * time.Second,
		}
	}
	repeat := strings.Repeat
	for _, row := range []struct {
		name   string
		config guard.DependencyConfig
		calls  string
		at     int // the call that trips it; 0: none
	}{
		{"one failure", with(1, 0.5, 1), "ssf", 3},
		{"half", with(4, 0.5, 1), "ssff", 4},
		{"not before MinCalls", with(4, 0.5, 1), "sff", 0},
		{"a success does not trip", with(4, 0.5, 1), "sffs", 0},
		{"the failure after it does", with(4, 0.5, 1), "sffsf", 5},
		{"all", with(4, 1, 1), "sffffff", 5},
		{"all, after a success in between", with(4, 1, 1), "fffsfff", 0},
		{"three tenths", with(10, 0.3, 1), "sssssssfff", 10},
		{"just under three tenths", with(10, 0.3, 1), "sssssssssff", 0},
		{"a third", with(3, 1.0/3, 1), "ssf", 3},
		{"seven of a hundred", with(100, 0.07, 1), repeat("s", 93) + repeat("f", 7), 100},
		{"six of a hundred", with(100, 0.07, 1), repeat("s", 94) + repeat("f", 6), 0},
		{"a tiny share", with(2, 1e-300, 1), "sf", 2},
		{"in a row", with(5, 1, 1), repeat("s", 100) + "fffff", 105},
		{"not quite in a row", with(5, 1, 1), repeat("s", 100) + "ffffsffffsffff", 0},
		{"in a row, whatever comes between that says nothing", with(5, 1, 1), "sfafifaafiif", 12},
		{"in a row, however far apart", with(3, 1, 1), "sf" + repeat(".", 50) + "f" + repeat(".", 50) + "f", 104},
		{"a slow success ends a row", with(3, 1, 1), "sffSffSff", 0},
		{"out of the window", with(4, 0.5, 1), "fff" + repeat(".", 10) + "sssf", 0},
		{"within the window", with(4, 0.5, 1), "ffs" + repeat(".", 8) + "f", 12},
		{"slow", with(5, 1, 0.8), "sSSSS", 5},
		{"not slow enough", with(5, 1, 0.8), "ssSSSs", 0},
		{"a fast success does not trip for being slow", with(5, 1, 0.6), "SSSSss", 0},
		{"a slow success does not trip for the failures", with(4, 0.5, 1), "sffS", 0},
		{"slow failures", with(5, 1, 0.2), "ssssF", 5},
		{"slow failures count for both", with(4, 0.5, 1), "ssFF", 4},
		{"a fast failure does not trip for being slow", with(5, 1, 0.4), "SSSsf", 0},
		{"slow calls in a row do not do", with(5, 1, 1), "s" + repeat("S", 20), 0},
		{"answered and ignored count for nothing", with(1, 0.01, 0.01), repeat("ai", 50), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, row.config, func(t *testing.T, r *rig) {
				require.Equal(t, row.at, playCalls(r, row.calls))
				w := r.snapshot().Window
				if row.at != 0 {
					require.Zero(t, w.Calls)
					e := r.events[0]
					require.NotEmpty(t, e.Reason)
					require.LessOrEqual(t, e.Failed, e.Calls)
				}
			})
		})
	}
}

// A call that takes SlowCall, to the nanosecond, is slow. So is one that a probe
// makes, and then it has failed, though the caller is none the wiser.
func TestSlowProbeFails(t *testing.T) {
	for _, takes := range []time.Duration{time.Second - 1, time.Second} {
		t.Run(fmt.Sprint(takes), func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 1, SlowCall: time.Second, SlowRate: 1, OpenFor: time.Second, Classify: classified}
			inBubble(t, c, func(t *testing.T, r *rig) {
				slowly := func(err error) error {
					return r.Do(context.Background(), func(context.Context) error {
						time.Sleep(takes)
						return err
					})
				}
				r.toHalfOpen()
				require.NoError(t, slowly(nil))
				if takes < c.SlowCall {
					require.Equal(t, guard.StateClosed, r.State())
					return
				}
				require.Equal(t, guard.StateOpen, r.State())
				wait := r.refused()
				r.around(2*time.Second, wait)
				require.EqualValues(t, 1, r.snapshot().Counts.Failed, "that of the trip: the call itself has succeeded")
				time.Sleep(wait)
				require.ErrorIs(t, slowly(errUnsaid), errUnsaid)
				require.Equal(t, guard.StateHalfOpen, r.State())
				require.ErrorIs(t, slowly(errRefused), errRefused)
				require.Equal(t, guard.StateClosed, r.State(), "it is alive")
			})
		})
	}
}

// The event of a trip tells what the breaker went by.
func TestTripTellsWhy(t *testing.T) {
	for calls, why := range map[string]string{"ssff": "failure rate", "SSSS": "slow calls", "sssssssffff": "failures in a row"} {
		t.Run(why, func(t *testing.T) {
			c := guard.DependencyConfig{MinCalls: 4, SlowCall: slowCall, Classify: classified}
			inBubble(t, c, func(t *testing.T, r *rig) {
				require.Equal(t, len(calls), playCalls(r, calls))
				e := r.events[0]
				require.Equal(t, why, e.Reason)
				require.EqualValues(t, len(calls), e.Calls)
				require.EqualValues(t, strings.Count(calls, "f"), e.Failed)
				require.EqualValues(t, strings.Count(calls, "S"), e.Slow)
				require.Equal(t, "db", e.Dependency)
				require.Equal(t, e.OpenFor, r.refused())
				time.Sleep(e.OpenFor)
				_ = r.call(errBroken)
				e = r.events[len(r.events)-1]
				require.Equal(t, guard.StateOpen, e.To)
				require.Zero(t, e.Calls+e.Failed+e.Slow, "no window has a say in that")
			})
		})
	}
}
