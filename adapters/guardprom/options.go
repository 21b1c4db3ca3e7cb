package guardprom

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxBuckets is how many classic buckets there may be: each is a series for every
// route and every dependency.
const maxBuckets = 100

// Options say how a guard is shown. The zero value is a good start.
type Options struct {
	// ConstLabels are added to every metric. Two guards can be registered with one
	// registry if these differ: {"guard": "public"} and {"guard": "admin"}. nil
	// means none. Names that the metrics use themselves are errors.
	ConstLabels prometheus.Labels
	// Buckets are the upper bounds of the classic buckets of the histograms, in
	// seconds, ascending; nil means [DefaultBuckets]. There may be 100, each above
	// 0 and finite; +Inf is added. One that is no bound of the guard's own counts
	// as the next lower that is, so up to an eighth lower.
	Buckets []float64
	// NativeHistograms makes the histograms native ones, of schema 3 (eight buckets
	// for each doubling), instead of classic ones; Buckets must then be nil. Only a
	// server that scrapes in protobuf sees their buckets: for all others, count and
	// sum remain.
	NativeHistograms bool
}

// DefaultBuckets returns the bounds of the classic buckets, in seconds, that are
// used where none are given: every doubling from 0.26 ms to 34 s. They are bounds
// of the guard's own, and so their counts are exact. It returns a new slice each
// time.
func DefaultBuckets() []float64 {
	var bounds []float64
	for d := time.Duration(1 << 18); d <= 1<<35; d *= 2 {
		bounds = append(bounds, seconds(d))
	}
	return bounds
}

// A bucketBound is the bound of a classic bucket, in both forms, so that the one
// the user gave is the one that is shown.
type bucketBound struct {
	seconds float64
	exact   time.Duration
}

// bounds returns those of the classic buckets, none for native histograms.
func (o *Options) bounds() ([]bucketBound, error) {
	given := o.Buckets
	switch {
	case o.NativeHistograms && given != nil:
		return nil, fmt.Errorf("guardprom: Options.Buckets is %v beside NativeHistograms, want nil", given)
	case o.NativeHistograms:
		return nil, nil
	case given == nil:
		given = DefaultBuckets()
	}
	if len(given) > maxBuckets {
		return nil, fmt.Errorf("guardprom: Options.Buckets has %d bounds, want at most %d", len(given), maxBuckets)
	}
	bounds := make([]bucketBound, len(given))
	for i, b := range given {
		if !(b > 0) || math.IsInf(b, 1) { // NaN is not above 0
			return nil, fmt.Errorf("guardprom: Options.Buckets[%d] is %v, want above 0 and finite", i, b)
		}
		if i > 0 && b <= given[i-1] {
			return nil, fmt.Errorf("guardprom: Options.Buckets[%d] is %v, want more than %v before it", i, b, given[i-1])
		}
		exact := time.Duration(math.MaxInt64)
		if nanoseconds := math.Round(b * 1e9); nanoseconds < math.MaxInt64 {
			exact = time.Duration(nanoseconds)
		}
		bounds[i] = bucketBound{seconds: b, exact: exact}
	}
	return bounds, nil
}

// checkLabels returns what is invalid in ConstLabels and a registry does not find
// out: le, which it adds to the buckets itself.
func (o *Options) checkLabels() error {
	if value, ok := o.ConstLabels["le"]; ok {
		return fmt.Errorf("guardprom: Options.ConstLabels[le] is %q, want none: histograms use it", value)
	}
	return nil
}
