package guardprom

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
)

const (
	// nativeSchema has eight buckets for each doubling, as the guard has.
	nativeSchema = 3
	// nativeZero is below what the guard tells apart, in seconds: all that is as
	// quick is in the bucket of zero.
	nativeZero = 1e-6
	// lastAtLeast is how long the guard's last bucket took at the least, which has
	// no bound: two minutes.
	lastAtLeast = 120 * time.Second
)

// histogram returns a classic or a native histogram of l.
func (c *Collector) histogram(d *prometheus.Desc, l *guard.Latency, of []string) prometheus.Metric {
	if c.native {
		return c.nativeHistogram(d, l, of)
	}
	cumulative := make(map[float64]uint64, len(c.buckets))
	var below, all uint64
	var sum float64
	next := 0
	for bound, n := range l.Buckets {
		// They come in order, and so a classic bucket is full when the first comes
		// that goes beyond it.
		for next < len(c.buckets) && (bound == 0 || bound > c.buckets[next].exact) {
			cumulative[c.buckets[next].seconds] = below
			next++
		}
		below += n
		all += n
		sum += float64(n) * typical(bound)
	}
	for ; next < len(c.buckets); next++ {
		cumulative[c.buckets[next].seconds] = below
	}
	return prometheus.MustNewConstHistogramWithCreatedTimestamp(d, all, sum, cumulative, c.started, of...)
}

func (c *Collector) nativeHistogram(d *prometheus.Desc, l *guard.Latency, of []string) prometheus.Metric {
	buckets := map[int]int64{}
	var zero, all uint64
	var sum float64
	for bound, n := range l.Buckets {
		t := typical(bound)
		all += n
		sum += float64(n) * t
		if t <= nativeZero {
			zero += n
			continue
		}
		buckets[nativeIndex(t)] += int64(n) //nolint:gosec // no guard lives to see 2⁶³ of anything
	}
	m, err := prometheus.NewConstNativeHistogram(d, all, sum, buckets, nil, zero, nativeSchema, nativeZero, c.started, of...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, err)
	}
	return m
}

// nativeIndex returns in which bucket of a native histogram t is: that of index i
// ends with 2^(i/8) seconds.
func nativeIndex(t float64) int { return int(math.Ceil(math.Log2(t) * (1 << nativeSchema))) }

// typical returns how long what is below a bound took, in seconds. It took from
// eight ninths of the bound on (see [guard.Latency]), so that this is off by a
// seventeenth of the truth at the most, either way.
func typical(bound time.Duration) float64 {
	if bound == 0 {
		return seconds(lastAtLeast)
	}
	return seconds(bound) * 16 / 17
}
