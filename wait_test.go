package guard_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// waits calls Wait in a goroutine, and returns a function that tells its result
// and when it came, once it has.
func waits(ctx context.Context, l *guard.Limiter, n int) (result func() (time.Time, error, bool)) {
	type end struct {
		at  time.Time
		err error
	}
	done := make(chan end, 1)
	go func() {
		err := l.Wait(ctx, n)
		done <- end{time.Now(), err}
	}()
	synctest.Wait()
	return func() (time.Time, error, bool) {
		synctest.Wait()
		select {
		case e := <-done:
			return e.at, e.err, true
		default:
			return time.Time{}, nil, false
		}
	}
}

func TestWaitWouldPassTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1, 2)
		requireTaken(t, lim, 2)
		start := time.Now()
		for _, timeout := range []time.Duration{1, time.Second, 2 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			err := lim.Wait(ctx, 2)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, guard.ErrLimited)
			var refused *guard.RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, 2*time.Second, refused.RetryAfter())
		}
		assert.Equal(t, start, time.Now(), "at once")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+1)
		defer cancel()
		require.NoError(t, lim.Wait(ctx, 2))
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestWaitOfOddAmounts(t *testing.T) {
	lim := newLimiter(t, 1, 2)
	for _, n := range []int{3, math.MaxInt, -1, math.MinInt} {
		err := lim.Wait(context.Background(), n)
		require.ErrorIs(t, err, guard.ErrLimited, n)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		var refused *guard.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Negative(t, refused.RetryAfter())
	}
	assert.InDelta(t, 2, lim.Tokens(), 0.01)
	requireTaken(t, lim, 2)
	require.NoError(t, lim.Wait(context.Background(), 0))
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("why"))
	require.ErrorIs(t, lim.Wait(cancelled, 1), context.Canceled)
	require.ErrorIs(t, lim.Wait(cancelled, 0), context.Canceled)
	unlimited, err := guard.NewLimiter(guard.Unlimited())
	require.NoError(t, err)
	require.NoError(t, unlimited.Wait(context.Background(), math.MaxInt))
	require.ErrorIs(t, unlimited.Wait(context.Background(), -1), guard.ErrLimited)
}

// Who leaves does not keep those behind him waiting.
func TestWaitersMoveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1, 5)
		requireTaken(t, lim, 5)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		for range 5 {
			waits(ctx, lim, 5)
		}
		last := waits(t.Context(), lim, 1)
		requireRefused(t, lim, 1, 27*time.Second)
		cancel()
		synctest.Wait()
		requireRefused(t, lim, 1, 2*time.Second)
		time.Sleep(time.Second)
		at, err, done := last()
		require.True(t, done)
		require.NoError(t, err)
		assert.Equal(t, time.Second, at.Sub(start))
		time.Sleep(time.Second)
		requireTaken(t, lim, 1)
	})
}

func TestReturnServesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 0, 3)
		requireTaken(t, lim, 3)
		first, second := waits(t.Context(), lim, 2), waits(t.Context(), lim, 1)
		time.Sleep(time.Hour)
		lim.Return(1)
		_, _, done := first()
		require.False(t, done)
		_, _, done = second()
		require.False(t, done, "one token is there, but who came first waits for two")
		lim.Return(2)
		_, err, done := first()
		require.True(t, done)
		require.NoError(t, err)
		_, err, done = second()
		require.True(t, done)
		require.NoError(t, err)
	})
}

func TestSetLimitDismissesWhoAsksForTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 0.001, 10)
		requireTaken(t, lim, 10)
		large, small := waits(t.Context(), lim, 8), waits(t.Context(), lim, 2)
		require.NoError(t, lim.SetLimit(guard.Limit{Rate: 1, Burst: 5}))
		_, err, done := large()
		require.True(t, done)
		require.ErrorIs(t, err, guard.ErrLimited)
		time.Sleep(2 * time.Second)
		_, err, done = small()
		require.True(t, done)
		require.NoError(t, err)
		third := waits(t.Context(), lim, 5)
		require.NoError(t, lim.SetLimit(guard.Unlimited()))
		_, err, done = third()
		require.True(t, done)
		require.NoError(t, err)
	})
}

// The rate is met by callers who all wait.
func TestWaitPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, rate.Every(10*time.Millisecond), 1)
		start := time.Now()
		for i := range 100 {
			require.NoError(t, lim.Wait(t.Context(), 1))
			require.Equal(t, time.Duration(i)*10*time.Millisecond, time.Since(start))
		}
	})
}

// Who is served at the very moment he leaves gives back what he got.
func TestLeavingGivesBackWhatCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 200 {
			lim := newLimiter(t, 0, 1)
			requireTaken(t, lim, 1)
			ctx, cancel := context.WithCancel(t.Context())
			result := waits(ctx, lim, 1)
			if i%2 == 0 { // the waiter has not run yet when the second comes
				cancel()
				lim.Return(1)
			} else {
				lim.Return(1)
				cancel()
			}
			_, err, done := result()
			require.True(t, done)
			if err == nil {
				require.Zero(t, lim.Tokens())
			} else {
				require.ErrorIs(t, err, context.Canceled)
				require.EqualValues(t, 1, lim.Tokens())
			}
		}
	})
}

// A Take beside many who wait does not walk their queue.
func TestManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 1, 10)
		requireTaken(t, lim, 10)
		ctx, cancel := context.WithCancel(t.Context())
		for range 2000 {
			go func() { _ = lim.Wait(ctx, 3) }()
		}
		synctest.Wait()
		for range 2000 {
			requireRefused(t, lim, 1, 6001*time.Second)
		}
		cancel()
		synctest.Wait()
		requireRefused(t, lim, 1, time.Second)
	})
}
