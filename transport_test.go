package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// An upstream is a dependency that keeps what is told of its calls.
type upstream struct {
	*guard.Dependency
	guard *guard.Guard
	done  chan guard.CallEvent
}

func newUpstream(tb testing.TB, c guard.DependencyConfig) *upstream {
	tb.Helper()
	u := &upstream{done: make(chan guard.CallEvent, 1000)}
	u.guard = newGuard(tb, guard.Config{Hooks: guard.Hooks{
		CallDone: func(_ context.Context, e guard.CallEvent) { u.done <- e },
	}})
	d, err := u.guard.Dependency("api", c)
	require.NoError(tb, err)
	u.Dependency = d
	return u
}

func (u *upstream) snapshot() guard.DependencySnapshot { return u.guard.Snapshot().Dependencies[0] }

// next returns what the next call came to, and waits for that if it has to.
func (u *upstream) next(tb testing.TB) guard.CallEvent {
	tb.Helper()
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	select {
	case e := <-u.done:
		return e
	case <-patience.C:
		require.FailNow(tb, "the call has not ended")
	}
	return guard.CallEvent{}
}

// requireCall requires that one call has ended, in that way, and that nothing is
// left of it.
func (u *upstream) requireCall(tb testing.TB, want guard.Outcome) guard.CallEvent {
	tb.Helper()
	e := u.next(tb)
	require.Equal(tb, want.String(), e.Outcome.String(), "the call came to %v", e.Err)
	u.requireQuiet(tb)
	return e
}

// requireQuiet requires that no call has ended, and that none goes on.
func (u *upstream) requireQuiet(tb testing.TB) {
	tb.Helper()
	require.Empty(tb, u.done, "calls that have ended")
	require.Zero(tb, u.snapshot().InFlight, "calls in flight")
}

// A base is a RoundTripper made of a function.
type base func(*http.Request) (*http.Response, error)

func (f base) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A tracked body counts how often it was closed.
type tracked struct {
	io.Reader
	closed atomic.Int32
}

func (b *tracked) Close() error {
	b.closed.Add(1)
	return nil
}

func bodyOf(s string) *tracked { return &tracked{Reader: strings.NewReader(s)} }

// answering returns a base that gives one and the same answer. The headers are
// names and values in turn.
func answering(status int, body io.ReadCloser, headers ...string) base {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(headers); i += 2 {
			h.Add(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: body, Request: r, ContentLength: -1}, nil
	}
}

// sendThrough sends a GET through the dependency's Transport.
func sendThrough(ctx context.Context, d *guard.Dependency, b http.RoundTripper) (*http.Response, error) {
	return d.Transport(b).RoundTrip(httptest.NewRequest(http.MethodGet, "http://api.test/", nil).WithContext(ctx))
}

func statusOutcome(status int) guard.Outcome {
	switch status {
	case 501, 505:
		return guard.OutcomeAnswered
	case 408, 425:
		return guard.OutcomeFailed
	}
	return map[int]guard.Outcome{4: guard.OutcomeAnswered, 5: guard.OutcomeFailed}[status/100]
}

func TestTransportStatuses(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{MinCalls: 10_000})
	for status := 100; status <= 599; status++ {
		want := statusOutcome(status)
		if want == guard.OutcomeDefault {
			want = guard.OutcomeSucceeded
		}
		for _, body := range []io.ReadCloser{bodyOf("the body"), http.NoBody, nil} {
			resp, err := sendThrough(t.Context(), u.Dependency, answering(status, body, "Retry-After", "7"))
			require.NoError(t, err, status)
			require.Equal(t, status, resp.StatusCode)
			err = u.CheckResponse(resp)
			var failed *guard.DependencyError
			if want == guard.OutcomeFailed || status == http.StatusTooManyRequests {
				require.ErrorAs(t, err, &failed, status)
				require.Equal(t, "api", failed.Dependency())
				require.Equal(t, status == http.StatusTooManyRequests, errors.Is(err, guard.ErrThrottled), status)
				require.ErrorContains(t, err, strconv.Itoa(status))
			} else {
				require.NoError(t, err, status)
			}
			if b, ok := body.(*tracked); ok {
				text, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				if status != http.StatusSwitchingProtocols { // the verdict on which is in at the header
					require.Len(t, u.done, 1)
				}
				require.NoError(t, resp.Body.Close())
				require.Equal(t, "the body", string(text))
				require.EqualValues(t, 1, b.closed.Load())
			}
			e := u.requireCall(t, want)
			if want == guard.OutcomeFailed {
				require.EqualError(t, e.Err, "status "+strconv.Itoa(status))
			} else {
				require.NoError(t, e.Err)
			}
		}
	}
}

// What ClassifyResponse says goes before the status, for the breaker and for
// CheckResponse; what it cannot mean does not.
func TestTransportClassifyResponse(t *testing.T) {
	for o := guard.Outcome(-2); o < 8; o++ {
		for _, status := range []int{200, 101, 204, 404, 429, 503} {
			u := newUpstream(t, guard.DependencyConfig{ClassifyResponse: func(resp *http.Response) guard.Outcome {
				require.Equal(t, status, resp.StatusCode)
				return o
			}})
			want := o
			if o <= guard.OutcomeDefault || o > guard.OutcomeIgnored {
				want = map[int]guard.Outcome{404: guard.OutcomeAnswered, 429: guard.OutcomeAnswered, 503: guard.OutcomeFailed}[status]
				if want == guard.OutcomeDefault {
					want = guard.OutcomeSucceeded
				}
			}
			for _, body := range []io.ReadCloser{bodyOf("the body"), http.NoBody} {
				resp, err := sendThrough(t.Context(), u.Dependency, answering(status, body))
				require.NoError(t, err)
				bad := want == guard.OutcomeFailed || want == guard.OutcomeAnswered && status == 429
				require.Equal(t, bad, u.CheckResponse(resp) != nil, "%v for %d", o, status)
				require.NoError(t, resp.Body.Close())
				u.requireCall(t, want)
			}
		}
	}
}

// gone runs f in a goroutine of its own, and returns what f panicked with, or
// "exited".
func gone(f func()) (how any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		how = "exited"
		defer func() {
			if p := recover(); p != nil {
				how = p
			}
		}()
		f()
		how = "returned"
	}()
	<-done
	return how
}

// User code that panics, or ends its goroutine, leaves neither a call nor a
// body behind.
func TestTransportGuarantee3AfterPanics(t *testing.T) {
	for name, way := range map[string]struct {
		leave func()
		how   any
		want  guard.Outcome
	}{
		"panic":   {func() { panic(errSource) }, errSource, guard.OutcomeFailed},
		"abort":   {func() { panic(http.ErrAbortHandler) }, http.ErrAbortHandler, guard.OutcomeFailed},
		"Goexit":  {runtime.Goexit, "exited", guard.OutcomeIgnored},
		"nothing": {func() {}, "returned", guard.OutcomeSucceeded},
	} {
		response := func(*http.Response) guard.Outcome { way.leave(); return 0 }
		peek := func(*http.Response, []byte) guard.Outcome { way.leave(); return 0 }
		for where, c := range map[string]guard.DependencyConfig{
			"the base":                  {},
			"the base without Timeout":  {Timeout: guard.NoTimeout},
			"ClassifyResponse":          {ClassifyResponse: response},
			"ClassifyResponse, forever": {ClassifyResponse: response, Timeout: guard.NoTimeout},
			"ClassifyBody":              {ClassifyBody: peek},
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				u := newUpstream(t, c)
				body := bodyOf("the body")
				var sent context.Context
				how := gone(func() {
					resp, err := sendThrough(t.Context(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
						sent = r.Context()
						if c.ClassifyResponse == nil && c.ClassifyBody == nil {
							way.leave()
						}
						return answering(200, body)(r)
					}))
					if err == nil {
						_ = resp.Body.Close()
					}
				})
				require.Equal(t, way.how, how)
				u.requireCall(t, way.want)
				if c.ClassifyResponse != nil || c.ClassifyBody != nil {
					require.EqualValues(t, 1, body.closed.Load(), "how often the body was closed")
				}
				if c.Timeout == 0 {
					require.Error(t, sent.Err(), "the request must not be kept waiting")
				}
			})
		}
	}
}

// A hook that ends the goroutine once the body is being followed must not make
// the call end twice.
func TestTransportGuarantee3AfterGoexitInAHook(t *testing.T) {
	exit := func(_ context.Context, e guard.BreakerEvent) {
		if e.Reason == "throttled" {
			runtime.Goexit()
		}
	}
	g := newGuard(t, guard.Config{Hooks: guard.Hooks{BreakerChanged: exit}})
	d, err := g.Dependency("api", guard.DependencyConfig{PauseOn429: true})
	require.NoError(t, err)
	require.Equal(t, "exited", gone(func() {
		resp, err := sendThrough(t.Context(), d, answering(429, bodyOf("later"), "Retry-After", "5"))
		if err == nil {
			_ = resp.Body.Close()
		}
	}))
	s := g.Snapshot().Dependencies[0]
	require.Zero(t, s.InFlight)
	require.EqualValues(t, 1, s.Counts.Answered+s.Counts.Ignored)
}

// A RoundTripper may break its contract; the breaker holds.
func TestTransportOfABadBase(t *testing.T) {
	for name, test := range map[string]struct {
		base base
		want guard.Outcome
		err  error
	}{
		"neither response nor error": {func(*http.Request) (*http.Response, error) { return nil, nil }, guard.OutcomeFailed, nil},
		"both": {func(r *http.Request) (*http.Response, error) {
			resp, _ := answering(200, bodyOf(""))(r)
			return resp, errSource
		}, guard.OutcomeFailed, errSource},
		"io.EOF":       {func(*http.Request) (*http.Response, error) { return nil, io.EOF }, guard.OutcomeFailed, io.EOF},
		"an own error": {func(*http.Request) (*http.Response, error) { return nil, guard.NotFound("") }, guard.OutcomeSucceeded, nil},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{})
			resp, err := sendThrough(t.Context(), u.Dependency, test.base)
			require.Nil(t, resp)
			require.Error(t, err)
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			var failed *guard.DependencyError
			require.Equal(t, test.want == guard.OutcomeFailed, errors.As(err, &failed))
			u.requireCall(t, test.want)
		})
	}
	t.Run("no header", func(t *testing.T) {
		u := newUpstream(t, guard.DependencyConfig{PauseOn429: true})
		resp, err := sendThrough(t.Context(), u.Dependency, base(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 429}, nil
		}))
		require.NoError(t, err)
		require.Nil(t, resp.Body)
		require.ErrorIs(t, u.CheckResponse(resp), guard.ErrThrottled)
		u.requireCall(t, guard.OutcomeAnswered)
	})
}

// idler counts how often its idle connections were closed.
type idler struct {
	base
	closed int
}

func (i *idler) CloseIdleConnections() { i.closed++ }

func TestTransportCloseIdleConnections(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	b := &idler{}
	(&http.Client{Transport: d.Transport(b)}).CloseIdleConnections()
	require.Equal(t, 1, b.closed)
	(&http.Client{Transport: d.Transport(d.Transport(b))}).CloseIdleConnections()
	require.Equal(t, 2, b.closed)
	require.NotPanics(t, (&http.Client{Transport: d.Transport(b.base)}).CloseIdleConnections)
}

// A refused request goes nowhere, its body is closed, and the error gets through
// http.Client, which wraps it.
func TestTransportRefuses(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errSource)
	for name, test := range map[string]struct {
		ctx    context.Context
		config guard.DependencyConfig
		bring  func(u *upstream)
		want   error
		wait   time.Duration // -1: unknown or never
	}{
		"forced open": {t.Context(), guard.DependencyConfig{}, func(u *upstream) { u.Force(guard.ModeOpen) }, guard.ErrOpen, -1},
		"open": {t.Context(), guard.DependencyConfig{MinCalls: 1}, func(u *upstream) {
			resp, err := sendThrough(t.Context(), u.Dependency, answering(503, http.NoBody))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			u.requireCall(t, guard.OutcomeFailed)
		}, guard.ErrOpen, 5 * time.Second},
		"throttled": {t.Context(), guard.DependencyConfig{PauseOn429: true}, func(u *upstream) {
			resp, err := sendThrough(t.Context(), u.Dependency, answering(429, http.NoBody, "Retry-After", "5"))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			u.requireCall(t, guard.OutcomeAnswered)
		}, guard.ErrThrottled, 5 * time.Second},
		"saturated": {t.Context(), guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}}, func(u *upstream) {
			resp, err := sendThrough(t.Context(), u.Dependency, answering(200, bodyOf("a body holds its place")))
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, resp.Body.Close()) })
		}, guard.ErrSaturated, -1},
		"ended": {ended, guard.DependencyConfig{}, func(*upstream) {}, context.Canceled, -1},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, test.config)
			test.bring(u)
			client := &http.Client{Transport: u.Transport(base(func(*http.Request) (*http.Response, error) {
				require.FailNow(t, "a refused request was sent")
				return nil, nil
			}))}
			body := bodyOf("the body")
			r, err := http.NewRequestWithContext(test.ctx, http.MethodPost, "http://api.test/", body)
			require.NoError(t, err)
			resp, err := client.Do(r)
			require.Nil(t, resp)
			var refused *guard.DependencyError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, test.want)
			require.EqualValues(t, 1, body.closed.Load(), "how often the body was closed")
			if test.wait < 0 {
				require.Negative(t, refused.RetryAfter())
			} else {
				require.InDelta(t, test.wait, refused.RetryAfter(), float64(time.Second))
			}
			require.Empty(t, u.done, "a refused request is no call")
		})
	}
}

// How slow a call is, its header tells. Whether it failed, its body does.
func TestTransportSlowness(t *testing.T) {
	for name, test := range map[string]struct {
		header, body time.Duration
		fails        bool
		slow         bool
		want         guard.Outcome
	}{
		"fast":                     {time.Second - 1, 0, false, false, guard.OutcomeSucceeded},
		"slow":                     {time.Second, 0, false, true, guard.OutcomeSucceeded},
		"slow body":                {time.Second - 1, time.Hour, false, false, guard.OutcomeSucceeded},
		"slow body that fails":     {0, time.Hour, true, false, guard.OutcomeFailed},
		"slow, and its body fails": {time.Second, time.Hour, true, true, guard.OutcomeFailed},
	} {
		for _, peeks := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := guard.DependencyConfig{SlowCall: time.Second, Timeout: guard.NoTimeout}
					if peeks {
						c.ClassifyBody = func(*http.Response, []byte) guard.Outcome { return 0 }
					}
					u := newUpstream(t, c)
					resp, err := sendThrough(t.Context(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
						time.Sleep(test.header)
						return answering(200, &tracked{Reader: readerFunc(func([]byte) (int, error) {
							time.Sleep(test.body)
							if test.fails {
								return 0, errSource
							}
							return 0, io.EOF
						})})(r)
					}))
					require.NoError(t, err)
					require.Empty(t, u.done)
					_, err = io.ReadAll(resp.Body)
					require.Equal(t, test.fails, err != nil)
					e := u.requireCall(t, test.want)
					require.Equal(t, test.slow, e.Slow)
					require.Equal(t, max(test.header, 1), e.Latency)
					require.NoError(t, resp.Body.Close())
				})
			})
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
