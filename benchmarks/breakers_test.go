package benchmarks_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	resiliency "github.com/eapache/go-resiliency/breaker"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/sony/gobreaker/v2"
	"github.com/stretchr/testify/require"
	gozero "github.com/zeromicro/go-zero/core/breaker"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stat"

	"example.com/guard"
)

// A breaker is a contender that calls a function unless it is open. It opens at
// one half of failures, or what comes nearest, and stays so for an hour.
type breaker struct {
	name string
	// partly is for one that never opens altogether, but drops a share of calls.
	partly bool
	build  func(testing.TB) (call func(func() error) error)
}

func (b breaker) called() string { return b.name }

const openFor = time.Hour

var breakers = []breaker{
	{name: "guard", build: func(tb testing.TB) func(func() error) error {
		d := newDependency(tb, guard.DependencyConfig{Timeout: guard.NoTimeout, OpenFor: openFor, MaxOpenFor: openFor})
		ctx := context.Background()
		return func(fn func() error) error {
			return d.Do(ctx, func(context.Context) error { return fn() })
		}
	}},
	{name: "gobreaker", build: func(testing.TB) func(func() error) error {
		b := newGobreaker[struct{}]()
		return func(fn func() error) error {
			_, err := b.Execute(func() (struct{}, error) { return struct{}{}, fn() })
			return err
		}
	}},
	{name: "failsafe-executor", build: func(testing.TB) func(func() error) error {
		return failsafe.With(newFailsafeBreaker[any]()).Run
	}},
	{name: "failsafe-bare", build: func(testing.TB) func(func() error) error {
		b := newFailsafeBreaker[any]()
		return func(fn func() error) error {
			if !b.TryAcquirePermit() {
				return circuitbreaker.ErrOpen
			}
			err := fn()
			if err != nil {
				b.RecordFailure()
			} else {
				b.RecordSuccess()
			}
			return err
		}
	}},
	{name: "hystrix-go", build: func(tb testing.TB) func(func() error) error {
		hystrix.Flush() // of the one before, which had the same name
		name := "bench " + tb.Name()
		hystrix.ConfigureCommand(name, hystrix.CommandConfig{
			Timeout: 10_000, MaxConcurrentRequests: 10_000, SleepWindow: int(openFor / time.Millisecond),
		})
		return func(fn func() error) error { return hystrix.Do(name, fn, nil) }
	}},
	{name: "go-resiliency", build: func(tb testing.TB) func(func() error) error {
		// It counts errors only, which successes do not take back: a share of
		// failures opens it, unless the threshold is out of reach.
		threshold := 10
		if strings.Contains(tb.Name(), "one-in-four") {
			threshold = math.MaxInt
		}
		return resiliency.New(threshold, 1, openFor).Run
	}},
	{name: "go-zero", partly: true, build: func(testing.TB) func(func() error) error {
		logx.Disable()
		stat.SetReporter(nil)
		return gozero.NewBreaker().Do
	}},
}

func newDependency(tb testing.TB, c guard.DependencyConfig) *guard.Dependency {
	tb.Helper()
	g, err := guard.New(guard.Config{Logger: quiet})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	d, err := g.Dependency("upstream", c)
	require.NoError(tb, err)
	return d
}

// newGobreaker is as its README has it: at least so many calls, and a share of them.
func newGobreaker[T any]() *gobreaker.CircuitBreaker[T] {
	return gobreaker.NewCircuitBreaker[T](gobreaker.Settings{
		Interval: 10 * time.Second, BucketPeriod: time.Second, Timeout: openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.Requests >= 10 && float64(c.TotalFailures)/float64(c.Requests) >= 0.5
		},
	})
}

func newFailsafeBreaker[R any]() circuitbreaker.CircuitBreaker[R] {
	return circuitbreaker.NewBuilder[R]().
		WithFailureRateThreshold(0.5, 10, 10*time.Second).WithDelay(openFor).Build()
}

// trip fails calls until the breaker has opened, and reports whether it did.
func trip(call func(func() error) error) bool {
	for range 1000 {
		asked := false
		_ = call(func() error { asked = true; return errBroken })
		if !asked {
			return true
		}
	}
	return false
}

// A client is a contender around an http.RoundTripper.
type client struct {
	name  string
	build func(testing.TB, http.RoundTripper) http.RoundTripper
}

func (c client) called() string { return c.name }

var clients = []client{
	{"bare", func(_ testing.TB, next http.RoundTripper) http.RoundTripper { return next }},
	{"guard", func(tb testing.TB, next http.RoundTripper) http.RoundTripper {
		d := newDependency(tb, guard.DependencyConfig{Timeout: guard.NoTimeout, OpenFor: openFor, MaxOpenFor: openFor})
		return d.Transport(next)
	}},
	{"gobreaker", func(_ testing.TB, next http.RoundTripper) http.RoundTripper {
		b := newGobreaker[*http.Response]()
		return tripper(func(r *http.Request) (*http.Response, error) {
			resp, err := b.Execute(func() (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				if err == nil && resp.StatusCode >= http.StatusInternalServerError {
					return resp, errStatus
				}
				return resp, err
			})
			if errors.Is(err, errStatus) {
				err = nil
			}
			return resp, err
		})
	}},
	{"failsafehttp", func(_ testing.TB, next http.RoundTripper) http.RoundTripper {
		return failsafehttp.NewRoundTripper(next, circuitbreaker.NewBuilder[*http.Response]().
			HandleIf(func(resp *http.Response, err error) bool {
				return err != nil || resp.StatusCode >= http.StatusInternalServerError
			}).
			WithFailureRateThreshold(0.5, 10, 10*time.Second).WithDelay(openFor).Build())
	}},
}

var errStatus = errors.New("a status of 500 or above")

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// answer is a RoundTripper that answers at once.
func answer(status *int) tripper {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: *status, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}
}
