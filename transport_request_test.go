package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// post returns a request with a body, of a length that is announced unless it is
// negative.
func post(tb testing.TB, body io.Reader, length int64) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://api.test/", body)
	require.NoError(tb, err)
	r.ContentLength = length
	return r
}

// sending returns a base that reads the request's body in pieces, and fails with
// what that fails with, or a broken connection.
func sending(piece int) base {
	return func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		for b := make([]byte, piece); ; {
			switch _, err := r.Body.Read(b); {
			case err == io.EOF:
				return nil, errors.New("the connection is broken")
			case err != nil:
				return nil, fmt.Errorf("sending: %w", err)
			}
		}
	}
}

// A body that cannot be read, or is not as long as was announced, is not the
// dependency's fault; a broken connection is.
func TestTransportRequestBody(t *testing.T) {
	text := "0123456789"
	fails := func() io.Reader { return io.MultiReader(strings.NewReader("01234"), iotest.ErrReader(errSource)) }
	plain := func() io.Reader { return struct{ io.Reader }{strings.NewReader(text)} }
	for name, test := range map[string]struct {
		body   func() io.Reader
		length int64
		want   guard.Outcome
	}{
		"whole":                       {plain, 10, guard.OutcomeFailed},
		"whole, with EOF":             {func() io.Reader { return iotest.DataErrReader(plain()) }, 10, guard.OutcomeFailed},
		"whole, not announced":        {plain, -1, guard.OutcomeFailed},
		"whole, unknown":              {plain, 0, guard.OutcomeFailed},
		"too short":                   {plain, 11, guard.OutcomeIgnored},
		"too short, with EOF":         {func() io.Reader { return iotest.DataErrReader(plain()) }, 11, guard.OutcomeIgnored},
		"too long":                    {plain, 9, guard.OutcomeIgnored},
		"too long by half":            {plain, 5, guard.OutcomeIgnored},
		"too long, with EOF":          {func() io.Reader { return iotest.DataErrReader(plain()) }, 5, guard.OutcomeIgnored},
		"fails":                       {fails, 10, guard.OutcomeIgnored},
		"fails, not announced":        {fails, -1, guard.OutcomeIgnored},
		"fails, unknown":              {fails, 0, guard.OutcomeIgnored},
		"fails when all is there":     {fails, 5, guard.OutcomeIgnored},
		"fails with unexpected EOF":   {func() io.Reader { return iotest.ErrReader(io.ErrUnexpectedEOF) }, -1, guard.OutcomeIgnored},
		"fails with a client's death": {func() io.Reader { return iotest.ErrReader(context.Canceled) }, -1, guard.OutcomeIgnored},
	} {
		for _, piece := range []int{1, 5, 9, 10, 11, 1000} {
			for when, timeout := range map[string]time.Duration{"with Timeout": 0, "without Timeout": guard.NoTimeout} {
				t.Run(fmt.Sprint(name, " by ", piece, " ", when), func(t *testing.T) {
					u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
					resp, err := u.Transport(sending(piece)).RoundTrip(post(t, test.body(), test.length))
					require.Nil(t, resp)
					require.Error(t, err)
					e := u.requireCall(t, test.want)
					var failed *guard.DependencyError
					if test.want == guard.OutcomeFailed {
						require.ErrorAs(t, err, &failed)
					} else if !errors.Is(err, context.Canceled) {
						require.NotErrorAs(t, err, &failed, "the caller's own error is not the dependency's: %v", err)
						require.Equal(t, e.Err, err, "it comes back untouched")
					}
				})
			}
		}
	}
}

// A body that was longer than the caller's own limit is answered with 413.
func TestTransportRequestBodyTooLarge(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	limited := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)
	client := &http.Client{Transport: u.Transport(sending(3))}
	resp, err := client.Do(post(t, limited, -1))
	if err == nil {
		_ = resp.Body.Close()
	}
	requireAnswer(t, u.guard, newRequest(), err, http.StatusRequestEntityTooLarge, "request-entity-too-large")
	u.requireCall(t, guard.OutcomeIgnored)
}

// A base that gives up closes the body, which then cannot be read any more: that
// is not why it gave up.
func TestTransportRequestBodyClosedByTheBase(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		why     func(*http.Request) error
		want    error
	}{
		"the connection breaks": {guard.NoTimeout, func(*http.Request) error { return errSource }, errSource},
		"the Timeout": {time.Second, func(r *http.Request) error {
			<-r.Context().Done()
			return context.Cause(r.Context())
		}, guard.ErrTimeout},
	} {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: test.timeout})
			in, out := io.Pipe() // of a client that uploads slowly
			defer out.Close()
			resp, err := u.Transport(base(func(r *http.Request) (*http.Response, error) {
				read := make(chan error)
				go func() {
					_, err := io.ReadAll(r.Body)
					read <- err
				}()
				err := test.why(r)
				require.NoError(t, r.Body.Close())
				require.Error(t, <-read)
				return nil, err
			})).RoundTrip(post(t, in, -1))
			require.Nil(t, resp)
			var failed *guard.DependencyError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, test.want)
			u.requireCall(t, guard.OutcomeFailed)
		})
	}
}

// The body of a request may be read still when the response has begun, and what
// fails then is the caller's own fault, too.
func TestTransportRequestBodyFailsLate(t *testing.T) {
	u := newUpstream(t, guard.DependencyConfig{})
	resp, err := u.Transport(base(func(r *http.Request) (*http.Response, error) {
		return answering(200, &tracked{Reader: readerFunc(func([]byte) (int, error) {
			_, err := io.ReadAll(r.Body)
			return 0, fmt.Errorf("sending: %w", err)
		})})(r)
	})).RoundTrip(post(t, iotest.ErrReader(errSource), -1))
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, errSource)
	require.NoError(t, resp.Body.Close())
	u.requireCall(t, guard.OutcomeIgnored)
}

// A base may get the body again, for a second try; each is watched.
func TestTransportRequestBodyAgain(t *testing.T) {
	whole := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("01234")), nil }
	short := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("0123")), nil }
	none := func() (io.ReadCloser, error) { return nil, errSource }
	for name, test := range map[string]struct {
		again func() (io.ReadCloser, error)
		want  guard.Outcome
	}{
		"the same":     {whole, guard.OutcomeFailed},
		"another":      {short, guard.OutcomeIgnored},
		"not possible": {none, guard.OutcomeIgnored},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{})
			body := bodyOf("01234")
			r := post(t, body, 5)
			r.GetBody = test.again
			resp, err := u.Transport(base(func(r *http.Request) (*http.Response, error) {
				_, _ = io.ReadFull(r.Body, make([]byte, 2)) // as far as the first connection came
				_ = r.Body.Close()
				_, err := r.Body.Read(make([]byte, 1))
				require.NoError(t, err)
				if r.Body, err = r.GetBody(); err != nil {
					return nil, err
				}
				return sending(100)(r)
			})).RoundTrip(r)
			require.Nil(t, resp)
			require.Error(t, err)
			u.requireCall(t, test.want)
			require.EqualValues(t, 1, body.closed.Load())
		})
	}
}

// The request that was given is not modified, and is not kept waiting for.
func TestTransportRequestIsNotModified(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"Timeout": 0, "no Timeout": guard.NoTimeout} {
		for _, body := range []io.Reader{nil, http.NoBody, strings.NewReader("the body"), bodyOf("the body")} {
			t.Run(fmt.Sprintf("%s %T", name, body), func(t *testing.T) {
				u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://api.test/", body)
				require.NoError(t, err)
				r.Header.Set("X-Own", "1")
				before := *r
				var of context.Context
				resp, err := u.Transport(base(func(sent *http.Request) (*http.Response, error) {
					of = sent.Context()
					require.Equal(t, before.ContentLength, sent.ContentLength)
					require.Equal(t, before.GetBody == nil, sent.GetBody == nil)
					require.Equal(t, before.Body == nil, sent.Body == nil)
					require.Equal(t, before.Body == http.NoBody, sent.Body == http.NoBody)
					require.Equal(t, before.Header, sent.Header)
					if sent.GetBody != nil && sent.Body != http.NoBody {
						again, err := sent.GetBody()
						require.NoError(t, err)
						text, err := io.ReadAll(again)
						require.NoError(t, err)
						require.Equal(t, "the body", string(text))
					}
					if sent.Body != nil {
						_, err := io.ReadAll(sent.Body)
						require.NoError(t, err)
						require.NoError(t, sent.Body.Close())
					}
					return answering(200, http.NoBody)(sent)
				})).RoundTrip(r)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.True(t, before.Body == r.Body && before.Context() == r.Context())
				before.GetBody, r.GetBody = nil, nil
				require.Equal(t, before, *r)
				u.requireCall(t, guard.OutcomeSucceeded)
				require.Equal(t, timeout == 0, of.Err() != nil, "what belongs to the exchange must not stay behind")
				require.NoError(t, resp.Request.Context().Err(), "who makes a request of the response's one must be able to send it")
			})
		}
	}
}

// A caller who hangs up while he uploads is not counted, and one whose upload the
// dependency does not take is.
func TestTransportRequestBodyThatHangs(t *testing.T) {
	for name, hangUp := range map[string]time.Duration{"he hangs up": time.Second, "he waits": time.Hour} {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: time.Minute})
			gone, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer time.AfterFunc(hangUp, cancel).Stop()
			_, err := u.Transport(heeding(2*time.Hour, context.Cause, answering(200, nil))).RoundTrip(post(t, strings.NewReader("x"), 1).WithContext(gone))
			require.Error(t, err)
			synctest.Wait()
			want := guard.OutcomeIgnored
			if hangUp > time.Minute {
				want = guard.OutcomeFailed
			}
			require.Equal(t, want == guard.OutcomeFailed, errors.Is(err, guard.ErrTimeout))
			u.requireCall(t, want)
		})
	}
}
