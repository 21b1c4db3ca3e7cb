package guard

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Limit is a token bucket: it refills at Rate and holds at most Burst tokens.
//
// The zero Limit means "no limit" where it is a field of a configuration, and is
// refused by [NewLimiter], [NewKeyed] and their SetLimit methods.
type Limit struct {
	// Rate is the number of tokens per second; [rate.Every] converts from an
	// interval. 0 means no refill: Burst tokens, and never another one.
	// [rate.Inf] and +Inf mean no limit. Negative and NaN are errors.
	Rate rate.Limit
	// Burst is the size of the bucket. 0 with a positive Rate means one
	// second's worth, rounded down, and at least 1. Negative is an error.
	Burst int
}

// Unlimited returns the Limit that admits everything.
func Unlimited() Limit { return Limit{Rate: rate.Inf} }

// timeFor returns how long it takes to gain the number of tokens, cut to whole
// nanoseconds just as rate.Limiter does when it decides.
func (l Limit) timeFor(tokens float64) time.Duration {
	switch d := tokens / float64(l.Rate) * 1e9; {
	case tokens <= 0:
		return 0
	case d >= float64(longest): // also with no refill
		return longest
	default:
		return time.Duration(d)
	}
}

// exceededBy reports whether n tokens are more than the bucket can ever hold.
func (l Limit) exceededBy(n int) bool { return l.Rate != rate.Inf && n > l.Burst }

// orNone is resolve for a field of a configuration, where zero means no limit.
func (l Limit) orNone(field string) (Limit, error) {
	if l == (Limit{}) {
		return Unlimited(), nil
	}
	return l.resolve(field)
}

// resolve checks a limit and fills in its Burst. field is how errors name it.
func (l Limit) resolve(field string) (Limit, error) {
	switch {
	case math.IsNaN(float64(l.Rate)) || l.Rate < 0:
		return l, fmt.Errorf("guard: %s.Rate is %v, want >= 0", field, float64(l.Rate))
	case l.Burst < 0:
		return l, fmt.Errorf("guard: %s.Burst is %d, want >= 0", field, l.Burst)
	case l == Limit{}:
		return l, fmt.Errorf("guard: %s is the zero Limit{Rate: 0, Burst: 0}, want a Rate or a Burst, or Unlimited()", field)
	case l.Rate >= rate.Inf:
		l.Rate = rate.Inf
	case l.Burst > 0:
	case l.Rate >= math.MaxInt:
		l.Burst = math.MaxInt
	default:
		l.Burst = max(1, int(l.Rate))
	}
	return l, nil
}
