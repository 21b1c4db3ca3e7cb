package benchmarks_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"
	"github.com/sethvargo/go-limiter/httplimit"
	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/require"
	"github.com/throttled/throttled/v2"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// A task is what a whole request is to be guarded with: a limit that all share, for
// clients that many one for each, and a breaker around the one call that it makes.
type task struct {
	all     quota
	each    quota         // of a client, if there are any
	clients int           // 0: no limit for each
	zipf    bool          // a few of them ask most
	timeout time.Duration // of the call; 0: none
	call    func(context.Context) error
}

// A request is a contender for a task.
type request struct {
	name  string
	build func(testing.TB, task) http.Handler
	does  func(task) bool // nil: all
}

func (r request) called() string { return r.name }

// callTimeout is that of a call, where it has one: guard's default.
const callTimeout = 10 * time.Second

// manyClients is how many there are, where each has a limit.
const manyClients = 100_000

// tasks are those that are timed.
var tasks = []struct {
	name string
	task
}{
	{"one-call", task{all: generous}},
	{"one-call-timeout", task{all: generous, timeout: callTimeout}},
	{"whole", task{all: generous, each: generous, clients: manyClients}},
	{"whole-zipf", task{all: generous, each: generous, clients: manyClients, zipf: true}},
	{"whole-timeout", task{all: generous, each: generous, clients: manyClients, timeout: callTimeout}},
}

var requests = []request{
	{"bare", func(_ testing.TB, t task) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reply(w, t.call(r.Context())) })
	}, nil},
	{"guard", guardRequest, nil},
	{"by-hand", handRequest, nil},
	{"failsafe", failsafeRequest, func(t task) bool { return t.clients == 0 }},
	{"failsafe+httprate", failsafeRequest, func(t task) bool { return t.clients > 0 }},
	{"go-limiter+gobreaker", func(tb testing.TB, t task) http.Handler {
		h := gobreakerCall(t)
		all, err := httplimit.NewMiddleware(newGoLimiter(tb, t.all), func(*http.Request) (string, error) { return "all", nil })
		require.NoError(tb, err)
		h = all.Handle(h)
		if t.clients == 0 {
			return h
		}
		clients, err := httplimit.NewMiddleware(newGoLimiter(tb, t.each), httplimit.IPKeyFunc())
		require.NoError(tb, err)
		return clients.Handle(h)
	}, nil},
	{"throttled+gobreaker", func(tb testing.TB, t task) http.Handler {
		all := &throttled.HTTPRateLimiterCtx{RateLimiter: newThrottled(tb, t.all, 1)}
		h := all.RateLimit(gobreakerCall(t))
		if t.clients == 0 {
			return h
		}
		clients := &throttled.HTTPRateLimiterCtx{RateLimiter: newThrottled(tb, t.each, t.clients), VaryBy: &throttled.VaryBy{RemoteAddr: true}}
		return clients.RateLimit(h)
	}, nil},
}

func guardRequest(tb testing.TB, t task) http.Handler {
	c := guard.Config{Limit: t.all.limit()}
	if t.clients > 0 {
		c.Clients = []guard.ClientLimit{{Limit: t.each.limit(), MaxKeys: t.clients}}
	}
	g := newGuard(tb, c)
	ends := t.timeout
	if ends == 0 {
		ends = guard.NoTimeout
	}
	d, err := g.Dependency("upstream", guard.DependencyConfig{Timeout: ends, OpenFor: openFor, MaxOpenFor: openFor})
	require.NoError(tb, err)
	return g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := d.Do(r.Context(), t.call); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// handRequest has a map of limiters, which forgets no client.
func handRequest(_ testing.TB, t task) http.Handler {
	shared := byHand(t.all.limiter(), gobreakerCall(t))
	if t.clients == 0 {
		return shared
	}
	var clients sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		l, ok := clients.Load(host)
		if !ok {
			l, _ = clients.LoadOrStore(host, t.each.limiter())
		}
		if !l.(*rate.Limiter).Allow() {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
			return
		}
		shared.ServeHTTP(w, r)
	})
}

// failsafeRequest composes failsafe-go's policies. It has no limit for each client:
// where there is to be one, it is that of httprate.
func failsafeRequest(_ testing.TB, t task) http.Handler {
	policies := []failsafe.Policy[any]{newFailsafeBreaker[any]()}
	if t.timeout > 0 {
		policies = append(policies, timeout.New[any](t.timeout))
	}
	executor := failsafe.With(policies...)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, executor.WithContext(r.Context()).RunWithExecution(func(e failsafe.Execution[any]) error { return t.call(e.Context()) }))
	})
	h := failsafehttp.NewHandler(next, ratelimiter.NewBursty[*http.Response](uint(t.all.rate), t.all.window))
	if t.clients > 0 {
		return middleware.ClientIPFromRemoteAddr(httprate.LimitBy(t.each.rate, t.each.window, func(r *http.Request) (string, error) {
			return httprate.CanonicalizeIP(middleware.GetClientIP(r.Context())), nil
		})(h))
	}
	return h
}

// gobreakerCall makes the call through gobreaker.
func gobreakerCall(t task) http.Handler {
	b := newGobreaker[struct{}]()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := b.Execute(func() (struct{}, error) {
			ctx := r.Context()
			if t.timeout > 0 {
				c, cancel := context.WithTimeout(ctx, t.timeout)
				defer cancel()
				ctx = c
			}
			return struct{}{}, t.call(ctx)
		})
		reply(w, err)
	})
}

// reply is what is done by hand with the outcome of a call.
func reply(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		w.Header().Set("Retry-After", "5")
		http.Error(w, "bad gateway", http.StatusBadGateway)
	default:
		http.Error(w, "bad gateway", http.StatusBadGateway)
	}
}

// addresses are those of n clients, as net/http has them.
func addresses(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("10.%d.%d.%d:50000", i>>16, i>>8&0xff, i&0xff)
	}
	return all
}
