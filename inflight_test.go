package guard_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Nobody is refused for a bound that is far from being reached, however fast
// places come and go.
func TestPlacesBelowTheBoundAreFree(t *testing.T) {
	const workers, each = 8, 25_000
	room := guard.Concurrency{Max: workers * 10}
	d := newDependency(t, guard.DependencyConfig{Concurrency: room, Timeout: guard.NoTimeout})
	var refused atomic.Int64
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for range each {
				if d.Do(context.Background(), func(context.Context) error { return nil }) != nil {
					refused.Add(1)
				}
			}
		})
	}
	work.Wait()
	require.Zero(t, refused.Load(), "calls")

	g := newGuard(t, guard.Config{Concurrency: room})
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range workers {
		work.Go(func() {
			r := put()
			for range each {
				h.ServeHTTP(minimal{}, r)
			}
		})
	}
	work.Wait()
	require.Zero(t, g.Snapshot().Requests.Counts.Refused.Overloaded, "requests")
}
