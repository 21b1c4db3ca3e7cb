package guardprom_test

import (
	"context"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

// took is how long the calls take: below the guard's first bound, either side of
// bounds of the classic buckets, and beyond all.
var took = []time.Duration{
	500 * time.Nanosecond,
	1<<20 - 1, 1 << 20, // 1.05 ms
	10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond,
	700 * time.Millisecond, 5 * time.Second, time.Hour,
}

// timed returns a histogram of calls that took so long.
func timed(t *testing.T, o guardprom.Options, took ...time.Duration) (h *dto.Histogram) {
	t.Helper()
	var made time.Time
	synctest.Test(t, func(t *testing.T) {
		made = time.Now()
		g, err := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer g.Close()
		d, err := g.Dependency("db", guard.DependencyConfig{Timeout: 2 * time.Hour})
		require.NoError(t, err)
		for _, long := range took {
			require.NoError(t, d.Do(t.Context(), func(context.Context) error {
				time.Sleep(long)
				return nil
			}))
		}
		c, err := guardprom.New(g, o)
		require.NoError(t, err)
		reg := prometheus.NewPedanticRegistry()
		require.NoError(t, reg.Register(c))
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "guard_dependency_call_duration_seconds" {
				h = f.GetMetric()[0].GetHistogram()
			}
		}
	})
	require.NotNil(t, h)
	require.Equal(t, uint64(len(took)), h.GetSampleCount())
	require.Equal(t, made.Unix(), h.GetCreatedTimestamp().GetSeconds())
	return h
}

// The classic buckets count exactly where their bounds are the guard's.
func TestHistogramDefaultBuckets(t *testing.T) {
	h := timed(t, guardprom.Options{}, took...)
	require.Len(t, h.GetBucket(), len(guardprom.DefaultBuckets()))
	for i, b := range h.GetBucket() {
		require.Equal(t, guardprom.DefaultBuckets()[i], b.GetUpperBound())
		var want uint64
		for _, long := range took {
			if long.Seconds() < b.GetUpperBound() {
				want++
			}
		}
		require.Equal(t, want, b.GetCumulativeCount(), "below %v s", b.GetUpperBound())
	}
}

// Any other bound counts as the guard's next lower: never what is above it, and
// all that is an eighth below.
func TestHistogramOwnBuckets(t *testing.T) {
	bounds := []float64{1e-9, 0.001, 0.0095, 0.0120, 0.3, 0.9, 10, 1e5, 1e300}
	h := timed(t, guardprom.Options{Buckets: bounds}, took...)
	require.Len(t, h.GetBucket(), len(bounds))
	for i, b := range h.GetBucket() {
		require.Equal(t, bounds[i], b.GetUpperBound())
		var least, most uint64
		for _, long := range took {
			if long.Seconds()*1.125 <= b.GetUpperBound() && long > 1024 && long < 2*time.Minute {
				least++
			}
			if long.Seconds() <= b.GetUpperBound() {
				most++
			}
		}
		require.LessOrEqual(t, least, b.GetCumulativeCount(), "up to %v s", b.GetUpperBound())
		require.GreaterOrEqual(t, most, b.GetCumulativeCount(), "up to %v s", b.GetUpperBound())
	}
	require.Equal(t, uint64(6), h.GetBucket()[3].GetCumulativeCount(), "12 ms")
	require.Equal(t, uint64(len(took)-1), h.GetBucket()[7].GetCumulativeCount(), "an hour is beyond what the guard tells apart")
}

// The sum is right within 6 %, also where a bucket begins and where it ends, and
// whether a doubling begins there or not.
func TestHistogramSum(t *testing.T) {
	const at = 1 << 30
	for name, o := range map[string]guardprom.Options{"classic": {}, "native": {NativeHistograms: true}} {
		for _, all := range [][]time.Duration{took, {at}, {at - 1}, {at * 9 / 8}, {at*9/8 - 1}, {at * 15 / 8}, {at*15/8 - 1}} {
			t.Run(name+" "+all[0].String(), func(t *testing.T) {
				var sum float64
				for _, long := range all {
					sum += min(long, 2*time.Minute).Seconds()
				}
				require.InEpsilon(t, sum, timed(t, o, all...).GetSampleSum(), 0.06)
			})
		}
	}
}

// One that counts nothing is a native histogram all the same.
func TestHistogramNativeEmpty(t *testing.T) {
	h := timed(t, guardprom.Options{NativeHistograms: true})
	require.Equal(t, int32(3), h.GetSchema())
	require.Positive(t, h.GetZeroThreshold(), "this is what it is known by")
	require.Zero(t, h.GetZeroCount())
	require.Empty(t, h.GetPositiveSpan())
	require.Zero(t, h.GetSampleSum())
	require.Empty(t, h.GetBucket())
}

// Native buckets count all, and each where the middle of the guard's bucket is,
// which is within a seventeenth of the truth.
func TestHistogramNative(t *testing.T) {
	took := []time.Duration{500 * time.Nanosecond, 700 * time.Nanosecond}
	for d := 2 * time.Microsecond; d < 2*time.Minute; d = d * 6 / 5 {
		took = append(took, d)
	}
	h := timed(t, guardprom.Options{NativeHistograms: true}, took...)
	require.Empty(t, h.GetBucket())
	require.Equal(t, int32(3), h.GetSchema())

	var bounds []float64 // the upper one of each that is counted
	index, n := int32(0), int64(0)
	deltas := h.GetPositiveDelta()
	for _, span := range h.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			n += deltas[0]
			deltas = deltas[1:]
			for range n {
				bounds = append(bounds, math.Exp2(float64(index)/8))
			}
			index++
		}
	}
	require.Equal(t, uint64(2), h.GetZeroCount(), "below a microsecond")
	require.Len(t, bounds, len(took)-2)
	for i, long := range took[2:] {
		require.LessOrEqual(t, long.Seconds(), bounds[i]*17/16)
		require.GreaterOrEqual(t, long.Seconds(), bounds[i]*math.Exp2(-1.0/8)*17/18)
	}
}
