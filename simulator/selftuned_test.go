package simulator_test

import (
	"net/http"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// selfTuned is guard's bound that finds itself, behind a mux with a route for
// each kind of requests.
func selfTuned() []Contender {
	return []Contender{{Name: "self-tuned bound", Holds: true, Build: func(env *Env, next http.Handler) http.Handler {
		g := newGuard(env, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}})
		env.Watch(func() (int, string) {
			b := g.Snapshot().Requests.Bound
			return b.Limit, b.LastMove.Reason
		})
		mux := http.NewServeMux()
		for _, k := range env.kinds() {
			rt, err := g.Route(k.Name, guard.RouteConfig{Priority: guardPriority[k.Priority]})
			require.NoError(env.tb, err)
			mux.Handle("GET "+path(k), rt.Handler(next))
		}
		return g.Mux(mux)
	}}}
}

var guardPriority = map[Priority]guard.Priority{
	Critical: guard.PriorityCritical, Normal: guard.PriorityNormal, Sheddable: guard.PrioritySheddable,
}
