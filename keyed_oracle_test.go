package guard_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// runKeyed drives a Keyed and an exact bucket for each key through the same
// life. No key may ever have more than its bucket; with room for all, none may
// have less.
func runKeyed(t *testing.T, s script) {
	synctest.Test(t, func(t *testing.T) {
		limit := someLimits[s.next(len(someLimits))]
		maxKeys := []int{1, 2, 3, 200}[s.next(4)]
		const keys = 7
		keyed := newKeyed[int](t, limit, maxKeys)
		var exact [keys]*exactBucket
		var taken [keys]int
		for i := range exact {
			exact[i] = newExactBucket(limit)
		}
		slack := rounding(limit)
		debt := 0.0 // what was admitted a nanosecond early is owed at the next rate
		for len(s) > 0 {
			key := s.next(keys)
			b := exact[key]
			b.advance(time.Now())
			n := []int{1, 1, 2, 3, limit.Burst, limit.Burst + 1, 0, -1}[s.next(8)]
			switch s.next(6) {
			case 0, 1, 2:
				wait, ok := keyed.Take(key, n)
				switch {
				case n < 0 || b.level != nil && n > limit.Burst:
					require.False(t, ok)
					require.Negative(t, wait)
				case n == 0 || b.level == nil:
					require.True(t, ok)
				case ok:
					require.True(t, b.holds(n, slack, time.Nanosecond),
						"key %d took %d when an exact bucket holds %s of %+v", key, n, b.level, limit)
					b.add(-n)
					taken[key] += n
				default:
					if maxKeys > keys {
						require.False(t, b.holds(n, -slack-debt, 0), "key %d refused %d when an exact bucket holds %s of %+v", key, n, b.level, limit)
					}
					require.Equal(t, limit.Rate == 0, wait < 0)
					require.NotZero(t, wait)
					if wait > 0 && wait < math.MaxInt64/4 && s.next(2) == 0 {
						time.Sleep(wait)
						_, ok := keyed.Take(key, n)
						require.True(t, ok, "key %d: %d refused after the wait of %v for %+v", key, n, wait, limit)
						b.advance(time.Now())
						require.True(t, b.holds(n, slack, time.Nanosecond))
						b.add(-n)
						taken[key] += n
					}
				}
			case 3:
				time.Sleep(somePauses[s.next(len(somePauses))])
				taken = [keys]int{} // a bucket that has filled up since has no room for it
			case 4:
				n := min(taken[key], 2)
				if maxKeys > keys { // with fewer, the tokens may be another bucket's
					keyed.Return(key, n)
					b.add(n)
					taken[key] -= n
				}
			case 5:
				taken = [keys]int{}
				boundless := float64(limit.Rate) >= float64(limit.Burst)*1e9
				for _, b := range exact {
					if b.advance(time.Now()); boundless && b.level != nil {
						b.level.SetInt64(int64(limit.Burst)) // it is full within a nanosecond
					}
				}
				if !boundless {
					debt = max(debt, float64(limit.Rate)*1e-9)
				}
				limit = someLimits[s.next(len(someLimits))]
				slack = max(slack, rounding(limit))
				require.NoError(t, keyed.SetLimit(limit))
				for _, b := range exact {
					b.set(limit)
				}
			}
			require.LessOrEqual(t, keyed.Len(), maxKeys)
		}
	})
}

// Guarantees 1 and 8: any interleaving of Take, Return, SetLimit and time, held
// against an exact bucket for each key.
func FuzzGuarantee8Keyed(f *testing.F) {
	f.Add([]byte{0, 0, 1, 4, 0, 2, 4, 0, 3, 0, 3, 7, 1, 4, 0})
	f.Add([]byte{4, 3, 1, 4, 0, 1, 0, 5, 2, 1, 4, 0, 1, 0, 3, 6, 1, 4, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 400 {
			t.Skip("long scripts find nothing more, slowly")
		}
		runKeyed(t, data)
	})
}

func TestGuarantee8KeyedProperty(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := make(script, 300)
		for i := range s {
			s[i] = byte(r.Uint32())
		}
		runKeyed(t, s)
	}
}
