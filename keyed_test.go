package guard_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
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

func newKeyed[K comparable](tb testing.TB, l guard.Limit, maxKeys int) *guard.Keyed[K] {
	tb.Helper()
	k, err := guard.NewKeyed[K](l, maxKeys)
	require.NoError(tb, err)
	return k
}

func drain[K comparable](t *testing.T, k *guard.Keyed[K], key K, n int) {
	t.Helper()
	for range n {
		_, ok := k.Take(key, 1)
		require.True(t, ok, "key %v", key)
	}
	_, ok := k.Take(key, 1)
	require.False(t, ok, "key %v", key)
}

// Guarantee 8: a key is forgotten only when its bucket is full again.
func TestGuarantee8ForgetsOnlyFullBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed[string](t, guard.Limit{Rate: 1, Burst: 5}, 2)
		drain(t, k, "a", 5)
		time.Sleep(2 * time.Second)
		drain(t, k, "b", 5)
		require.Equal(t, 2, k.Len())

		// "a" is back at 2, "b" at 0: neither can be forgotten.
		drain(t, k, "c", 5)
		_, ok := k.Take("d", 1)
		assert.False(t, ok, "rotating keys draw from one overflow bucket")
		drain(t, k, "a", 2)
		_, ok = k.Take("b", 1)
		assert.False(t, ok)

		time.Sleep(5 * time.Second)
		for _, key := range []string{"e", "f"} {
			drain(t, k, key, 5)
		}
		require.Equal(t, 2, k.Len())
	})
}

// Guarantee 8: whoever drew from overflow gains nothing when he gets a bucket.
func TestGuarantee8OverflowIsNoSecondBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed[string](t, guard.Limit{Rate: 1, Burst: 5}, 1)
		k.Take("a", 1)
		drain(t, k, "b", 5)
		time.Sleep(time.Second) // "a" is full, and can be forgotten
		drain(t, k, "b", 1)
		require.Equal(t, 1, k.Len())
	})
}

// Guarantee 8: inventing keys buys no more than the table and the overflow
// buckets hold, and does not lock all new keys into one bucket.
func TestGuarantee8RotatingKeys(t *testing.T) {
	const maxKeys, burst = 6400, 3
	k := newKeyed[int](t, guard.Limit{Rate: 0, Burst: burst}, maxKeys)
	for key := range maxKeys {
		_, ok := k.Take(key, 1)
		require.True(t, ok)
	}
	var admitted int
	for key := range 100_000 {
		if _, ok := k.Take(maxKeys+key, 1); ok {
			admitted++
		}
	}
	assert.Equal(t, maxKeys/64*burst, admitted, "each overflow bucket once")
	assert.Equal(t, maxKeys, k.Len())
	for key := range maxKeys {
		_, ok := k.Take(key, burst-1)
		require.True(t, ok, "nobody else's bucket is touched")
	}
}

// Guarantee 8 under contention: without refill, all keys together get what all
// buckets hold, to the token.
func TestGuarantee8UnderContention(t *testing.T) {
	const maxKeys, burst = 130, 10
	k := newKeyed[string](t, guard.Limit{Rate: 0, Burst: burst}, maxKeys)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range 20_000 {
				key := strconv.Itoa(r.IntN(3000))
				n := 1 + r.IntN(3)
				if _, ok := k.Take(key, n); ok {
					if r.IntN(10) == 0 {
						k.Return(key, n)
						continue
					}
					admitted.Add(int64(n))
				}
				assert.LessOrEqual(t, k.Len(), maxKeys)
			}
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, admitted.Load(), int64((maxKeys+maxKeys/64)*burst))
	assert.Greater(t, admitted.Load(), int64(maxKeys*burst*9/10))
}

// Guarantee 8: 10 million distinct keys stay within the cap.
func TestGuarantee8BoundedMemory(t *testing.T) {
	keys, maxKeys := 10_000_000, 50_000
	if testing.Short() {
		keys = 500_000
	}
	k := newKeyed[string](t, guard.Limit{Rate: 1e6, Burst: 2}, maxKeys)
	before := heap()
	for i := range keys {
		k.Take(strconv.Itoa(i)+"-some-longer-key", 1+i%2)
	}
	assert.LessOrEqual(t, k.Len(), maxKeys)
	perKey := float64(int64(heap())-int64(before)) / float64(maxKeys)
	t.Logf("%d distinct keys, %d kept, %.0f bytes per key kept", keys, k.Len(), perKey)
	assert.Less(t, perKey, 400.0)
	runtime.KeepAlive(k)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Guarantee 7: a new limit reaches every key at once, and takes no tokens.
func TestGuarantee7SetLimitReachesEveryKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed[int](t, guard.Limit{Rate: 1, Burst: 10}, 1000)
		for key := range 500 {
			_, ok := k.Take(key, key%10+1)
			require.True(t, ok)
		}
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, k.SetLimit(guard.Limit{Rate: 100, Burst: 4}))
		time.Sleep(5 * time.Millisecond)
		for key := range 500 {
			left := min(4, 9-key%10+1) // half a token at the old rate, half a token at the new
			if key%10+1 == 10 {
				left = 1
			}
			drain(t, k, key, left)
		}
		require.NoError(t, k.SetLimit(guard.Limit{Rate: 1, Burst: 50}))
		assert.Equal(t, guard.Limit{Rate: 1, Burst: 50}, k.Limit())
		_, ok := k.Take(900, 5)
		assert.False(t, ok, "a bucket that nobody drew from held 4")
		drain(t, k, 900, 4)
	})
}

func TestKeyedTakeOfOddAmounts(t *testing.T) {
	k := newKeyed[string](t, guard.Limit{Rate: 1, Burst: 2}, 4)
	for _, n := range []int{3, math.MaxInt, -1, math.MinInt} {
		wait, ok := k.Take("a", n)
		assert.False(t, ok, n)
		assert.Negative(t, wait, n)
	}
	_, ok := k.Take("a", 0)
	assert.True(t, ok)
	k.Return("a", -5)
	k.Return("nobody", 5)
	assert.Zero(t, k.Len(), "refused and empty calls keep nothing")

	require.NoError(t, k.SetLimit(guard.Unlimited()))
	_, ok = k.Take("a", math.MaxInt)
	assert.True(t, ok)
	_, ok = k.Take("a", -1)
	assert.False(t, ok)
	assert.Zero(t, k.Len(), "no limit needs no table")
}

func TestKeyedArguments(t *testing.T) {
	_, err := guard.NewKeyed[string](guard.Limit{Rate: 1}, -1)
	require.ErrorContains(t, err, "maxKeys is -1")
	k := newKeyed[int](t, guard.Limit{Rate: 0, Burst: 1}, 0)
	for i := range guard.DefaultMaxKeys + 10 {
		k.Take(i, 1)
	}
	assert.Equal(t, guard.DefaultMaxKeys, k.Len())
}

// A key that is not equal to itself can never be found again.
func TestKeyedOfNaN(t *testing.T) {
	k := newKeyed[float64](t, guard.Limit{Rate: 0, Burst: 2}, 100)
	var admitted int
	for range 1000 {
		if _, ok := k.Take(math.NaN(), 1); ok {
			admitted++
		}
	}
	assert.Equal(t, 2, admitted)
	assert.Zero(t, k.Len())
}

func TestKeyedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, r := range []rate.Limit{1, 10, 0.3, rate.Every(3 * time.Second), rate.Every(7 * time.Millisecond), 1e5} {
			k := newKeyed[string](t, guard.Limit{Rate: r, Burst: 2}, 10)
			drain(t, k, "a", 2)
			for range 50 {
				wait, ok := k.Take("a", 1)
				require.False(t, ok)
				require.InDelta(t, 1e9/float64(r), float64(wait), 2)
				time.Sleep(wait - 2) // rounding may make the wait 1 ns longer than it need be
				_, ok = k.Take("a", 1)
				require.False(t, ok, "%v", r)
				time.Sleep(2 * time.Nanosecond)
				_, ok = k.Take("a", 1)
				require.True(t, ok, "%v", r)
			}
		}
	})
}

// Ten years of uptime cost no precision.
func TestKeyedAfterYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed[string](t, guard.Limit{Rate: 1e6, Burst: 1}, 10)
		for range 10 {
			time.Sleep(365 * 24 * time.Hour)
			drain(t, k, "a", 1)
			time.Sleep(time.Microsecond - 1)
			_, ok := k.Take("a", 1)
			require.False(t, ok)
			time.Sleep(time.Nanosecond)
			drain(t, k, "a", 1)
		}
	})
}

func TestGuarantee11KeyedAllocatesNothing(t *testing.T) {
	k := newKeyed[string](t, guard.Limit{Rate: 1e6, Burst: 1 << 30}, 10)
	k.Take("a", 1)
	empty := newKeyed[string](t, guard.Limit{Rate: 0, Burst: 1}, 10)
	empty.Take("a", 1)
	for name, f := range map[string]func(){
		"admit":  func() { k.Take("a", 1) },
		"refuse": func() { empty.Take("a", 1) },
		"return": func() { k.Return("a", 1) },
	} {
		assert.Zero(t, testing.AllocsPerRun(1000, f), name)
	}
}

// Guarantee 8: what was drawn from an overflow bucket is held against a key only
// until that bucket is full again.
func TestGuarantee8OverflowForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyed[int](t, guard.Limit{Rate: 1, Burst: 5}, 1)
		full := 0
		for key := range 20 {
			k.Take(-1, 1)
			drain(t, k, key, 5) // from overflow
			time.Sleep(5 * time.Second)
			k.Take(-1, 1)
			drain(t, k, 1000+key, 5) // from overflow, which is full again before
			time.Sleep(time.Second)  // the table has room again
			for {
				if _, ok := k.Take(key, 1); !ok {
					break
				}
				full++
			}
			time.Sleep(10 * time.Second)
		}
		// Each of the two keys has one of 64 bits, so they may share it now and then.
		require.GreaterOrEqual(t, full, 5*17)
	})
}

// Guarantee 8: racing calls for one new key get one bucket.
func TestGuarantee8OneBucketForOneKey(t *testing.T) {
	trials := 20_000
	if testing.Short() {
		trials = 1000
	}
	for range trials {
		k := newKeyed[int](t, guard.Limit{Rate: 0, Burst: 1}, 1)
		k.Take(1, 1)
		var admitted atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() { k.Return(1, 1) })
		for range 3 {
			wg.Go(func() {
				if _, ok := k.Take(2, 1); ok {
					admitted.Add(1)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, admitted.Load(), int64(1))
	}
}

func TestMaxKeysIsBounded(t *testing.T) {
	for _, n := range []int{-1, 1<<26 + 1, math.MaxInt} {
		_, err := guard.NewKeyed[int](guard.Limit{Rate: 1}, n)
		require.ErrorContains(t, err, strconv.Itoa(n))
		_, err = guard.New(guard.Config{Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 1}, MaxKeys: n}}})
		require.ErrorContains(t, err, "Clients[0].MaxKeys is "+strconv.Itoa(n))
	}
}

// Guarantee 7: after any rate, however large, a lower one is what counts.
func TestGuarantee7AfterHugeRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, high := range []rate.Limit{1e9, 1e12, 1e18, 1e20, 9e24, 1e25, 1e28, 1e40, 1e100, 1e300, rate.Inf} {
			k := newKeyed[string](t, guard.Limit{Rate: high, Burst: 5}, 10)
			time.Sleep(10 * 365 * 24 * time.Hour)
			for range 3600 {
				k.Take("a", 5)
				k.Take("a", 1)
				time.Sleep(time.Second)
			}
			require.NoError(t, k.SetLimit(guard.Limit{Rate: 1, Burst: 5}))
			drain(t, k, "a", 5)
			drain(t, k, "b", 5)
			for range 100 {
				time.Sleep(time.Second)
				drain(t, k, "a", 1)
			}
		}
	})
}

// A million clients fit into less than with a rate.Limiter for each.
// The table doubles: it takes most per key just after it has.
func TestKeyedTakesLessMemoryThanALimiterForEach(t *testing.T) {
	for _, keys := range []int{200_000, 240_000} {
		names := make([]string, keys)
		for i := range names {
			names[i] = strconv.Itoa(i * 7919)
		}
		each := float64(keys)
		before := heap()
		var bare sync.Map
		for _, name := range names {
			bare.Store(name, rate.NewLimiter(1, 10))
		}
		baseline := float64(heap()-before) / each
		before = heap()
		k := newKeyed[string](t, guard.Limit{Rate: 1, Burst: 10}, keys)
		for _, name := range names {
			k.Take(name, 1)
		}
		ours := float64(heap()-before) / each
		t.Logf("%.0f bytes per key of %d, against %.0f with sync.Map and rate.Limiter: %.2f", ours, keys, baseline, ours/baseline)
		assert.Less(t, ours, 0.8*baseline)
		runtime.KeepAlive(k)
		runtime.KeepAlive(&bare)
	}
}
