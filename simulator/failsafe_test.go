package simulator_test

import (
	"net/http"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
)

// failsafeLimiter is failsafe-go's adaptive limiter with its defaults, around the
// handler as its package for HTTP puts it. queueing adds the queue of twice to
// three times the limit that the documentation of WithQueueing describes and
// BuildPrioritized has by default.
func failsafeLimiter(queueing bool) Contender {
	name := "failsafe-go, adaptive"
	if queueing {
		name += ", queueing"
	}
	return Contender{Name: name, Holds: true, Build: func(env *Env, next http.Handler) http.Handler {
		b := adaptivelimiter.NewBuilder[*http.Response]()
		if queueing {
			b = b.WithQueueing(2, 3)
		}
		limiter := b.Build()
		env.Watch(func() (int, string) { return limiter.Limit(), "" })
		return failsafehttp.NewHandler(next, limiter)
	}}
}
