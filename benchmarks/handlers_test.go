package benchmarks_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/didip/tollbooth/v7"
	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"
	"github.com/sethvargo/go-limiter/httplimit"
	"github.com/stretchr/testify/require"
	"github.com/throttled/throttled/v2"
	"github.com/zeromicro/go-zero/core/load"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stat"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// A handler is a contender around an http.Handler, with one limit for all.
type handler struct {
	name  string
	build func(testing.TB, quota, http.Handler) http.Handler
}

func (h handler) called() string { return h.name }

var handlers = []handler{
	{"bare", func(_ testing.TB, _ quota, next http.Handler) http.Handler { return next }},
	{"guard", func(tb testing.TB, q quota, next http.Handler) http.Handler {
		return newGuard(tb, guard.Config{Limit: q.limit()}).Handler(next)
	}},
	{"by-hand", func(_ testing.TB, q quota, next http.Handler) http.Handler {
		return byHand(q.limiter(), next)
	}},
	{"failsafehttp", func(_ testing.TB, q quota, next http.Handler) http.Handler {
		return failsafehttp.NewHandler(next, ratelimiter.NewBursty[*http.Response](uint(q.rate), q.window))
	}},
	{"httprate", func(_ testing.TB, q quota, next http.Handler) http.Handler {
		return httprate.LimitBy(q.rate, q.window, httprate.Key("*"))(next)
	}},
	{"throttled", func(tb testing.TB, q quota, next http.Handler) http.Handler {
		l := &throttled.HTTPRateLimiterCtx{RateLimiter: newThrottled(tb, q, 1)}
		return l.RateLimit(next)
	}},
	{"go-limiter", func(tb testing.TB, q quota, next http.Handler) http.Handler {
		m, err := httplimit.NewMiddleware(newGoLimiter(tb, q), func(*http.Request) (string, error) { return "all", nil })
		require.NoError(tb, err)
		return m.Handle(next)
	}},
	{"tollbooth", func(_ testing.TB, q quota, next http.Handler) http.Handler {
		return tollbooth.LimitHandler(newTollbooth(q), next)
	}},
}

// A bound is a contender that bounds how many requests are served at once.
type bound struct {
	name string
	// finds is for one that finds the number itself.
	finds bool
	build func(tb testing.TB, most int, next http.Handler) http.Handler
}

func (b bound) called() string { return b.name }

// contender is its name in a job of those of its kind.
func (b bound) contender() string { return strings.TrimSuffix(b.name, "-self-tuned") }

var bounds = []bound{
	{"bare", true, func(_ testing.TB, _ int, next http.Handler) http.Handler { return next }},
	{"guard", false, func(tb testing.TB, most int, next http.Handler) http.Handler {
		return newGuard(tb, guard.Config{Concurrency: guard.Concurrency{Max: most}}).Handler(next)
	}},
	{"guard-self-tuned", true, func(tb testing.TB, _ int, next http.Handler) http.Handler {
		return newGuard(tb, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}}).Handler(next)
	}},
	{"chi-throttle", false, func(_ testing.TB, most int, next http.Handler) http.Handler {
		return middleware.Throttle(most)(next)
	}},
	{"failsafe-bulkhead", false, func(_ testing.TB, most int, next http.Handler) http.Handler {
		return failsafehttp.NewHandler(next, bulkhead.New[*http.Response](uint(most)))
	}},
	{"failsafe-adaptive", true, func(_ testing.TB, _ int, next http.Handler) http.Handler {
		return failsafehttp.NewHandler(next, adaptivelimiter.NewBuilder[*http.Response]().Build())
	}},
	{"go-zero-shedder", true, func(_ testing.TB, _ int, next http.Handler) http.Handler {
		logx.Disable()
		stat.SetReporter(nil)
		shedder := load.NewAdaptiveShedder()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			promise, err := shedder.Allow()
			if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer promise.Pass()
			next.ServeHTTP(w, r)
		})
	}},
}

func newGuard(tb testing.TB, c guard.Config) *guard.Guard {
	tb.Helper()
	c.Logger = quiet
	g, err := guard.New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// byHand is what a careful engineer writes on rate.Limiter: it recovers from
// panics, records the status, and says 503 with a body.
func byHand(l *rate.Limiter, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if rec.status != 0 || p == http.ErrAbortHandler { //nolint:errorlint // as net/http does
					panic(http.ErrAbortHandler)
				}
				http.Error(rec, "internal server error", http.StatusInternalServerError)
			}
		}()
		if !l.Allow() {
			rec.Header().Set("Retry-After", "1")
			http.Error(rec, "too many requests", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(rec, r)
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
