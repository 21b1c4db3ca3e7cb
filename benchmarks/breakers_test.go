package benchmarks_test

import (
	"context"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	resiliency "github.com/eapache/go-resiliency/breaker"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
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
		name := newHystrix(tb)
		return func(fn func() error) error { return hystrix.Do(name, fn, nil) }
	}},
	{name: "go-resiliency", build: func(tb testing.TB) func(func() error) error {
		return newResiliency(tb).Run
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

// patience is for how many failures a breaker may take to open: hystrix-go counts in
// a goroutine, which may not have its turn for a while.
const patience = 50_000

// trip fails calls until the breaker has opened, and reports whether it did.
func trip(call func(func() error) error) bool {
	for range patience {
		asked := false
		_ = call(func() error { asked = true; return errBroken })
		if !asked {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// newHystrix returns the name of a command, since its breakers have nothing else.
func newHystrix(tb testing.TB) string {
	tb.Helper()
	hystrix.Flush() // of the one before, which had the same name
	name := "bench " + tb.Name()
	hystrix.ConfigureCommand(name, hystrix.CommandConfig{
		Timeout: int(callTimeout / time.Millisecond), MaxConcurrentRequests: 10_000, SleepWindow: int(openFor / time.Millisecond),
	})
	return name
}

// newResiliency counts errors only, which successes do not take back: a share of
// failures opens it, unless the threshold is out of reach.
func newResiliency(tb testing.TB) *resiliency.Breaker {
	tb.Helper()
	threshold := 10
	if strings.Contains(tb.Name(), "one-in-four") {
		threshold = math.MaxInt
	}
	return resiliency.New(threshold, 1, openFor)
}
