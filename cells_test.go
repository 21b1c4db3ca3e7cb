package guard

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each cell is used, and there is none beyond the last.
func TestCells(t *testing.T) {
	used := map[uint8]bool{}
	for n := range uintptr(1 << 16) {
		c := spread(n)
		require.Less(t, c, uint8(cells))
		used[c] = true
	}
	require.Len(t, used, cells)
	require.Less(t, cellHere(), uint8(cells))
}

// All tokens of a block can be spent from wherever one is, and no more.
func TestCellsOfABlock(t *testing.T) {
	l, err := NewLimiter(Limit{Rate: 1, Burst: 100})
	require.NoError(t, err)
	for n := range 3 * cells {
		l.deal(n)
		spent := 0
		for l.spend() {
			spent++
		}
		require.Equal(t, n, spent)
	}
	l.deal(math.MaxInt32)
	all := int64(0)
	for i := range l.left {
		all += l.left[i].n.Load()
	}
	require.EqualValues(t, math.MaxInt32, all)
}
