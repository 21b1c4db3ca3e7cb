package guard_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

const (
	finest  = 1024 * time.Nanosecond // what is shorter counts as this
	longest = time.Duration(1) << 37 // what is longer counts as this: two minutes
)

// latencyOf returns the latency of calls that took so long, in virtual time. It
// must run in a bubble.
func latencyOf(t *testing.T, took ...time.Duration) guard.Latency {
	t.Helper()
	g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
	d, err := g.Dependency("db", guard.DependencyConfig{Timeout: guard.NoTimeout})
	require.NoError(t, err)
	lasting(t, d, took...)
	return g.Snapshot().Dependencies[0].Latency
}

func lasting(t *testing.T, d *guard.Dependency, took ...time.Duration) {
	t.Helper()
	for _, x := range took {
		_, p, err := d.Acquire(context.Background())
		require.NoError(t, err)
		time.Sleep(x)
		p.Done(nil)
	}
}

// exactQuantile is the oracle: what a sorted list of all says.
func exactQuantile(sorted []time.Duration, q float64) time.Duration {
	rank := 1
	if q > 0 {
		rank = max(rank, int(math.Ceil(min(q, 1)*float64(len(sorted)))))
	}
	return sorted[rank-1]
}

// A quantile is never too low, and at most an eighth too high.
func TestLatencyAgainstSortedList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		qs := []float64{0, 0.001, 0.1, 0.5, 0.55, 0.57, 0.9, 0.95, 0.99, 0.999, 1}
		for range 200 {
			all := make([]time.Duration, 1+random.IntN(60))
			spread := random.Float64() * 37
			for i := range all {
				all[i] = time.Duration(math.Exp2(10 + min(random.Float64()*spread, 26.999)))
			}
			l := latencyOf(t, all...)
			require.EqualValues(t, len(all), l.Count)
			slices.Sort(all)
			for _, q := range append(qs, random.Float64()) {
				want, got := exactQuantile(all, q), l.Quantile(q)
				require.GreaterOrEqual(t, got, want, "q %v of %v", q, all)
				require.LessOrEqual(t, float64(got), float64(want)*1.125, "q %v of %v", q, all)
			}
			require.Equal(t, [4]time.Duration{l.Quantile(0.5), l.Quantile(0.9), l.Quantile(0.99), l.Quantile(1)}, [4]time.Duration{l.P50, l.P90, l.P99, l.Max})
			requireBuckets(t, l, all)
		}
	})
}

// requireBuckets checks the buckets against the sorted list: no time is at or
// above its bucket's bound, or below the bound before.
func requireBuckets(t *testing.T, l guard.Latency, sorted []time.Duration) {
	t.Helper()
	var before time.Duration
	rest := sorted
	for below, n := range l.Buckets {
		require.Positive(t, n)
		require.LessOrEqual(t, n, uint64(len(rest)))
		for _, x := range rest[:n] {
			require.GreaterOrEqual(t, x, before)
			if below != 0 {
				require.Less(t, x, below)
			} else {
				require.GreaterOrEqual(t, x, longest)
			}
		}
		before, rest = below, rest[n:]
	}
	require.Empty(t, rest)
}

// The bounds of the buckets are where they should be.
func TestLatencyAtTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct{ took, want time.Duration }{
			{0, finest},
			{1, finest},
			{finest - 1, finest},
			{finest, finest * 9 / 8},
			{finest*9/8 - 1, finest * 9 / 8},
			{finest * 9 / 8, finest * 10 / 8},
			{2*finest - 1, 2 * finest},
			{2 * finest, 2 * finest * 9 / 8},
			{longest - 1, longest},
			{longest, longest},
			{24 * time.Hour, longest},
			{50 * 365 * 24 * time.Hour, longest},
		} {
			l := latencyOf(t, test.took)
			require.Equal(t, test.want, l.Max, "of %d", test.took)
			requireBuckets(t, l, []time.Duration{test.took})
		}
		for n := 10; n < 37; n++ {
			two := time.Duration(1) << n
			require.Equal(t, two, latencyOf(t, two-1).Max, "just below 2^%d", n)
			require.Equal(t, two+two/8, latencyOf(t, two).Max, "2^%d", n)
		}
	})
}

func TestLatencyOfNothing(t *testing.T) {
	var zero guard.Latency
	require.Zero(t, newGuard(t, guard.Config{}).Snapshot().Requests.Latency.Max)
	for _, l := range []guard.Latency{zero, newGuard(t, guard.Config{}).Snapshot().Requests.Latency} {
		require.Zero(t, l.Count)
		for _, q := range []float64{0, 0.5, 1, -1, 2, math.NaN(), math.Inf(1), math.Inf(-1)} {
			require.Zero(t, l.Quantile(q))
		}
		for range l.Buckets {
			t.Fatal("a bucket that is empty")
		}
		require.Zero(t, l.Since(zero).Count)
		require.Zero(t, zero.Since(l).Count)
	}
}

// A share that is none is cut to 0 and 1.
func TestLatencyQuantileIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := latencyOf(t, time.Millisecond, time.Second, time.Minute)
		for _, q := range []float64{0, -0.5, math.Inf(-1), math.NaN(), math.SmallestNonzeroFloat64} {
			require.Equal(t, latencyOf(t, time.Millisecond).Max, l.Quantile(q), "q %v", q)
		}
		for _, q := range []float64{1, 1.5, math.Inf(1), math.MaxFloat64} {
			require.Equal(t, latencyOf(t, time.Minute).Max, l.Quantile(q), "q %v", q)
		}
		seen := 0
		for range l.Buckets {
			seen++
			break
		}
		require.Equal(t, 1, seen, "whoever has seen enough sees no more")
	})
}

// Since tells of what has come in between, and changes neither snapshot.
func TestLatencySince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		d, err := g.Dependency("db", guard.DependencyConfig{Timeout: guard.NoTimeout})
		require.NoError(t, err)
		now := func() guard.Latency { return g.Snapshot().Dependencies[0].Latency }
		none := now()
		lasting(t, d, time.Millisecond, time.Millisecond, time.Second)
		first := now()
		lasting(t, d, time.Minute, time.Minute)
		second := now()

		between := second.Since(first)
		require.EqualValues(t, 2, between.Count)
		require.Equal(t, latencyOf(t, time.Minute).Max, between.Quantile(0), "what was before does not count")
		require.EqualValues(t, 3, first.Count)
		require.EqualValues(t, 5, second.Count)
		for _, earlier := range []guard.Latency{{}, none} {
			require.Equal(t, second.Quantile(0.5), second.Since(earlier).Quantile(0.5))
			require.EqualValues(t, 5, second.Since(earlier).Count)
		}
		require.Zero(t, second.Since(second).Count)
		require.Zero(t, second.Since(second).Max)
		require.Zero(t, first.Since(second).Count, "the wrong way round")
		require.Zero(t, first.Since(second).Max)

		// What has gone through JSON keeps what it says.
		text, err := json.Marshal(second)
		require.NoError(t, err)
		var back guard.Latency
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, [5]any{second.Count, second.P50, second.P90, second.P99, second.Max}, [5]any{back.Count, back.P50, back.P90, back.P99, back.Max})
		require.Zero(t, back.Quantile(0.5), "as documented")
	})
}
