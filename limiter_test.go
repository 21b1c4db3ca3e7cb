package guard_test

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// Guarantee 1 in real time, where goroutines race. The bare rate.Limiter, which
// reads its clock before it locks, admits more than is legal here.
func TestGuarantee1BoundUnderContention(t *testing.T) {
	period := 2 * time.Second
	if testing.Short() {
		period = 200 * time.Millisecond
	}
	limit := guard.Limit{Rate: 100_000, Burst: 100}
	lim := newLimiter(t, limit.Rate, limit.Burst)
	bare := rate.NewLimiter(limit.Rate, limit.Burst)
	legal, admitted := flood(period, limit, func() bool { _, ok := lim.Take(1); return ok })
	legalBare, admittedBare := flood(period, limit, bare.Allow)
	t.Logf("guard.Limiter admitted %d of %.0f legal; rate.Limiter %d of %.0f", admitted, legal, admittedBare, legalBare)
	assert.LessOrEqual(t, float64(admitted), legal)
	assert.Greater(t, float64(admitted), float64(limit.Burst))
}

// flood asks for tokens in 1,000 goroutines, and returns how many could legally
// be admitted, and how many were.
func flood(period time.Duration, l guard.Limit, take func() bool) (legal float64, admitted int64) {
	var n atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	start := time.Now()
	for range 1000 {
		wg.Go(func() {
			for !stop.Load() {
				if take() {
					n.Add(1)
				}
			}
		})
	}
	timer := time.NewTimer(period)
	<-timer.C
	stop.Store(true)
	wg.Wait()
	return float64(l.Burst) + float64(l.Rate)*(time.Since(start)+1).Seconds(), n.Load()
}

func TestLimiterIsExactWhenTokensComeOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 10, 3)
		for range 3 {
			requireTaken(t, lim, 1)
		}
		for range 5 {
			requireRefused(t, lim, 1, 100*time.Millisecond)
			time.Sleep(100*time.Millisecond - 1)
			requireRefused(t, lim, 1, 1)
			time.Sleep(time.Nanosecond)
			requireTaken(t, lim, 1)
		}
		time.Sleep(time.Hour)
		assert.Equal(t, 3.0, lim.Tokens())
		requireTaken(t, lim, 3)
		requireRefused(t, lim, 3, 300*time.Millisecond)
	})
}

func TestLimiterEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, rate.Every(3*time.Second), 1)
		for range 100 {
			requireTaken(t, lim, 1)
			requireRefused(t, lim, 1, 3*time.Second)
			time.Sleep(3 * time.Second)
		}
	})
}

// Guarantee 2: refused calls do not push the next token back.
func TestGuarantee2RefusingTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1, 2)
		requireTaken(t, lim, 2)
		for range 1000 {
			lim.Take(1)
			lim.Take(2)
			lim.Take(3)
			lim.Take(-1)
		}
		time.Sleep(time.Second)
		requireTaken(t, lim, 1)
	})
}

func TestTakeOfOddAmounts(t *testing.T) {
	lim := newLimiter(t, 5, 2)
	for _, n := range []int{3, math.MaxInt, -1, math.MinInt} {
		wait, ok := lim.Take(n)
		assert.False(t, ok, n)
		assert.Negative(t, wait, n)
	}
	requireTaken(t, lim, 2)
	requireTaken(t, lim, 0)

	unlimited, err := guard.NewLimiter(guard.Unlimited())
	require.NoError(t, err)
	requireTaken(t, unlimited, math.MaxInt)
	_, ok := unlimited.Take(-1)
	assert.False(t, ok)
}

func TestLimiterExtremes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			limit guard.Limit
			wait  time.Duration // for one token, when empty
		}{
			{guard.Limit{Rate: 1e-300, Burst: 1}, math.MaxInt64},
			{guard.Limit{Rate: rate.Limit(math.SmallestNonzeroFloat64), Burst: 1}, math.MaxInt64},
			// Here rate.Limiter's own reckoning overflows, and it admits.
			{guard.Limit{Rate: rate.Every(math.MaxInt64), Burst: 1}, math.MaxInt64},
			{guard.Limit{Rate: 0, Burst: 1}, -1},
			{guard.Limit{Rate: 1e-9, Burst: 1}, 1e18},
		} {
			lim := newLimiter(t, test.limit.Rate, test.limit.Burst)
			requireTaken(t, lim, 1)
			for range 3 {
				wait, ok := lim.Take(1)
				assert.False(t, ok, "%+v", test.limit)
				assert.InEpsilon(t, float64(test.wait), float64(wait), 1e-9, "%+v", test.limit)
			}
		}
		lim := newLimiter(t, 1e300, 5)
		for range 100 {
			requireTaken(t, lim, 5)
		}
		lim = newLimiter(t, 1, math.MaxInt)
		requireTaken(t, lim, math.MaxInt)
		wait, ok := lim.Take(math.MaxInt)
		assert.False(t, ok)
		assert.Positive(t, wait)
		lim.Return(math.MaxInt)
		lim.Return(math.MaxInt)
		requireTaken(t, lim, math.MaxInt)
	})
}

func TestLimitErrorsNameFieldAndValue(t *testing.T) {
	for _, test := range []struct {
		limit guard.Limit
		want  []string
	}{
		{guard.Limit{}, []string{"Limit", "Rate: 0"}},
		{guard.Limit{Rate: -1, Burst: 1}, []string{"Limit.Rate", "-1"}},
		{guard.Limit{Rate: rate.Limit(math.Inf(-1)), Burst: 1}, []string{"Limit.Rate", "-Inf"}},
		{guard.Limit{Rate: rate.Limit(math.NaN()), Burst: 1}, []string{"Limit.Rate", "NaN"}},
		{guard.Limit{Rate: 1, Burst: -7}, []string{"Limit.Burst", "-7"}},
		{guard.Limit{Rate: rate.Inf, Burst: -7}, []string{"Limit.Burst", "-7"}},
	} {
		lim, err := guard.NewLimiter(test.limit)
		assert.Nil(t, lim)
		keyed, err2 := guard.NewKeyed[string](test.limit, 10)
		assert.Nil(t, keyed)
		tuned := newLimiter(t, 1, 2)
		many, err4 := guard.NewKeyed[int](guard.Limit{Rate: 1, Burst: 2}, 10)
		require.NoError(t, err4)
		for _, err := range []error{err, err2, tuned.SetLimit(test.limit), many.SetLimit(test.limit)} {
			require.Error(t, err)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		}
		assert.Equal(t, guard.Limit{Rate: 1, Burst: 2}, tuned.Limit(), "nothing changed")
		assert.Equal(t, guard.Limit{Rate: 1, Burst: 2}, many.Limit(), "nothing changed")
	}
}

func TestBurstOfZeroIsOneSecondsWorth(t *testing.T) {
	for r, burst := range map[rate.Limit]int{0.1: 1, 1: 1, 1.9: 1, 2: 2, 100.5: 100, 1e300: math.MaxInt} {
		assert.Equal(t, burst, newLimiter(t, r, 0).Limit().Burst, r)
	}
	for _, r := range []rate.Limit{rate.Inf, rate.Limit(math.Inf(1))} {
		assert.Equal(t, rate.Inf, newLimiter(t, r, 0).Limit().Rate)
	}
}

// Guarantee 7: a change of the limit keeps the tokens.
func TestGuarantee7SetLimitKeepsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1, 10)
		requireTaken(t, lim, 6)
		set := func(r rate.Limit, burst int) {
			require.NoError(t, lim.SetLimit(guard.Limit{Rate: r, Burst: burst}))
		}
		set(1, 20)
		assert.Equal(t, 4.0, lim.Tokens(), "more room is no gift")
		set(1, 3)
		assert.Equal(t, 3.0, lim.Tokens())
		set(100, 20)
		assert.Equal(t, 3.0, lim.Tokens())
		time.Sleep(50 * time.Millisecond)
		assert.Equal(t, 8.0, lim.Tokens(), "time before the change counts at the old rate, after it at the new")
		require.NoError(t, lim.SetLimit(guard.Unlimited()))
		assert.Equal(t, math.Inf(1), lim.Tokens())
		set(1, 5)
		assert.Equal(t, 5.0, lim.Tokens(), "full after no limit")
	})
}

func TestSetLimitLetsInWhoWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1e-9, 1)
		requireTaken(t, lim, 1)
		_, ok := lim.Take(1)
		require.False(t, ok)
		require.NoError(t, lim.SetLimit(guard.Limit{Rate: 1000, Burst: 1}))
		requireRefused(t, lim, 1, time.Millisecond)
		lim.Return(1)
		requireTaken(t, lim, 1)
	})
}

// rate.Limiter takes a negative n as a gift, which is how a block goes back.
func TestRateLimiterTakesTokensBack(t *testing.T) {
	bare := rate.NewLimiter(1, 10)
	now := time.Now()
	require.True(t, bare.AllowN(now, 10))
	require.True(t, bare.AllowN(now, -4))
	assert.Equal(t, 4.0, bare.TokensAt(now))
	require.True(t, bare.AllowN(now, -100))
	assert.Equal(t, 10.0, bare.TokensAt(now))
}

// Guarantee 11: a decision allocates nothing.
func TestGuarantee11LimiterAllocatesNothing(t *testing.T) {
	admits, refuses := newLimiter(t, 1e9, 1<<30), newLimiter(t, 0, 1)
	refuses.Take(1)
	for name, f := range map[string]func(){
		"admit":     func() { admits.Take(1) },
		"admit two": func() { admits.Take(2) },
		"refuse":    func() { refuses.Take(1) },
		"return":    func() { admits.Return(1) },
		"wait":      func() { _ = admits.Wait(context.Background(), 1) },
	} {
		assert.Zero(t, testing.AllocsPerRun(1000, f), name)
	}
}

func requireTaken(t *testing.T, l *guard.Limiter, n int) {
	t.Helper()
	wait, ok := l.Take(n)
	require.True(t, ok, "refused for %v", wait)
	require.Zero(t, wait)
}

func requireRefused(t *testing.T, l *guard.Limiter, n int, want time.Duration) {
	t.Helper()
	wait, ok := l.Take(n)
	require.False(t, ok)
	require.Equal(t, want, wait)
}

// A refusal reckons with what was taken since the last one, be it a nanosecond
// early.
func TestRefusalKnowsWhatWasTakenSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1e6, 10)
		requireTaken(t, lim, 10)
		requireRefused(t, lim, 1, time.Microsecond)
		time.Sleep(999 * time.Nanosecond)
		require.NoError(t, lim.Wait(t.Context(), 1)) // less than 1 ns is nothing
		wait, ok := lim.Take(1)
		require.False(t, ok)
		require.GreaterOrEqual(t, wait, time.Microsecond)
	})
}
