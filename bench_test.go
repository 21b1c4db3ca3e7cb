package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// Each benchmark stands beside the same work done by hand on the bare
// golang.org/x/time/rate and github.com/sony/gobreaker: "make bench" runs the
// pairs in turn and prints ratios.

const plenty = math.MaxInt32

func newLimiter(tb testing.TB, r rate.Limit, burst int) *guard.Limiter {
	tb.Helper()
	l, err := guard.NewLimiter(guard.Limit{Rate: r, Burst: burst})
	require.NoError(tb, err)
	return l
}

func BenchmarkLimiter(b *testing.B) {
	for _, r := range []rate.Limit{1e3, 1e9} {
		name := fmt.Sprintf("admit-%.0e/", float64(r))
		lim, bare := newLimiter(b, r, plenty), rate.NewLimiter(r, plenty)
		serial(b, name+"guard", func() { lim.Take(1) })
		serial(b, name+"baseline", func() { bare.Allow() })
		parallel(b, name+"parallel/guard", func() { lim.Take(1) })
		parallel(b, name+"parallel/baseline", func() { bare.Allow() })
	}
	lim, bare := newLimiter(b, 1e-6, 1), rate.NewLimiter(1e-6, 1)
	lim.Take(1)
	bare.Allow()
	serial(b, "refuse/guard", func() { lim.Take(1) })
	serial(b, "refuse/baseline", func() { bare.Allow() })
	parallel(b, "refuse/parallel/guard", func() { lim.Take(1) })
	parallel(b, "refuse/parallel/baseline", func() { bare.Allow() })
	// So small a bucket, so fast a rate, that no block of tokens lives long
	// enough: every Take is with the lock, as where calls are far apart.
	lim, bare = newLimiter(b, 1e9, 1000), rate.NewLimiter(1e9, 1000)
	serial(b, "locked/guard", func() { lim.Take(1) })
	serial(b, "locked/baseline", func() { bare.Allow() })
}

func BenchmarkKeyed(b *testing.B) {
	const keys = 1 << 20
	names := make([]string, keys)
	for i := range names {
		names[i] = strconv.Itoa(i * 7919)
	}
	keyed, err := guard.NewKeyed[string](guard.Limit{Rate: 1e3, Burst: plenty}, keys)
	require.NoError(b, err)
	var bare sync.Map
	allow := func(key string) {
		l, ok := bare.Load(key)
		if !ok {
			l, _ = bare.LoadOrStore(key, rate.NewLimiter(1e3, plenty))
		}
		l.(*rate.Limiter).Allow()
	}
	for _, n := range names {
		keyed.Take(n, 1)
		allow(n)
	}
	pick := func() string { return names[rand.IntN(keys)] }
	parallel(b, "million/guard", func() { keyed.Take(pick(), 1) })
	parallel(b, "million/baseline", func() { allow(pick()) })
	serial(b, "one/guard", func() { keyed.Take("a", 1) })
	serial(b, "one/baseline", func() { allow("a") })
}

func BenchmarkHandler(b *testing.B) {
	runtime.GC() // what other benchmarks have left is not for this one to sweep
	bare := http.HandlerFunc(noContent)
	r := httptest.NewRequest(http.MethodGet, "/visits/1", nil)
	w := &sink{h: http.Header{}}
	serial(b, "bare", func() { bare.ServeHTTP(w, r) })
	for _, test := range []struct {
		name  string
		limit guard.Limit
	}{{"admit", guard.Limit{Rate: 1e3, Burst: plenty}}, {"refuse", guard.Limit{Rate: 1.0 / 600, Burst: 1}}} {
		guarded := newGuard(b, guard.Config{Limit: test.limit}).Handler(bare)
		hand := byHand(rate.NewLimiter(test.limit.Rate, test.limit.Burst), bare)
		guarded.ServeHTTP(w, r)
		hand.ServeHTTP(w, r)
		serial(b, test.name+"/guard", func() { clear(w.h); guarded.ServeHTTP(w, r) })
		serial(b, test.name+"/baseline", func() { clear(w.h); hand.ServeHTTP(w, r) })
	}
}

func BenchmarkDependency(b *testing.B) {
	ctx := context.Background()
	fine := func(context.Context) error { return nil }
	bareFine := func() (struct{}, error) { return struct{}{}, nil }
	d := newDependency(b, guard.DependencyConfig{Timeout: guard.NoTimeout, OpenFor: time.Hour, MaxOpenFor: time.Hour})
	bare := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{Timeout: time.Hour})
	serial(b, "closed/guard", func() { _ = d.Do(ctx, fine) })
	serial(b, "closed/baseline", func() { _, _ = bare.Execute(bareFine) })
	parallel(b, "closed/parallel/guard", func() { _ = d.Do(ctx, fine) })
	parallel(b, "closed/parallel/baseline", func() { _, _ = bare.Execute(bareFine) })
	limited := newDependency(b, guard.DependencyConfig{})
	serial(b, "timeout/guard", func() { _ = limited.Do(ctx, fine) })
	serial(b, "timeout/baseline", func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, _ = bare.Execute(func() (struct{}, error) { return struct{}{}, fine(ctx) })
		cancel()
	})
	broken := errors.New("broken")
	for d.State() != guard.StateOpen {
		_ = d.Do(ctx, func(context.Context) error { return broken })
	}
	for bare.State() != gobreaker.StateOpen {
		_, _ = bare.Execute(func() (struct{}, error) { return struct{}{}, broken })
	}
	serial(b, "open/guard", func() { _ = d.Do(ctx, fine) })
	serial(b, "open/baseline", func() { _, _ = bare.Execute(bareFine) })
}

// instant is a RoundTripper that answers at once.
type instant struct{}

func (instant) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("x"))}, nil
}

func BenchmarkTransport(b *testing.B) {
	d := newDependency(b, guard.DependencyConfig{Timeout: guard.NoTimeout})
	guarded := d.Transport(instant{})
	bare := gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{})
	r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil)
	read := func(resp *http.Response, err error) {
		if err == nil {
			_ = resp.Body.Close()
		}
	}
	serial(b, "closed/guard", func() { read(guarded.RoundTrip(r)) })
	serial(b, "closed/baseline", func() {
		read(bare.Execute(func() (*http.Response, error) { return instant{}.RoundTrip(r) }))
	})
}

// BenchmarkRequest is a whole request: one shared limit and one call to a dependency.
func BenchmarkRequest(b *testing.B) {
	g := newGuard(b, guard.Config{Limit: guard.Limit{Rate: 1e3, Burst: plenty}})
	d, err := g.Dependency("db", guard.DependencyConfig{Timeout: guard.NoTimeout})
	require.NoError(b, err)
	fine := func(context.Context) error { return nil }
	guarded := g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := d.Do(r.Context(), fine); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	bare := gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{})
	hand := byHand(rate.NewLimiter(1e3, plenty), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := bare.Execute(func() (struct{}, error) { return struct{}{}, fine(r.Context()) }); err != nil {
			http.Error(w, "bad gateway", http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	r := httptest.NewRequest(http.MethodGet, "/visits/1", nil)
	w := &sink{h: http.Header{}}
	serial(b, "one-call/guard", func() { clear(w.h); guarded.ServeHTTP(w, r) })
	serial(b, "one-call/baseline", func() { clear(w.h); hand.ServeHTTP(w, r) })
}

func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

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

// sink is a ResponseWriter that keeps nothing but its header.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(b []byte) (int, error) { return io.Discard.Write(b) }
func (s *sink) WriteHeader(int)             {}

func serial(b *testing.B, name string, f func()) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
}

func parallel(b *testing.B, name string, f func()) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}
