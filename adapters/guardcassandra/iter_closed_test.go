package guardcassandra_test

import (
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// After Close there are no more rows, whoever asks; the driver's own iterator
// panics.
func TestIterAfterClose(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	for _, read := range []int{0, 1, 10} { // of the ten rows of the first page
		it := numbers(t, dep, session)
		for range read {
			require.True(t, it.Scan(new(int)))
		}
		require.NoError(t, it.Close())
		before := server.Requests()
		require.False(t, it.Scan(new(int)))
		require.False(t, it.MapScan(map[string]any{}))
		require.False(t, it.Scanner().Next())
		rows, err := it.SliceMap()
		require.ErrorContains(t, err, "the iterator is closed")
		require.Nil(t, rows)
		require.NoError(t, it.Close())
		require.Equal(t, before, server.Requests(), "nor is the next page asked for")
	}
	require.Equal(t, guard.CallCounts{Succeeded: 3}, callsOf(g))
}

// Rows can be read as before up to there.
func TestIterReadsMaps(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	_, dep := depend(t, guard.DependencyConfig{})
	it := numbers(t, dep, session)
	sum := 0
	for row := map[string]any{}; it.MapScan(row); row = map[string]any{} {
		sum += row["n"].(int)
	}
	require.Equal(t, 24*25/2, sum)
	require.NoError(t, it.Close())
}

// What a batch of conditional statements leaves to be read is in memory.
func TestExecCASLeavesAnIterator(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	_, dep := depend(t, guard.DependencyConfig{})
	batch := session.Batch(gocql.LoggedBatch).Query(insertNew, "7", "name")
	applied, rest, err := guardcassandra.ExecCAS(t.Context(), dep, batch)
	require.NoError(t, err)
	require.True(t, applied)
	require.NotNil(t, rest, "there is an iterator even if there are no more rows")
	require.False(t, rest.Scan(new(bool)))
	require.NoError(t, rest.Close())
}
