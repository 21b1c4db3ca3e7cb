package benchmarks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// curved are the jobs that are repeated with more and more of something, of which
// one is used at a time: what one costs is not to grow with how many there are.
var curved = []struct {
	of, before, after string // the job is named before, how many, after
	title             string
	many              []int
}{
	{"routes", "Curve/routes/", "", "a request of one of so many routes", []int{1, 10, 100, 1000}},
	{"dependencies", "Curve/dependencies/", "", "a call of one of so many dependencies", []int{1, 10, 100}},
	{"keys", "Keyed/", "/serial", "a token of one of so many keys", []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}},
}

func BenchmarkCurve(b *testing.B) {
	for _, n := range curved[0].many {
		for _, c := range []struct {
			name  string
			build func(testing.TB, int) http.Handler
		}{{"guard", guardRoutes}, {"by-hand", handRoutes}} {
			serving{c.build(b, n), true, oneClient, false}.run(b, "serial", fmt.Sprintf("routes/%d/%s", n, c.name))
		}
	}
	ctx := context.Background()
	for _, n := range curved[1].many {
		dependencies := guardDependencies(b, n)
		serial(b, fmt.Sprintf("dependencies/%d/guard", n), func() {
			_ = dependencies[rand.IntN(n)].Do(ctx, func(context.Context) error { return nil })
		})
		breakers := make([]func() error, n)
		for i := range breakers {
			breaker := newGobreaker[struct{}]()
			breakers[i] = func() error {
				_, err := breaker.Execute(func() (struct{}, error) { return struct{}{}, nil })
				return err
			}
		}
		serial(b, fmt.Sprintf("dependencies/%d/gobreaker", n), func() { _ = breakers[rand.IntN(n)]() })
	}
}

// guardRoutes has n routes, each with a limit of its own, in a guard with one for all.
func guardRoutes(tb testing.TB, n int) http.Handler {
	tb.Helper()
	g := newGuard(tb, guard.Config{Limit: generous.limit()})
	routes := make([]http.Handler, n)
	for i := range routes {
		route, err := g.Route(strconv.Itoa(i), guard.RouteConfig{Limit: generous.limit()})
		require.NoError(tb, err)
		routes[i] = route.Handler(http.HandlerFunc(noContent))
	}
	return g.Handler(oneOf(routes))
}

func handRoutes(_ testing.TB, n int) http.Handler {
	routes := make([]http.Handler, n)
	for i := range routes {
		routes[i] = byHand(generous.limiter(), http.HandlerFunc(noContent))
	}
	return byHand(generous.limiter(), oneOf(routes))
}

// oneOf is a mux that costs the same for any number of routes.
func oneOf(routes []http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { routes[rand.IntN(len(routes))].ServeHTTP(w, r) })
}

func guardDependencies(tb testing.TB, n int) []*guard.Dependency {
	tb.Helper()
	g := newGuard(tb, guard.Config{})
	all := make([]*guard.Dependency, n)
	for i := range all {
		d, err := g.Dependency(strconv.Itoa(i), guard.DependencyConfig{Timeout: guard.NoTimeout})
		require.NoError(tb, err)
		all[i] = d
	}
	return all
}
