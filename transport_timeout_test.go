package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// bubble runs a test that lives by virtual time.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// heeding returns a base that answers after a while, or fails as soon as the
// request's context ends, with what the context says.
func heeding(after time.Duration, say func(context.Context) error, then base) base {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(after):
			return then(r)
		case <-r.Context().Done():
			return nil, say(r.Context())
		}
	}
}

// stubborn returns a base that answers after a while whatever happens.
func stubborn(after time.Duration, then base) base {
	return func(r *http.Request) (*http.Response, error) {
		time.Sleep(after)
		return then(r)
	}
}

// The error of a Timeout says so, whatever the base makes of it: HTTP/1 says
// context.Cause, HTTP/2 the Err of the context. It is not the client that went.
func TestTransportTimeout(t *testing.T) {
	broken := errors.New("use of closed network connection")
	answer := answering(200, bodyOf("late"))
	for name, b := range map[string]base{
		"the cause":       heeding(time.Hour, context.Cause, answer),
		"the Err":         heeding(time.Hour, context.Context.Err, answer),
		"its own":         heeding(time.Hour, func(context.Context) error { return broken }, answer),
		"nothing, late":   stubborn(2*time.Second, answer),
		"an error, late":  stubborn(2*time.Second, func(*http.Request) (*http.Response, error) { return nil, broken }),
		"neither, late":   stubborn(2*time.Second, func(*http.Request) (*http.Response, error) { return nil, nil }),
		"an answer, late": stubborn(2*time.Second, func(*http.Request) (*http.Response, error) { return nil, guard.NotFound("") }),
	} {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: time.Second})
			client := &http.Client{Transport: u.Transport(b)}
			start := time.Now()
			resp, err := client.Get("http://api.test/")
			require.Nil(t, resp)
			require.LessOrEqual(t, time.Since(start), 2*time.Second)
			var failed *guard.DependencyError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, guard.ErrTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			e := u.requireCall(t, guard.OutcomeFailed)
			require.ErrorIs(t, e.Err, context.DeadlineExceeded)
			require.Equal(t, "timeout", u.snapshot().LastFailure)
			require.NotErrorIs(t, err, context.Canceled, "nobody has cancelled anything")
		})
	}
}

// A header that comes too late is refused, and its body closed.
func TestTransportLateHeader(t *testing.T) {
	for _, body := range []*tracked{bodyOf("late"), nil} {
		for after, want := range map[time.Duration]guard.Outcome{
			time.Second - 1: guard.OutcomeSucceeded,
			time.Second + 1: guard.OutcomeFailed,
		} {
			bubble(t, after.String(), func(t *testing.T) {
				u := newUpstream(t, guard.DependencyConfig{Timeout: time.Second})
				b := answering(200, nil)
				if body != nil {
					b = answering(200, body)
				}
				resp, err := sendThrough(context.Background(), u.Dependency, stubborn(after, b))
				require.Equal(t, want == guard.OutcomeFailed, err != nil)
				if err == nil && body != nil {
					require.Zero(t, body.closed.Swap(0))
					require.NoError(t, resp.Body.Close())
				}
				if body != nil {
					require.EqualValues(t, 1, body.closed.Swap(0))
				}
				u.requireCall(t, want)
			})
		}
	}
}

// The Timeout ends with the header: a body may take longer, and the request's
// context lasts until it has ended, but no longer.
func TestTransportTimeoutIsOfTheHeader(t *testing.T) {
	for name, headers := range map[string][]string{
		"a body":          nil,
		"an event stream": {"Content-Type", "Text/Event-Stream;charset=utf-8"},
	} {
		for _, by := range []string{"EOF", "Close"} {
			bubble(t, name+" to "+by, func(t *testing.T) {
				u := newUpstream(t, guard.DependencyConfig{Timeout: time.Second})
				var sent context.Context
				reads := 0
				resp, err := sendThrough(t.Context(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					sent = r.Context()
					return answering(200, &tracked{Reader: readerFunc(func(b []byte) (int, error) {
						time.Sleep(time.Hour)
						if err := context.Cause(r.Context()); err != nil {
							return 0, err
						}
						if reads++; reads > 2 {
							return 0, io.EOF
						}
						return copy(b, "x"), nil
					})}, headers...)(r)
				}))
				require.NoError(t, err)
				require.Equal(t, headers != nil, len(u.done) == 1, "an event stream is done at the header, a body is not")
				if by == "EOF" {
					text, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.Equal(t, "xx", string(text))
				} else {
					_, err = resp.Body.Read(make([]byte, 1))
					require.NoError(t, err)
				}
				require.NoError(t, resp.Body.Close())
				require.Error(t, sent.Err(), "what belongs to the request must not stay behind")
				u.requireCall(t, guard.OutcomeSucceeded)
			})
		}
	}
}

// The caller's own end: a deadline counts against the dependency if the call had
// its fair share of time, a hang-up never does, however it is put; and the
// Timeout always does.
func TestTransportGuarantee6(t *testing.T) {
	gone := errors.New("gone")
	hangUp := func(after time.Duration, cause error) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(context.Background())
			timer := time.AfterFunc(after, func() { cancel(cause) })
			return ctx, func() { timer.Stop(); cancel(nil) }
		}
	}
	deadline := func(after time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), after)
		}
	}
	for name, test := range map[string]struct {
		context func() (context.Context, context.CancelFunc)
		want    guard.Outcome
	}{
		"hangs up":                       {hangUp(500*time.Millisecond, nil), guard.OutcomeIgnored},
		"hangs up with a cause":          {hangUp(500*time.Millisecond, gone), guard.OutcomeIgnored},
		"hangs up with a deadline cause": {hangUp(500*time.Millisecond, context.DeadlineExceeded), guard.OutcomeIgnored},
		"impatient":                      {deadline(400*time.Millisecond - 1), guard.OutcomeIgnored},
		"patient":                        {deadline(400 * time.Millisecond), guard.OutcomeFailed},
	} {
		text := func(b []byte) (int, error) { return copy(b, "x"), nil }
		stuck := func(r *http.Request, say func(context.Context) error) io.ReadCloser {
			first := true
			return &tracked{Reader: readerFunc(func(b []byte) (int, error) {
				if first {
					first = false
					return text(b)
				}
				<-r.Context().Done()
				return 0, say(r.Context())
			})}
		}
		for kind, say := range map[string]func(context.Context) error{
			"cause": context.Cause, "Err": context.Context.Err, "own": func(context.Context) error { return errSource },
		} {
			config := guard.DependencyConfig{Timeout: time.Second, FairShare: 400 * time.Millisecond}
			bubble(t, name+" before the header: "+kind, func(t *testing.T) {
				u := newUpstream(t, config)
				ctx, cancel := test.context()
				defer cancel()
				_, err := sendThrough(ctx, u.Dependency, heeding(time.Hour, say, answering(200, nil)))
				require.Error(t, err)
				require.NotErrorIs(t, err, guard.ErrTimeout)
				u.requireCall(t, test.want)
			})
			bubble(t, name+" in the body: "+kind, func(t *testing.T) {
				u := newUpstream(t, config)
				ctx, cancel := test.context()
				defer cancel()
				resp, err := sendThrough(ctx, u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					return answering(200, stuck(r, say))(r)
				}))
				require.NoError(t, err)
				_, err = io.ReadAll(resp.Body)
				require.Error(t, err)
				synctest.Wait()
				u.requireCall(t, test.want)
				require.NoError(t, resp.Body.Close())
				u.requireQuiet(t)
			})
			bubble(t, name+" while ClassifyBody waits: "+kind, func(t *testing.T) {
				c := config
				c.ClassifyBody = func(*http.Response, []byte) guard.Outcome {
					require.FailNow(t, "asked about a body that could not be read")
					return 0
				}
				u := newUpstream(t, c)
				ctx, cancel := test.context()
				defer cancel()
				resp, err := sendThrough(ctx, u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					return answering(200, stuck(r, say))(r)
				}))
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					require.Error(t, err)
				}
				synctest.Wait()
				u.requireCall(t, test.want)
			})
		}
	}
	// Who hangs up when the Timeout has passed has not saved the dependency.
	bubble(t, "hangs up after the Timeout", func(t *testing.T) {
		u := newUpstream(t, guard.DependencyConfig{Timeout: time.Second})
		ctx, cancel := hangUp(1500*time.Millisecond, nil)()
		defer cancel()
		_, err := sendThrough(ctx, u.Dependency, stubborn(2*time.Second, func(r *http.Request) (*http.Response, error) {
			return nil, context.Cause(r.Context())
		}))
		require.ErrorIs(t, err, guard.ErrTimeout)
		u.requireCall(t, guard.OutcomeFailed)
	})
}

// An error that a body's reader gets is what Do would have returned, whether the
// reader or the context is noticed first: a handler that returns it must get 502.
func TestTransportBodyErrorOfAContext(t *testing.T) {
	for name, end := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 5*time.Second)
		},
		"a sibling's cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(5*time.Second, cancel)
			return ctx, cancel
		},
	} {
		for _, first := range []string{"reader", "context"} {
			bubble(t, name+", noticed by the "+first, func(t *testing.T) {
				u := newUpstream(t, guard.DependencyConfig{})
				ctx, cancel := end()
				defer cancel()
				resp, err := sendThrough(ctx, u.Dependency, base(func(r *http.Request) (*http.Response, error) {
					return answering(200, &tracked{Reader: readerFunc(func([]byte) (int, error) {
						if first == "reader" { // just before
							time.Sleep(5*time.Second - 1)
							cancel()
							return 0, context.Canceled
						}
						<-r.Context().Done()
						synctest.Wait()
						return 0, r.Context().Err()
					})})(r)
				}))
				require.NoError(t, err)
				_, err = resp.Body.Read(make([]byte, 1))
				var failed *guard.DependencyError
				require.ErrorAs(t, err, &failed)
				require.True(t, errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
				require.NoError(t, resp.Body.Close())
			})
		}
	}
}
