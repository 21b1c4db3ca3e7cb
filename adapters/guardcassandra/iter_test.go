package guardcassandra_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// numbers returns an iterator over 25 rows in three pages, without prefetching.
func numbers(t *testing.T, dep *guard.Dependency, session *gocql.Session) *guardcassandra.Iter {
	t.Helper()
	it, err := guardcassandra.NewIter(t.Context(), dep, session.Query(selectNumber).PageSize(10).Prefetch(0))
	require.NoError(t, err)
	return it
}

// drain reads all rows that there are.
func drain(it *guardcassandra.Iter) {
	for more := true; more; {
		more = it.Scan(new(int))
	}
}

func TestIterIsOneCallOverAllPages(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for name, read := range map[string]func(*guardcassandra.Iter) (int, error){
		"Scan": func(it *guardcassandra.Iter) (sum int, err error) {
			for n := 0; it.Scan(&n); {
				sum += n
			}
			return sum, it.Close()
		},
		"Scanner": func(it *guardcassandra.Iter) (sum int, err error) {
			for s := it.Scanner(); s.Next(); {
				var n int
				if err := s.Scan(&n); err != nil {
					return 0, err
				}
				sum += n
			}
			return sum, it.Scanner().Err()
		},
		"Scanner, closed by Close": func(it *guardcassandra.Iter) (sum int, err error) {
			for s := it.Scanner(); s.Next(); {
				var n int
				if err := s.Scan(&n); err != nil {
					return 0, err
				}
				sum += n
			}
			return sum, it.Close()
		},
		"SliceMap": func(it *guardcassandra.Iter) (sum int, err error) {
			rows, err := it.SliceMap()
			if err != nil {
				return 0, err
			}
			for _, row := range rows {
				sum += row["n"].(int)
			}
			return sum, it.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, dep := depend(t, guard.DependencyConfig{})
			it := numbers(t, dep, session)
			require.Zero(t, callsOf(g), "it goes on")
			require.EqualValues(t, 1, g.Snapshot().Dependencies[0].InFlight)
			sum, err := read(it)
			require.NoError(t, err)
			require.Equal(t, 24*25/2, sum)
			requireCounted(t, g, succeeded)
			for range 2 {
				require.NoError(t, it.Close())
				require.NoError(t, it.Scanner().Err())
				require.False(t, it.Scanner().Next())
			}
			requireCounted(t, g, succeeded)
			require.Zero(t, g.Snapshot().Dependencies[0].InFlight)
		})
	}
}

// What a later page comes to is what the call comes to.
func TestIterFailsOnALaterPage(t *testing.T) {
	for name, read := range map[string]func(*guardcassandra.Iter) error{
		"Scan": func(it *guardcassandra.Iter) error {
			drain(it)
			return it.Close()
		},
		"Scanner": func(it *guardcassandra.Iter) error {
			s := it.Scanner()
			for s.Next() {
				if err := s.Scan(new(int)); err != nil {
					return err
				}
			}
			return s.Err()
		},
		"Scanner, closed by Close": func(it *guardcassandra.Iter) error {
			s := it.Scanner()
			for s.Next() {
				if err := s.Scan(new(int)); err != nil {
					return err
				}
			}
			return it.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			session := connect(t, clusterOf(server))
			pages := 0
			rows := cassandratest.Rows{Columns: []cassandratest.Column{{Name: "n", Type: cassandratest.Int}}}
			for n := range 25 {
				rows.Values = append(rows.Values, []any{n})
			}
			server.Handle(selectNumber, func(q *cassandratest.Request) cassandratest.Response {
				if pages++; pages == 2 {
					return &cassandratest.Error{Code: cassandratest.CodeReadTimeout, BlockFor: 2}
				}
				return rows.Page(q)
			})
			g, dep := depend(t, guard.DependencyConfig{})
			it := numbers(t, dep, session)
			err := read(it)
			require.ErrorAs(t, err, new(*gocql.RequestErrReadTimeout))
			require.ErrorAs(t, err, new(*guard.DependencyError), "a 502")
			require.Equal(t, err, it.Close(), "a second Close says the same")
			requireCounted(t, g, failed)
		})
	}
}

// The first page's error, too, is told by Close.
func TestIterFailsAtOnce(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeUnavailable}, ""))
	g, dep := depend(t, guard.DependencyConfig{})
	it := numbers(t, dep, session)
	require.False(t, it.Scan(new(int)))
	require.ErrorAs(t, it.Close(), new(*gocql.RequestErrUnavailable))
	requireCounted(t, g, failed)
}

func TestIterClosedEarly(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	it := numbers(t, dep, session)
	require.True(t, it.Scan(new(int)))
	require.NoError(t, it.Close())
	require.Equal(t, 1, server.Requests())
	requireCounted(t, g, succeeded)
}

// The Timeout is for all pages; the permit ends with it, also where the rows of
// the first page are all that is read.
func TestIterTimeout(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{Timeout: 200 * time.Millisecond})
	it := numbers(t, dep, session)
	require.True(t, it.Scan(new(int)))
	server.SetFault(cassandratest.Slow(time.Hour))
	drain(it)
	err := it.Close()
	require.ErrorIs(t, err, guard.ErrTimeout)
	require.NotErrorIs(t, err, gocql.ErrTimeoutNoResponse)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireCounted(t, g, failed)
}

// An iterator that nobody closes gives its place back, once nobody can.
func TestIterAbandoned(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
	func() {
		it := numbers(t, dep, session)
		require.True(t, it.Scan(new(int)))
		it.Scanner() // which points back
	}()
	require.ErrorIs(t, lookup(t.Context(), dep, session), guard.ErrSaturated)
	eventually(t, func() bool {
		runtime.GC()
		return callsOf(g).Ignored == 1
	})
	require.NoError(t, lookup(t.Context(), dep, session))
}

// So does one whose statement panics.
func TestIterOfAPanickingStatement(t *testing.T) {
	g, dep := depend(t, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
	require.Panics(t, func() { _, _ = guardcassandra.NewIter(t.Context(), dep, panicking{}) })
	requireCounted(t, g, failed)
	require.Zero(t, g.Snapshot().Dependencies[0].InFlight)
}

type panicking struct{ gocql.Statement }

func (panicking) IterContext(context.Context) *gocql.Iter { panic("a broken statement") }

// A batch can be iterated, too.
func TestIterOfABatch(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	g, dep := depend(t, guard.DependencyConfig{})
	it, err := guardcassandra.NewIter(t.Context(), dep, session.Batch(gocql.LoggedBatch).Query(insertNew, "taken", "name"))
	require.NoError(t, err)
	rows, err := it.SliceMap()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.NoError(t, it.Close())
	requireCounted(t, g, succeeded)
}
