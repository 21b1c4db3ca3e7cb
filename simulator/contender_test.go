package simulator_test

import (
	"log/slog"
	"net/http"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// A Contender is something that guards a server.
type Contender struct {
	Name string
	// Build wraps the handler of the server. It is called at the start of the run,
	// in its bubble.
	Build func(env *Env, next http.Handler) http.Handler
	// Holds says that it matters to the contender when a request is done. If it
	// does not, no goroutine waits for that.
	Holds bool
}

// nothing lets everything through.
func nothing() Contender {
	return Contender{Name: "nothing", Build: func(_ *Env, next http.Handler) http.Handler { return next }}
}

// guarded returns guard, with a configuration that depends on the run.
func guarded(name string, holds bool, config func(*Env) guard.Config) Contender {
	return Contender{Name: name, Holds: holds, Build: func(env *Env, next http.Handler) http.Handler {
		return newGuard(env, config(env)).Handler(next)
	}}
}

func newGuard(env *Env, config guard.Config) *guard.Guard {
	config.Logger = slog.New(slog.DiscardHandler)
	g, err := guard.New(config)
	require.NoError(env.tb, err)
	env.Cleanup(func() { _ = g.Close() })
	return g
}

// tokens is guard's token bucket, set to a multiple of the capacity. The burst is
// a tenth of a second's worth: more would queue longer than that by itself.
func tokens(name string, ofCapacity float64) Contender {
	return guarded("token bucket, "+name, false, func(env *Env) guard.Config {
		limit := ofCapacity * env.Capacity()
		return guard.Config{Limit: guard.Limit{Rate: rate.Limit(limit), Burst: max(1, int(limit/10))}}
	})
}

// bound is guard's bound on requests in flight, set to a multiple of twice the
// number of workers.
func bound(name string, ofRight float64) Contender {
	return guarded("static bound, "+name, true, func(env *Env) guard.Config {
		return guard.Config{Concurrency: guard.Concurrency{Max: max(1, int(ofRight*2*float64(env.Shape.Workers)))}}
	})
}

// contenders are all, in the order of the tables.
func contenders() []Contender {
	all := []Contender{
		nothing(),
		tokens("right", 1), tokens("20 % high", 1.2), tokens("20 % low", 0.8),
		bound("right", 1), bound("4x high", 4), bound("4x low", 0.25),
		failsafeLimiter(false), failsafeLimiter(true),
		goZero(false), goZero(true),
	}
	return append(all, selfTuned()...)
}
