package guard

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each bucket begins where the one before ends, and everything has one.
func TestLatencyBucketsTile(t *testing.T) {
	for _, least := range []int64{math.MinInt64, -1, 0, 1, 1023} {
		require.Zero(t, latencyBucket(least))
	}
	for b := range latencyBuckets - 1 {
		below := int64(latencyBound(b))
		require.Equal(t, b, latencyBucket(below-1))
		require.Equal(t, b+1, latencyBucket(below))
	}
	require.Equal(t, latencyBuckets-1, latencyBucket(math.MaxInt64))
	require.Zero(t, latencyBound(latencyBuckets-1), "the last has no bound")
}
