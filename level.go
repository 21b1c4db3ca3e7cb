package guard

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// All buckets of a Keyed fill at the same rate, so one number, the flow, tells
// what has run into any of them since the beginning. What is kept per bucket is
// its mark: what it would hold now, had nothing ever run over, less the flow.
// The level is then
//
//	min(full, mark + flow)
//
// where full is the level of a bucket that nobody draws from. Taking n lowers
// the mark by n; time and tuning change only the flow and full, which all
// buckets share. So a new limit reaches every bucket at once, and the order of
// the marks is, for all time, the order in which buckets become full.
//
// Levels are in nanotokens: a rate in tokens per second is as many nanotokens
// per nanosecond, with no rounding.

// An era is a span of time with one limit. It is immutable.
type era struct {
	limit Limit
	since int64   // nanoseconds since the start
	flow  sum     // at since
	full  float64 // at since
	rate  float64
	burst float64
}

const nano = 1e9

func newEra(l Limit) *era {
	burst := float64(l.Burst) * nano
	return &era{limit: l, full: burst, rate: float64(l.Rate), burst: burst}
}

// boundless reports whether nothing need be kept, because there is no limit, or
// one beyond this arithmetic and all hardware.
func (e *era) boundless() bool { return e.rate >= 1e25 }

// at returns the flow and the level of an idle bucket at an instant.
func (e *era) at(now int64) (flow sum, full float64) {
	if e.boundless() {
		return e.flow, e.full
	}
	dt := max(now-e.since, 0)
	flow = e.flow
	speed := min(e.rate, e.burst) // a bucket that is full in a nanosecond need not be faster
	const exact = 1 << 52         // a float64 holds every integer up to there
	if dt >= exact {
		flow = flow.plusProduct(speed, float64(dt&^(exact-1)))
	}
	flow = flow.plusProduct(speed, float64(dt&(exact-1)))
	return flow, min(e.burst, e.full+e.rate*float64(dt))
}

// next returns the era in which limit takes over at an instant.
func (e *era) next(l Limit, now int64) *era {
	n := newEra(l)
	flow, full := e.at(now)
	if e.rate >= e.burst { // every bucket is full within a nanosecond
		full = e.burst
		if e.limit.Rate == rate.Inf {
			full = n.burst
		}
		flow = flow.plus(full).plus(e.owed())
	}
	n.since, n.flow, n.full = now, flow, min(full, n.burst)
	return n
}

// owed is the most that a bucket can be short of nothing: see short.
func (e *era) owed() float64 {
	if e.boundless() {
		return 0
	}
	return e.rate
}

// take draws n tokens, 0 < n <= Burst, from the bucket with the mark m, or
// returns how long until it could.
func (e *era) take(m *sum, now int64, n int) (wait time.Duration, ok bool) {
	flow, full := e.at(now)
	if short := e.short(*m, flow, full, n); short > 0 {
		return e.wait(*m, now, n, short), false
	}
	if brim := flow.negative().plus(full); brim.less(*m) {
		*m = brim
	}
	*m = m.plus(-float64(n) * nano)
	return 0, true
}

// brim returns the mark of a bucket that nobody draws from.
func (e *era) brim(now int64) sum {
	flow, full := e.at(now)
	return flow.negative().plus(full)
}

func (e *era) isFull(m sum, now int64) bool { return !m.less(e.brim(now)) }

// short returns how much the bucket with the mark m lacks for n tokens. Less
// than what accrues in 1 ns is nothing, as with rate.Limiter: what is due in
// whole nanoseconds must not fail for the last bit of a float64.
func (e *era) short(m, flow sum, full float64, n int) float64 {
	short := float64(n)*nano - min(full, m.plus(flow.hi).plus(flow.lo).hi)
	if short < e.rate {
		return 0
	}
	return short
}

// wait returns how long until a bucket that is short of n tokens has them.
func (e *era) wait(m sum, now int64, n int, short float64) time.Duration {
	if e.rate == 0 {
		return never
	}
	if short/e.rate >= float64(longest) {
		return longest
	}
	wait := time.Duration(short / e.rate)
	for step := time.Duration(1); wait < longest/2; step *= 2 {
		flow, full := e.at(after(now, wait))
		if e.short(m, flow, full, n) <= 0 {
			break
		}
		wait += step // the division has left it a nanosecond short, or more if far away
	}
	return max(wait, 1)
}

// giveBack adds n tokens to the bucket with the mark m, as far as there is room.
func (e *era) giveBack(m *sum, now int64, n int) {
	*m = m.plus(float64(n) * nano)
	if brim := e.brim(now); brim.less(*m) {
		*m = brim
	}
}

// sum is the unevaluated sum of two float64, about 106 bits (T. J. Dekker, "A
// floating-point technique for extending the available precision", 1971). A
// plain float64 would be off by a nanosecond's worth after 104 days.
type sum struct{ hi, lo float64 }

func (s sum) plus(f float64) sum {
	hi := s.hi + f
	b := hi - s.hi
	lo := (s.hi - (hi - b)) + (f - b) + s.lo
	top := hi + lo
	return sum{top, lo - (top - hi)}
}

func (s sum) plusProduct(a, b float64) sum {
	p := float64(a * b)
	return s.plus(p).plus(math.FMA(a, b, -p)) // and what the product lost to rounding
}

func (s sum) less(t sum) bool { return s.hi < t.hi || s.hi == t.hi && s.lo < t.lo }

func (s sum) negative() sum { return sum{-s.hi, -s.lo} }
