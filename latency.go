package guard

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// The buckets of a histogram are log-linear: each doubling of the time is cut
// into eight, from about 1 µs to about two minutes. What is longer is in the last.
const (
	latencyFirst   = 10 // the first doubling is from 2¹⁰ ns
	latencyDoubles = 27
	latencyParts   = 8
	latencyBuckets = 1 + latencyDoubles*latencyParts + 1
)

// histogram counts durations. It has a fixed size and takes no lock.
type histogram [latencyBuckets]atomic.Uint64

func (h *histogram) add(nanoseconds int64) { h[latencyBucket(nanoseconds)].Add(1) }

// latencyBucket returns in which bucket a duration is.
func latencyBucket(nanoseconds int64) int {
	if nanoseconds < 1<<latencyFirst {
		return 0
	}
	n := bits.Len64(uint64(nanoseconds)) - 1 // its highest bit
	part := int(nanoseconds>>(n-3)) & (latencyParts - 1)
	return min(1+(n-latencyFirst)*latencyParts+part, latencyBuckets-1)
}

// latencyBound returns below which duration those of a bucket are, 0 for the
// last, which has no bound.
func latencyBound(bucket int) time.Duration {
	if bucket == latencyBuckets-1 {
		return 0
	}
	double, part := bucket/latencyParts, bucket%latencyParts
	return time.Duration(latencyParts+part) << (latencyFirst - 3 + double)
}

// snapshot copies the counts.
func (h *histogram) snapshot() Latency {
	counts := new([latencyBuckets]uint64)
	for i := range h {
		counts[i] = h[i].Load()
	}
	return newLatency(counts)
}

// Latency tells how long things took: since the start, or between two snapshots
// (see [Latency.Since]). Its quantiles are right within 12.5 %, and never too
// low, up to two minutes, beyond which they say two minutes. It is a value that
// does not change.
type Latency struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50"` // half were done within this; JSON: in nanoseconds
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`

	counts *[latencyBuckets]uint64 // nil: none
}

func newLatency(counts *[latencyBuckets]uint64) Latency {
	l := Latency{counts: counts}
	for _, n := range counts {
		l.Count += n
	}
	l.P50, l.P90, l.P99, l.Max = l.Quantile(0.5), l.Quantile(0.9), l.Quantile(0.99), l.Quantile(1)
	return l
}

// Since returns the latency of what has come since an earlier snapshot of the
// same thing. The zero Latency is earlier than all.
func (l Latency) Since(earlier Latency) Latency {
	if l.counts == nil || earlier.counts == nil {
		return l
	}
	counts := *l.counts
	for i, n := range earlier.counts {
		counts[i] -= min(n, counts[i])
	}
	return newLatency(&counts)
}

// Quantile returns within which time the share q of all was done: 0.99 is the
// 99th percentile. q is cut to 0 to 1; without anything counted, and after JSON,
// which keeps but four quantiles, the result is 0.
func (l Latency) Quantile(q float64) time.Duration {
	if l.counts == nil || l.Count == 0 {
		return 0
	}
	rank := uint64(1)
	if q > 0 {
		rank = max(rank, uint64(math.Ceil(min(q, 1)*float64(l.Count))))
	}
	for i, n := range l.counts[:latencyBuckets-1] {
		if n >= rank {
			return latencyBound(i)
		}
		rank -= n
	}
	return latencyBound(latencyBuckets - 2) // the last has no bound
}

// Buckets calls yield with each bucket that is not empty: the bound below which
// its durations are (0: none), and how many they are. It has the form of an
// iterator: for bound, n := range l.Buckets.
func (l Latency) Buckets(yield func(below time.Duration, n uint64) bool) {
	if l.counts == nil {
		return
	}
	for i, n := range l.counts {
		if n > 0 && !yield(latencyBound(i), n) {
			return
		}
	}
}
