package guard

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A gate refuses nobody while there is room, however fast others come and go;
// and never lets in more than it may.
func TestGate(t *testing.T) {
	const workers, each = 4, 200_000
	for _, most := range []int{1, 2, workers, 1000} {
		var g gate
		var inside, refused, over atomic.Int64
		var work sync.WaitGroup
		for range workers {
			work.Go(func() {
				for range each {
					if !g.enter(most) {
						refused.Add(1)
						continue
					}
					if most < workers && inside.Add(1) > int64(most) {
						over.Add(1)
					}
					if most < workers {
						inside.Add(-1)
					}
					g.leave()
				}
			})
		}
		work.Wait()
		require.Zero(t, over.Load(), "at most %d", most)
		require.Zero(t, g.inside(), "at most %d", most)
		if most >= workers {
			require.Zero(t, refused.Load(), "at most %d", most)
		}
	}
}
