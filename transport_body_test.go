package guard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A body ends its call once, by whatever comes first.
func TestTransportBodyEndsTheCall(t *testing.T) {
	read := func(resp *http.Response) { _, _ = io.ReadAll(resp.Body) }
	some := func(resp *http.Response) { _, _ = resp.Body.Read(make([]byte, 1)) }
	shut := func(resp *http.Response) { _ = resp.Body.Close() }
	whole := func() io.Reader { return strings.NewReader("the body") }
	fails := func() io.Reader { return io.MultiReader(strings.NewReader("the"), iotest.ErrReader(errSource)) }
	for name, test := range map[string]struct {
		status int
		body   func() io.Reader
		use    []func(*http.Response)
		want   guard.Outcome
	}{
		"EOF":              {200, whole, []func(*http.Response){read, shut, shut, read}, guard.OutcomeSucceeded},
		"Close":            {200, whole, []func(*http.Response){shut, shut, read}, guard.OutcomeSucceeded},
		"Close midway":     {200, whole, []func(*http.Response){some, shut, read}, guard.OutcomeSucceeded},
		"EOF with data":    {200, func() io.Reader { return iotest.DataErrReader(whole()) }, []func(*http.Response){read, shut}, guard.OutcomeSucceeded},
		"error":            {200, fails, []func(*http.Response){read, shut, read}, guard.OutcomeFailed},
		"error, unread":    {200, fails, []func(*http.Response){some, shut, read}, guard.OutcomeSucceeded},
		"error with data":  {200, func() io.Reader { return iotest.DataErrReader(fails()) }, []func(*http.Response){read, read}, guard.OutcomeFailed},
		"cut short":        {200, func() io.Reader { return iotest.ErrReader(io.ErrUnexpectedEOF) }, []func(*http.Response){read, shut}, guard.OutcomeFailed},
		"503":              {503, whole, []func(*http.Response){read, shut}, guard.OutcomeFailed},
		"503, closed":      {503, whole, []func(*http.Response){shut}, guard.OutcomeFailed},
		"404":              {404, whole, []func(*http.Response){read, shut}, guard.OutcomeAnswered},
		"404 with error":   {404, fails, []func(*http.Response){read, shut}, guard.OutcomeFailed},
		"too large for it": {200, func() io.Reader { return iotest.ErrReader(&http.MaxBytesError{Limit: 1}) }, []func(*http.Response){read, shut}, guard.OutcomeIgnored},
	} {
		for peeks, c := range map[string]guard.DependencyConfig{
			"": {}, ", no Timeout": {Timeout: guard.NoTimeout},
			", peeked": {ClassifyBody: func(*http.Response, []byte) guard.Outcome { return 0 }},
		} {
			t.Run(name+peeks, func(t *testing.T) {
				u := newUpstream(t, c)
				body := &tracked{Reader: test.body()}
				resp, err := sendThrough(t.Context(), u.Dependency, answering(test.status, body))
				require.NoError(t, err)
				require.Empty(t, u.done)
				require.EqualValues(t, 1, u.snapshot().InFlight)
				closes := 0
				for _, use := range test.use {
					use(resp)
				}
				for _, use := range test.use {
					if fmt.Sprintf("%p", use) == fmt.Sprintf("%p", shut) {
						closes++
					}
				}
				u.requireCall(t, test.want)
				require.EqualValues(t, closes, body.closed.Load(), "each Close is handed on")
			})
		}
	}
}

// What the reader gets for a body that failed is a failure of the dependency,
// and the text of it is not lost; after Close, its own misuse is not.
func TestTransportBodyError(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	resp, err := sendThrough(t.Context(), u.Dependency, answering(200, &tracked{Reader: iotest.ErrReader(errSource)}))
	require.NoError(t, err)
	_, err = resp.Body.Read(make([]byte, 1))
	var failed *guard.DependencyError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, errSource)
	u.requireCall(t, guard.OutcomeFailed)
	require.NoError(t, resp.Body.Close())

	resp, err = sendThrough(t.Context(), u.Dependency, answering(200, &tracked{Reader: iotest.ErrReader(errSource)}))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	_, err = resp.Body.Read(make([]byte, 1))
	require.Equal(t, errSource, err)
	u.requireCall(t, guard.OutcomeSucceeded)
}

// Classify is asked about the error of a body, and what it makes of it is what
// the reader gets, just as from Do.
func TestTransportBodyErrorIsClassified(t *testing.T) {
	for _, o := range []guard.Outcome{guard.OutcomeSucceeded, guard.OutcomeFailed, guard.OutcomeAnswered, guard.OutcomeIgnored} {
		u := newUpstream(t, guard.DependencyConfig{Classify: func(err error) guard.Outcome {
			require.Equal(t, errSource, err)
			return o
		}})
		want := u.Do(t.Context(), func(context.Context) error { return errSource })
		u.requireCall(t, o)
		resp, err := sendThrough(t.Context(), u.Dependency, answering(200, &tracked{Reader: iotest.ErrReader(errSource)}))
		require.NoError(t, err)
		_, err = resp.Body.Read(make([]byte, 1))
		u.requireCall(t, o)
		require.Equal(t, want, err, o)
		require.NoError(t, resp.Body.Close())
	}
}

// Readers and closers that race end a call once.
func TestTransportBodyConcurrently(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	for range 100 {
		var once sync.Once
		in, out := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := sendThrough(ctx, u.Dependency, answering(200, in))
		require.NoError(t, err)
		var all sync.WaitGroup
		for _, f := range []func(){
			func() { _, _ = io.ReadAll(resp.Body) },
			func() { _, _ = io.ReadAll(resp.Body) },
			func() { _ = resp.Body.Close() },
			func() { _ = resp.Body.Close() },
			func() { _ = out.CloseWithError(errSource) },
			func() { once.Do(cancel) },
			func() { _ = u.CheckResponse(resp) },
		} {
			all.Go(f)
		}
		all.Wait()
		u.next(t)
		u.requireQuiet(t)
		cancel()
	}
}

// A body that nobody reads gives its place back when the request's context ends,
// and what comes after that changes nothing. A deadline that was long enough is
// missed by who does not read: it says nothing but what the header did.
func TestTransportBodyAbandoned(t *testing.T) {
	for name, test := range map[string]struct {
		deadline time.Duration // 0: it is cancelled
		want     guard.Outcome
	}{
		"cancelled":          {0, guard.OutcomeIgnored},
		"impatient deadline": {time.Second - 1, guard.OutcomeIgnored},
		"patient deadline":   {time.Second, guard.OutcomeDefault}, // by the header
	} {
		for _, status := range []int{200, 503} {
			bubble(t, fmt.Sprint(name, " ", status), func(t *testing.T) {
				u := newUpstream(t, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
				ctx, cancel := context.WithCancel(t.Context())
				if test.deadline > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), test.deadline)
				}
				defer cancel()
				resp, err := sendThrough(ctx, u.Dependency, answering(status, bodyOf("the body")))
				require.NoError(t, err)
				_, err = sendThrough(t.Context(), u.Dependency, answering(200, nil))
				require.ErrorIs(t, err, guard.ErrSaturated)
				if test.deadline == 0 {
					cancel()
				}
				time.Sleep(test.deadline)
				synctest.Wait()
				want := test.want
				if want == guard.OutcomeDefault {
					want = map[int]guard.Outcome{200: guard.OutcomeSucceeded, 503: guard.OutcomeFailed}[status]
				}
				u.requireCall(t, want)
				_, err = sendThrough(t.Context(), u.Dependency, answering(200, nil))
				require.NoError(t, err)
				u.requireCall(t, guard.OutcomeSucceeded)
				_, _ = io.ReadAll(resp.Body)
				require.NoError(t, resp.Body.Close())
				u.requireQuiet(t)
			})
		}
	}
}

// A context that ends just as the header comes does no harm.
func TestTransportContextEndsWithTheHeader(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := sendThrough(ctx, u.Dependency, base(func(r *http.Request) (*http.Response, error) {
			cancel()
			return answering(200, bodyOf("the body"))(r)
		}))
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
		u.next(t)
		u.requireQuiet(t)
	}
}

// Where the context cannot end, the garbage collector finds what was abandoned.
func TestTransportBodyForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		status  int
		want    guard.Outcome
	}{
		"Timeout":    {time.Hour, 200, guard.OutcomeIgnored},
		"no Timeout": {guard.NoTimeout, 200, guard.OutcomeIgnored},
		"a failure":  {time.Hour, 503, guard.OutcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: test.timeout, Concurrency: guard.Concurrency{Max: 1}})
			sent := make(chan context.Context, 1)
			func() {
				resp, err := sendThrough(context.Background(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					sent <- r.Context()
					return answering(test.status, bodyOf("the body"))(r)
				}))
				require.NoError(t, err)
				require.NotNil(t, resp)
			}()
			ctx := <-sent
			require.Empty(t, u.done)
			for deadline := time.Now().Add(20 * time.Second); len(u.done) == 0 && time.Now().Before(deadline); {
				runtime.GC() // a finalizer runs some time after it
			}
			u.requireCall(t, test.want)
			if test.timeout > 0 {
				require.Error(t, ctx.Err(), "the exchange must not go on for nobody")
			}
		})
	}
}

// A dependency that fails must be found out also by those who look at the status
// alone, and leave the body open.
func TestTransportFailureOfBodyLeftOpen(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"Timeout": time.Hour, "no Timeout": guard.NoTimeout} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
			var open []*http.Response
			var sent context.Context
			for u.State() == guard.StateClosed {
				require.Less(t, len(open), 1000, "the breaker must open")
				resp, err := sendThrough(context.Background(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					sent = r.Context()
					return answering(503, bodyOf("the body"))(r)
				}))
				require.NoError(t, err)
				open = append(open, resp)
				u.requireCall(t, guard.OutcomeFailed)
			}
			for _, resp := range open {
				require.Error(t, u.CheckResponse(resp))
				text, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, "the body", string(text))
				require.NoError(t, resp.Body.Close())
			}
			u.requireQuiet(t)
			require.EqualValues(t, len(open), u.snapshot().Counts.Failed)
			if timeout > 0 {
				require.Error(t, sent.Err(), "what the exchange held is given back")
			}
		})
	}
}

// A body that is held on to is not forgotten, and one that has ended is not
// found again.
func TestTransportBodyNotForgotten(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	r := httptest.NewRequest(http.MethodGet, "http://api.test/", nil).WithContext(context.Background())
	resp, err := u.Transport(answering(200, bodyOf("the body"))).RoundTrip(r)
	require.NoError(t, err)
	runtime.GC()
	runtime.GC()
	require.Empty(t, u.done)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "the body", string(text))
	require.NoError(t, resp.Body.Close())
	u.requireCall(t, guard.OutcomeSucceeded)
	runtime.KeepAlive(resp)
}
