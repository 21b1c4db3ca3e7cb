package guard_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// countedConfig is a breaker that only counts.
func countedConfig(window time.Duration) guard.DependencyConfig {
	return guard.DependencyConfig{Window: window, MinCalls: 1 << 30, SlowCall: time.Nanosecond, Timeout: guard.NoTimeout}
}

// The window, held against a list of everything: it holds what lies in the
// present tenth of a Window or in the nine before it.
func TestWindowProperty(t *testing.T) {
	type ended struct {
		tenth        int64
		failed, slow bool
	}
	for _, window := range []time.Duration{
		time.Millisecond, time.Millisecond + 7, 999999999, time.Second, 10 * time.Second, time.Hour, 1000 * time.Hour,
	} {
		t.Run(window.String(), func(t *testing.T) {
			inBubble(t, countedConfig(window), func(t *testing.T, r *rig) {
				start, tenth := time.Now(), window/10
				random := rand.New(rand.NewPCG(uint64(window), 1))
				var all []ended
				for range 400 {
					pause := []time.Duration{
						0, 0, 0, 1, tenth - 1, tenth, tenth + 1, window - 1, window - tenth, window, 3 * window,
						tenth - time.Since(start)%tenth, tenth - time.Since(start)%tenth - 1,
					}[random.IntN(13)]
					if random.IntN(3) > 0 {
						pause = time.Duration(random.Int64N(int64(tenth)/3 + 1))
					}
					time.Sleep(pause)
					for range random.IntN(3) {
						slow, err := random.IntN(2) == 0, []error{nil, errBroken}[random.IntN(2)]
						_ = r.Do(context.Background(), func(context.Context) error {
							if slow {
								time.Sleep(time.Nanosecond)
							}
							return err
						})
						all = append(all, ended{int64(time.Since(start) / tenth), err != nil, slow})
					}
					var calls, failed, slow int64
					for _, e := range all {
						if int64(time.Since(start)/tenth)-e.tenth < 10 {
							calls++
							failed += map[bool]int64{true: 1}[e.failed]
							slow += map[bool]int64{true: 1}[e.slow]
						}
					}
					w := r.snapshot().Window
					require.Equal(t, []int64{calls, failed, slow}, []int64{w.Calls, w.Failed, w.Slow}, "at %v", time.Since(start))
				}
			})
		})
	}
}

// To the nanosecond: an outcome counts for nine tenths of a Window at least, and
// for less than a whole one more than a tenth.
func TestWindowEnds(t *testing.T) {
	const window = 10 * time.Second
	for _, at := range []time.Duration{0, 1, time.Second - 1, time.Second, 25*time.Second + 1} {
		inBubble(t, countedConfig(window), func(t *testing.T, r *rig) {
			time.Sleep(at)
			_ = r.call(errBroken)
			until := at.Truncate(time.Second) + window
			time.Sleep(until - at - 1)
			require.EqualValues(t, 1, r.snapshot().Window.Failed, "of %v", at)
			time.Sleep(time.Nanosecond)
			require.Zero(t, r.snapshot().Window.Failed, "of %v", at)
		})
	}
}

// No outcome is lost or counted twice, when many come at the instant at which a
// new slot begins, and others look.
func TestWindowUnderContention(t *testing.T) {
	const crowd, rounds = 4, 600
	inBubble(t, countedConfig(time.Second), func(t *testing.T, r *rig) {
		var here atomic.Int64
		for i := range crowd {
			go func() {
				for round := range int64(rounds) {
					time.Sleep(100 * time.Millisecond)
					here.Add(1)
					for here.Load() < crowd*(round+1) { // all at once, as far as there are CPUs
						runtime.Gosched()
					}
					_ = r.call([]error{nil, errBroken}[i%2])
					r.snapshot()
				}
			}()
		}
		for round := range int64(rounds) {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			w := r.snapshot().Window
			slots := min(round+1, 10)
			require.Equal(t, crowd*slots, w.Calls)
			require.Equal(t, crowd/2*slots, w.Failed)
		}
	})
}
