package guard

import (
	"hash/maphash"
	"math"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func exactly(fs ...float64) *big.Float {
	total := new(big.Float).SetPrec(4000)
	for _, f := range fs {
		total.Add(total, new(big.Float).SetPrec(4000).SetFloat64(f))
	}
	return total
}

// FuzzSum holds double-double arithmetic against exact arithmetic.
func FuzzSum(f *testing.F) {
	f.Add(1e20, 1.0, -1e20, 3.0)
	f.Add(0.1, 1e9, 1e-9, -0.1)
	f.Fuzz(func(t *testing.T, a, b, c, d float64) {
		for _, x := range []float64{a, b, c, d} {
			if math.IsNaN(x) || math.Abs(x) > 1e100 || x != 0 && math.Abs(x) < 1e-100 {
				t.Skip("not what flows into buckets")
			}
		}
		got := sum{}.plus(a).plus(b).plusProduct(c, d)
		product := new(big.Float).SetPrec(4000).Mul(exactly(c), exactly(d))
		want := new(big.Float).SetPrec(4000).Add(exactly(a, b), product)
		diff := new(big.Float).Sub(exactly(got.hi, got.lo), want)
		size, _ := exactly(math.Abs(a), math.Abs(b), math.Abs(c*d)).Float64()
		off, _ := diff.Abs(diff).Float64()
		require.LessOrEqual(t, off, size*0x1p-100)
		require.Equal(t, got.hi, got.hi+got.lo, "normalised")
	})
}

// The heap of a shard must stay what forgetting relies on.
func TestShardInvariants(t *testing.T) {
	k, err := NewKeyed[uint32](Limit{Rate: 1000, Burst: 50}, 500)
	require.NoError(t, err)
	x := uint32(1)
	for i := range 100_000 {
		x = x*1664525 + 1013904223
		key := x >> 8 % 900
		k.Take(key%900, int(x>>3)%20)
		if i%7 == 0 {
			k.Return(key%900, int(x>>5)%20)
		}
		if i%997 == 0 {
			checkShards(t, k)
		}
	}
	checkShards(t, k)
}

func checkShards[K comparable](t *testing.T, k *Keyed[K]) {
	t.Helper()
	total := 0
	for i := range k.shards {
		s := &k.shards[i]
		total += len(s.heap)
		require.LessOrEqual(t, 8*len(s.heap), 7*len(s.slots), "a search must come to an end")
		kept := 0
		for i := range s.slots {
			if it := &s.slots[i]; it.entry != 0 {
				kept++
				require.Same(t, it, s.find(maphash.Comparable(k.seed, it.key), it.key))
			}
		}
		require.Len(t, s.heap, kept)
		for at, e := range s.heap {
			require.Equal(t, int32(at)+1, s.slots[e.slot].entry)
			require.GreaterOrEqual(t, e.mark, s.slots[e.slot].mark.hi, "an entry is never below its slot")
			if at > 0 {
				require.GreaterOrEqual(t, s.heap[(at-1)/2].mark, e.mark)
			}
		}
		if len(s.heap) > 0 {
			require.Equal(t, s.heap[0].mark, math.Float64frombits(s.top.Load()))
		}
	}
	require.Equal(t, k.Len(), total)
}

// A shard is held against a map. Its tags are few and lie together, at the end of
// the table too, so that searches run into each other and around.
func TestShardProperty(t *testing.T) {
	for seed := range uint64(100) {
		r := mathrand.New(mathrand.NewPCG(seed, 1))
		var s shard[int]
		hash := func(key int) uint64 { return uint64(uint32(key%5-2)) << 32 }
		truth := map[int]float64{} // the mark of each key
		for range 300 {
			key := r.IntN(40)
			if r.IntN(5) < 3 && s.find(hash(key), key) == nil {
				truth[key] = r.Float64()
				s.insert(hash(key), key, sum{hi: truth[key]})
			} else if s.forgetOne(sum{}) {
				highest := -1
				for k, mark := range truth {
					if highest < 0 || mark > truth[highest] {
						highest = k
					}
				}
				delete(truth, highest)
			}
			require.Len(t, s.heap, len(truth))
			for key := range 40 {
				found := s.find(hash(key), key)
				mark, ok := truth[key]
				require.Equal(t, ok, found != nil, "seed %d, key %d", seed, key)
				if ok {
					require.Equal(t, mark, found.mark.hi)
				}
			}
		}
	}
}

func TestKeyedKeepsNoLargerString(t *testing.T) {
	k, err := NewKeyed[string](Limit{Rate: 1}, 10)
	require.NoError(t, err)
	large := string(make([]byte, 1<<20)) + "key"
	key := large[1<<20:]
	k.Take(key, 1)
	for i := range k.shards {
		for _, kept := range k.shards[i].slots {
			if kept.entry != 0 {
				assert.Equal(t, key, kept.key)
				assert.False(t, sameMemory(kept.key, key))
			}
		}
	}
}

func sameMemory(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }
