package guard_test

import (
	"context"
	"errors"
	"math"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// exactBucket is a token bucket in exact arithmetic: what every limiter is held
// against.
type exactBucket struct {
	limit guard.Limit
	level *big.Rat // nil: unlimited
	at    time.Time
}

func ratio(f float64) *big.Rat { return new(big.Rat).SetFloat64(f) }

func newExactBucket(l guard.Limit) *exactBucket {
	b := &exactBucket{at: time.Now()}
	b.set(l)
	return b
}

func (b *exactBucket) gain(d time.Duration) *big.Rat {
	return new(big.Rat).Mul(ratio(float64(b.limit.Rate)), big.NewRat(int64(d), int64(time.Second)))
}

func (b *exactBucket) cap() {
	if full := new(big.Rat).SetInt64(int64(b.limit.Burst)); b.level.Cmp(full) > 0 {
		b.level = full
	}
}

func (b *exactBucket) advance(now time.Time) {
	if b.level != nil {
		b.level.Add(b.level, b.gain(now.Sub(b.at)))
		b.cap()
	}
	b.at = now
}

func (b *exactBucket) add(n int) {
	if b.level != nil {
		b.level.Add(b.level, new(big.Rat).SetInt64(int64(n)))
		b.cap()
	}
}

// holds reports whether the bucket has n tokens, give or take slack tokens and
// what accrues in a time.
func (b *exactBucket) holds(n int, slack float64, d time.Duration) bool {
	if b.level == nil {
		return true
	}
	have := new(big.Rat).Add(b.level, ratio(slack))
	return have.Add(have, b.gain(d)).Cmp(new(big.Rat).SetInt64(int64(n))) >= 0
}

func (b *exactBucket) set(l guard.Limit) {
	wasUnlimited := b.level == nil
	b.limit = l
	switch {
	case l.Rate == rate.Inf:
		b.level = nil
	case wasUnlimited:
		b.level = new(big.Rat).SetInt64(int64(l.Burst))
	default:
		b.cap()
		if b.level.Sign() < 0 {
			b.level = new(big.Rat)
		}
	}
}

// late is how many tokens a Limiter may be behind an exact bucket.
func late(l guard.Limit) float64 {
	if l.Rate == rate.Inf {
		return 0
	}
	return min(float64(l.Rate)/1000, float64(l.Burst)/8) + 1
}

// rounding allows for the float64 in which rate.Limiter keeps its tokens.
func rounding(l guard.Limit) float64 { return (float64(l.Burst) + 1) * 0x1p-40 }

var someLimits = []guard.Limit{
	{Rate: 10, Burst: 5},
	{Rate: 1, Burst: 1},
	{Rate: 0.3, Burst: 3},
	{Rate: rate.Every(3 * time.Second), Burst: 2},
	{Rate: 1000, Burst: 100},
	{Rate: 33333, Burst: 1000},
	{Rate: 1e6, Burst: 64},
	{Rate: 1e9, Burst: 100000},
	{Rate: 0, Burst: 7},
	{Rate: rate.Inf, Burst: 0},
	{Rate: 1e-300, Burst: 4},
	{Rate: 1e300, Burst: 9},
	{Rate: 1e30, Burst: 6},
	{Rate: 1e15, Burst: 8},
	{Rate: 7, Burst: math.MaxInt32},
}

var somePauses = []time.Duration{
	1, 999, 50 * time.Microsecond, 400 * time.Microsecond, time.Millisecond, 7 * time.Millisecond,
	100 * time.Millisecond, time.Second, time.Minute, 30 * 24 * time.Hour,
}

// script reads choices from the bytes of a fuzzer.
type script []byte

func (s *script) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

// A limiterRun drives a Limiter and the exact bucket through the same life.
type limiterRun struct {
	t        *testing.T
	lim      *guard.Limiter
	exact    *exactBucket
	late     float64 // the largest of the limits so far
	rounding float64 // likewise
	taken    int64   // and not yet returned

	mu      sync.Mutex
	served  []served // by Wait, in the order of time, since the last settle
	waiting map[int]*waiting
	seq     int
	lastSeq int       // of those served, the last to arrive…
	lastAt  time.Time // …and when it was served
}

type served struct {
	seq, n int
	at     time.Time
	err    error
}

type waiting struct {
	n      int
	cancel context.CancelFunc
}

func (run *limiterRun) admitted(n int, at time.Time) {
	run.exact.advance(at)
	require.True(run.t, n == 0 || run.exact.holds(n, run.rounding, time.Nanosecond),
		"%d admitted at %v, when an exact bucket holds %s of %+v", n, at, run.exact.level, run.exact.limit)
	run.exact.add(-n)
	run.taken += int64(n)
}

// settle waits for the goroutines in Wait and accounts for what they got.
func (run *limiterRun) settle() {
	synctest.Wait()
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, s := range run.served {
		delete(run.waiting, s.seq)
		if s.err == nil && s.n > 0 {
			if s.seq < run.lastSeq {
				require.Equal(run.t, run.lastAt, s.at, "served after one who came later")
			}
			run.lastSeq, run.lastAt = max(run.lastSeq, s.seq), s.at
			run.admitted(s.n, s.at)
		}
	}
	run.served = nil
	run.exact.advance(time.Now())
}

func (run *limiterRun) take(n int) (wait time.Duration) {
	wait, ok := run.lim.Take(n)
	switch {
	case n < 0 || run.exact.level != nil && n > run.exact.limit.Burst:
		require.False(run.t, ok)
		require.Negative(run.t, wait)
	case n == 0 || run.exact.level == nil:
		require.True(run.t, ok)
	case ok:
		require.Empty(run.t, run.waiting, "Take overtook someone in Wait")
		run.admitted(n, time.Now())
	case len(run.waiting) == 0:
		require.False(run.t, run.exact.holds(n, -run.late-run.rounding, 0),
			"%d refused when an exact bucket holds %s of %+v", n, run.exact.level, run.exact.limit)
		require.Equal(run.t, run.exact.limit.Rate == 0, wait < 0, "wait %v", wait)
	}
	if ok {
		require.Zero(run.t, wait)
	} else {
		require.NotZero(run.t, wait)
	}
	return wait
}

func (run *limiterRun) wait(n int, timeout time.Duration) {
	seq := run.seq
	run.seq++
	ctx, cancel := context.WithCancel(context.Background())
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), timeout)
	}
	run.waiting[seq] = &waiting{n: n, cancel: cancel}
	limit := run.exact.limit
	go func() {
		defer cancel()
		err := run.lim.Wait(ctx, n)
		var refused *guard.RefusedError
		if errors.As(err, &refused) {
			assert.ErrorIs(run.t, err, guard.ErrLimited)
			if errors.Is(err, context.DeadlineExceeded) {
				assert.True(run.t, refused.RetryAfter() < 0 || refused.RetryAfter() >= timeout)
			} else {
				assert.Negative(run.t, refused.RetryAfter())
				assert.True(run.t, n < 0 || n > min(limit.Burst, run.lim.Limit().Burst))
			}
		}
		run.mu.Lock()
		defer run.mu.Unlock()
		run.served = append(run.served, served{seq, n, time.Now(), err})
	}()
	run.settle()
}

func (run *limiterRun) step(s *script) {
	limit := run.exact.limit
	amount := func() int {
		return []int{1, 1, 1, 1, 2, 3, limit.Burst, limit.Burst + 1, 0, -1}[s.next(10)]
	}
	switch s.next(9) {
	case 0:
		run.take(amount())
	case 1: // a burst of single tokens, most of which take no lock
		for range s.next(200) {
			run.take(1)
		}
	case 2:
		time.Sleep(somePauses[s.next(len(somePauses))])
		run.settle()
	case 3:
		n := int(min(run.taken, int64(1+s.next(4))))
		run.exact.advance(time.Now())
		run.exact.add(n)
		run.taken -= int64(n)
		run.lim.Return(n)
		run.settle()
	case 4:
		l := someLimits[s.next(len(someLimits))]
		run.exact.advance(time.Now())
		run.exact.set(l)
		run.late, run.rounding = max(run.late, late(l)), max(run.rounding, rounding(l))
		require.NoError(run.t, run.lim.SetLimit(l))
		run.settle()
	case 5:
		run.wait(amount(), []time.Duration{0, 1, time.Millisecond, time.Second}[s.next(4)])
	case 6:
		for _, w := range run.waiting {
			w.cancel()
			break
		}
		run.settle()
	case 7: // whoever waits as long as he is told is admitted
		n := max(1, min(amount(), limit.Burst))
		if len(run.waiting) > 0 {
			return
		}
		if wait, ok := run.lim.Take(n); !ok && wait > 0 && wait < math.MaxInt64/4 {
			time.Sleep(wait)
			_, ok = run.lim.Take(n)
			require.True(run.t, ok, "%d refused after the wait of %v for %+v", n, wait, limit)
			run.admitted(n, time.Now())
		} else if ok {
			run.admitted(n, time.Now())
		}
	case 8:
		tokens := run.lim.Tokens()
		if run.exact.level == nil {
			require.Equal(run.t, math.Inf(1), tokens)
			return
		}
		exact, _ := run.exact.level.Float64()
		require.LessOrEqual(run.t, tokens, max(exact, 0)+run.rounding)
		require.GreaterOrEqual(run.t, tokens, exact-run.late-run.rounding)
	}
}

func runLimiter(t *testing.T, s script) {
	synctest.Test(t, func(t *testing.T) {
		limit := someLimits[s.next(len(someLimits))]
		lim, err := guard.NewLimiter(limit)
		require.NoError(t, err)
		run := &limiterRun{t: t, lim: lim, exact: newExactBucket(limit), late: late(limit), rounding: rounding(limit), waiting: map[int]*waiting{}}
		for len(s) > 0 && !t.Failed() {
			run.step(&s)
		}
		for _, w := range run.waiting {
			w.cancel()
		}
		run.settle()
		require.Empty(t, run.waiting)
	})
}

// Guarantee 1: any interleaving of Take, Wait, Return, SetLimit and time, held
// against an exact bucket.
func FuzzGuarantee1Bound(f *testing.F) {
	f.Add([]byte{4, 1, 199, 2, 3, 1, 199})
	f.Add([]byte{5, 1, 150, 2, 2, 1, 150, 2, 4, 1, 199, 7, 1})
	f.Add([]byte{0, 5, 6, 0, 5, 0, 0, 5, 1, 3, 2, 7, 6, 3, 2, 4, 1, 2, 8})
	f.Add([]byte{9, 0, 0, 4, 0, 1, 90, 4, 9, 4, 4, 1, 199})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 300 {
			t.Skip("long scripts find nothing more, slowly")
		}
		runLimiter(t, data)
	})
}

func TestGuarantee1BoundProperty(t *testing.T) {
	for seed := range 400 {
		s := make(script, 200)
		x := uint32(seed)*2654435761 + 1
		for i := range s {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			s[i] = byte(x >> 8)
		}
		runLimiter(t, s)
	}
}
