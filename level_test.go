package guard

import (
	"math"
	"math/big"
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
		total += len(s.slots)
		require.Len(t, s.index, len(s.slots))
		require.Len(t, s.heap, len(s.slots))
		for key, i := range s.index {
			require.Equal(t, key, s.slots[i].key)
		}
		for at, e := range s.heap {
			require.Equal(t, int32(at), s.slots[e.slot].entry)
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

func TestKeyedKeepsNoLargerString(t *testing.T) {
	k, err := NewKeyed[string](Limit{Rate: 1}, 10)
	require.NoError(t, err)
	large := string(make([]byte, 1<<20)) + "key"
	key := large[1<<20:]
	k.Take(key, 1)
	for i := range k.shards {
		for kept := range k.shards[i].index {
			assert.Equal(t, key, kept)
			assert.False(t, sameMemory(kept, key))
			assert.True(t, sameMemory(kept, k.shards[i].slots[0].key))
		}
	}
}

func sameMemory(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }
