package benchmarks_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/timeout"

	"example.com/guard"
)

// A client is a contender around an http.RoundTripper, whose calls end after a time
// or, at 0, do not.
type client struct {
	name  string
	build func(tb testing.TB, next http.RoundTripper, ends time.Duration) http.RoundTripper
}

func (c client) called() string { return c.name }

var clients = []client{
	{"bare", func(_ testing.TB, next http.RoundTripper, _ time.Duration) http.RoundTripper { return next }},
	{"guard", func(tb testing.TB, next http.RoundTripper, ends time.Duration) http.RoundTripper {
		if ends == 0 {
			ends = guard.NoTimeout
		}
		d := newDependency(tb, guard.DependencyConfig{Timeout: ends, OpenFor: openFor, MaxOpenFor: openFor})
		return d.Transport(next)
	}},
	{"gobreaker", func(_ testing.TB, next http.RoundTripper, ends time.Duration) http.RoundTripper {
		b, next := newGobreaker[*http.Response](), ending(next, ends)
		return tripper(func(r *http.Request) (*http.Response, error) {
			resp, err := b.Execute(func() (*http.Response, error) { return failing(next.RoundTrip(r)) })
			return resp, unlessStatus(err)
		})
	}},
	{"failsafehttp", func(_ testing.TB, next http.RoundTripper, ends time.Duration) http.RoundTripper {
		policies := []failsafe.Policy[*http.Response]{circuitbreaker.NewBuilder[*http.Response]().
			HandleIf(func(resp *http.Response, err error) bool {
				return err != nil || resp.StatusCode >= http.StatusInternalServerError
			}).
			WithFailureRateThreshold(0.5, 10, 10*time.Second).WithDelay(openFor).Build()}
		if ends > 0 {
			policies = append(policies, timeout.New[*http.Response](ends))
		}
		return failsafehttp.NewRoundTripper(next, policies...)
	}},
	// hystrix-go knows no call without an end.
	{"hystrix-go", func(tb testing.TB, next http.RoundTripper, _ time.Duration) http.RoundTripper {
		name := newHystrix(tb)
		return tripper(func(r *http.Request) (*http.Response, error) {
			answered := make(chan *http.Response, 1) // it runs in a goroutine that may be left behind
			err := hystrix.DoC(r.Context(), name, func(ctx context.Context) error {
				resp, err := failing(next.RoundTrip(r.WithContext(ctx)))
				answered <- resp
				return err
			}, nil)
			if err = unlessStatus(err); err != nil {
				return nil, err
			}
			return <-answered, nil
		})
	}},
	{"go-resiliency", func(tb testing.TB, next http.RoundTripper, ends time.Duration) http.RoundTripper {
		b, next := newResiliency(tb), ending(next, ends)
		return tripper(func(r *http.Request) (resp *http.Response, err error) {
			err = b.Run(func() error {
				resp, err = failing(next.RoundTrip(r))
				return err
			})
			return resp, unlessStatus(err)
		})
	}},
}

// errStatus makes a breaker count a response that is to be handed on.
var errStatus = errors.New("a status of 500 or above")

func failing(resp *http.Response, err error) (*http.Response, error) {
	if err == nil && resp.StatusCode >= http.StatusInternalServerError {
		err = errStatus
	}
	return resp, err
}

func unlessStatus(err error) error {
	if errors.Is(err, errStatus) {
		return nil
	}
	return err
}

// ending ends calls by their context, which lives as long as the response's body.
func ending(next http.RoundTripper, ends time.Duration) http.RoundTripper {
	if ends == 0 {
		return next
	}
	return tripper(func(r *http.Request) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(r.Context(), ends)
		resp, err := next.RoundTrip(r.WithContext(ctx))
		if err != nil {
			cancel()
			return resp, err
		}
		resp.Body = &endingBody{resp.Body, cancel}
		return resp, nil
	})
}

type endingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *endingBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// An upstream is a RoundTripper that answers at once.
type upstream struct {
	status   int
	failures int // how often it has answered with another status than 200
}

func (u *upstream) RoundTrip(*http.Request) (*http.Response, error) {
	if u.status != http.StatusOK {
		u.failures++
	}
	return &http.Response{StatusCode: u.status, Body: io.NopCloser(strings.NewReader("x"))}, nil
}

// fail has a transport see failures until its breaker is open, and reports whether it
// is, in the end.
func (u *upstream) fail(rt http.RoundTripper, r *http.Request) bool {
	u.status = http.StatusServiceUnavailable
	defer func() { u.status = http.StatusOK }()
	for range patience {
		before := u.failures
		if resp, err := rt.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
		if u.failures == before {
			return true
		}
		runtime.Gosched()
	}
	return false
}
