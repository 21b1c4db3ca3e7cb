package benchmarks_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/didip/tollbooth/v7"
	tollboothlimiter "github.com/didip/tollbooth/v7/limiter"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/go-chi/httprate"
	golimiter "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/stretchr/testify/require"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// plenty is a burst that no benchmark uses up.
const plenty = math.MaxInt32

// A quota is what a limiter is to allow: rate tokens a second after a burst. Those
// that know no burst, but a number for each window, are given perWindow.
type quota struct {
	rate, burst int
	window      time.Duration
}

var (
	// generous admits whatever a benchmark asks.
	generous = quota{rate: 1e9, burst: plenty, window: time.Second}
	// spent refuses everything after the first, for longer than a benchmark lasts, and
	// says to come back within minutes, as limits do.
	spent = quota{rate: 1, burst: 1, window: 10 * time.Minute}
)

// perSecond is the rate as golang.org/x/time/rate has it.
func (q quota) perSecond() float64 { return float64(q.rate) / q.window.Seconds() }

func (q quota) limit() guard.Limit {
	return guard.Limit{Rate: rate.Limit(q.perSecond()), Burst: q.burst}
}

func (q quota) limiter() *rate.Limiter { return rate.NewLimiter(rate.Limit(q.perSecond()), q.burst) }

// A limiter is a contender with one bucket for all.
type limiter struct {
	name  string
	build func(testing.TB, quota) (take func() bool)
}

// A keyedLimiter is a contender with a bucket for each key. Its own documentation
// says how many keys it keeps; guard and throttled are told.
type keyedLimiter struct {
	name  string
	build func(tb testing.TB, q quota, keys int) (take func(key string) bool)
}

var limiters = []limiter{
	{"guard", func(tb testing.TB, q quota) func() bool {
		l, err := guard.NewLimiter(q.limit())
		require.NoError(tb, err)
		return func() bool { _, ok := l.Take(1); return ok }
	}},
	{"x-time-rate", func(_ testing.TB, q quota) func() bool {
		return q.limiter().Allow
	}},
	{"failsafe-smooth", func(_ testing.TB, q quota) func() bool {
		// Leaky: it knows no burst, and spaces the permits out.
		return ratelimiter.NewSmooth[any](uint(q.rate), q.window).TryAcquirePermit
	}},
	{"failsafe-bursty", func(_ testing.TB, q quota) func() bool {
		return ratelimiter.NewBursty[any](uint(q.rate), q.window).TryAcquirePermit
	}},
	shared("httprate"), shared("throttled"), shared("go-limiter"), shared("tollbooth"),
}

// shared is a keyed contender with one key.
func shared(name string) limiter {
	return limiter{name, func(tb testing.TB, q quota) func() bool {
		take := pick(tb, keyedLimiters, name).build(tb, q, 1)
		return func() bool { return take("all") }
	}}
}

func (l limiter) called() string      { return l.name }
func (l keyedLimiter) called() string { return l.name }

func pick[C interface{ called() string }](tb testing.TB, all []C, name string) C {
	tb.Helper()
	for _, c := range all {
		if c.called() == name {
			return c
		}
	}
	require.FailNow(tb, "no such contender", name)
	panic("unreachable")
}

var keyedLimiters = []keyedLimiter{
	{"guard", func(tb testing.TB, q quota, keys int) func(string) bool {
		k, err := guard.NewKeyed[string](q.limit(), keys)
		require.NoError(tb, err)
		return func(key string) bool { _, ok := k.Take(key, 1); return ok }
	}},
	{"x-time-rate", func(_ testing.TB, q quota, _ int) func(string) bool {
		// The usual map of limiters; it forgets nobody.
		var all sync.Map
		return func(key string) bool {
			l, ok := all.Load(key)
			if !ok {
				l, _ = all.LoadOrStore(key, q.limiter())
			}
			return l.(*rate.Limiter).Allow()
		}
	}},
	{"httprate", func(_ testing.TB, q quota, _ int) func(string) bool {
		l := httprate.NewRateLimiter(q.rate, q.window)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		// It has no other form than the one that writes headers.
		return func(key string) bool { return !l.OnLimit(&sink{h: http.Header{}}, r, key) }
	}},
	{"throttled", func(tb testing.TB, q quota, keys int) func(string) bool {
		l := newThrottled(tb, q, keys)
		return func(key string) bool {
			limited, _, err := l.RateLimitCtx(context.Background(), key, 1)
			return err == nil && !limited
		}
	}},
	{"go-limiter", func(tb testing.TB, q quota, _ int) func(string) bool {
		s := newGoLimiter(tb, q)
		return func(key string) bool {
			_, _, _, ok, err := s.Take(context.Background(), key)
			return err == nil && ok
		}
	}},
	{"tollbooth", func(_ testing.TB, q quota, _ int) func(string) bool {
		l := newTollbooth(q)
		return func(key string) bool { return tollbooth.LimitByKeys(l, []string{key}) == nil }
	}},
}

func newThrottled(tb testing.TB, q quota, keys int) *throttled.GCRARateLimiterCtx {
	tb.Helper()
	store, err := memstore.NewCtx(keys)
	require.NoError(tb, err)
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate: throttled.PerDuration(q.rate, q.window), MaxBurst: q.burst - 1,
	})
	require.NoError(tb, err)
	return l
}

// newGoLimiter is a store whose buckets hold q.rate for each window. With every
// window, v0.7.1 puts back window/rate in nanoseconds, if that is less than rate: of
// what is more than the root of its window, it keeps no promise. A quota that nobody
// is to use up is for a window that nobody sees the end of.
func newGoLimiter(tb testing.TB, q quota) golimiter.Store {
	tb.Helper()
	if q == generous {
		q.window = 24 * time.Hour
	} else {
		require.LessOrEqual(tb, int64(q.rate)*int64(q.rate), int64(q.window), "go-limiter would admit less")
	}
	s, err := memorystore.New(&memorystore.Config{Tokens: uint64(q.rate), Interval: q.window})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	return s
}

func newTollbooth(q quota) *tollboothlimiter.Limiter {
	l := tollbooth.NewLimiter(q.perSecond(), &tollboothlimiter.ExpirableOptions{DefaultExpirationTTL: time.Hour})
	return l.SetBurst(q.burst).SetIPLookups([]string{"RemoteAddr"})
}

var errBroken = errors.New("broken")

// sink is a ResponseWriter that keeps its header and status alone.
type sink struct {
	h       http.Header
	status  int
	written int
}

func (s *sink) Header() http.Header { return s.h }

func (s *sink) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	s.written += len(b)
	return io.Discard.Write(b)
}

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) reset() {
	clear(s.h)
	s.status, s.written = 0, 0
}
