package guard_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

const peeked = 64 << 10 // what ClassifyBody sees of a body

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// However long a body is and in whatever pieces it comes, ClassifyBody sees its
// head, and the reader all of it.
func TestTransportClassifyBody(t *testing.T) {
	for _, size := range []int{0, 1, 511, peeked - 1, peeked, peeked + 1, 3*peeked + 7} {
		want := random(size)
		for name, in := range map[string]func(io.Reader) io.Reader{
			"at once":    func(r io.Reader) io.Reader { return r },
			"by halves":  iotest.HalfReader,
			"with EOF":   iotest.DataErrReader,
			"in trickle": func(r io.Reader) io.Reader { return trickle{r} },
		} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				var head []byte
				asked := 0
				u := newUpstream(t, guard.DependencyConfig{ClassifyBody: func(resp *http.Response, b []byte) guard.Outcome {
					asked++
					head = bytes.Clone(b)
					require.Equal(t, 200, resp.StatusCode)
					_ = append(b, "a classifier that appends must not be read back"...)
					return guard.OutcomeFailed
				}})
				body := &tracked{Reader: in(bytes.NewReader(want))}
				resp, err := sendThrough(t.Context(), u.Dependency, answering(200, body))
				require.NoError(t, err)
				require.Error(t, u.CheckResponse(resp), "what failed with a 200")
				require.True(t, bytes.Equal(want[:min(size, peeked)], head), "the head of %d bytes", len(head))
				got, err := io.ReadAll(trickle{resp.Body})
				if size > 511 {
					require.Zero(t, body.closed.Load())
				}
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "%d bytes for %d", len(got), size)
				e := u.requireCall(t, guard.OutcomeFailed)
				require.EqualError(t, e.Err, "status 200")
				require.NoError(t, resp.Body.Close())
				require.EqualValues(t, 1, body.closed.Load())
				require.Equal(t, 1, asked)
			})
		}
	}
}

// A body that is closed is that, also where its head has been read.
func TestTransportClassifyBodyOfAClosedBody(t *testing.T) {
	for _, size := range []int{9, 3 * peeked} {
		u := newUpstream(t, guard.DependencyConfig{ClassifyBody: func(*http.Response, []byte) guard.Outcome {
			return guard.OutcomeSucceeded
		}})
		pipe, w := io.Pipe()
		go func() {
			_, _ = w.Write(random(size))
			_ = w.Close()
		}()
		resp, err := sendThrough(t.Context(), u.Dependency, answering(200, pipe))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		n, err := resp.Body.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.NoError(t, resp.Body.Close(), "again")
		u.requireCall(t, guard.OutcomeSucceeded)
	}
}

// A trickle reads at most 100 bytes at a time, and often none.
type trickle struct{ from io.Reader }

func (s trickle) Read(b []byte) (int, error) {
	if rand.N(4) == 0 {
		return 0, nil
	}
	return s.from.Read(b[:min(len(b), 100)])
}

// ClassifyBody is asked where ClassifyResponse does not say, and what it cannot
// mean leaves it to the status.
func TestTransportClassifyBodyOutcome(t *testing.T) {
	for byResponse := guard.Outcome(-1); byResponse < 6; byResponse++ {
		for byBody := guard.Outcome(-1); byBody < 6; byBody++ {
			for _, body := range []io.ReadCloser{bodyOf("the body"), http.NoBody, nil} {
				asked := false
				u := newUpstream(t, guard.DependencyConfig{
					ClassifyResponse: func(*http.Response) guard.Outcome { return byResponse },
					ClassifyBody: func(_ *http.Response, head []byte) guard.Outcome {
						asked = true
						require.Equal(t, body == nil || body == http.NoBody, len(head) == 0)
						return byBody
					},
				})
				says := func(o guard.Outcome) bool { return o > guard.OutcomeDefault && o <= guard.OutcomeIgnored }
				want := guard.OutcomeFailed
				if says(byBody) {
					want = byBody
				}
				if says(byResponse) {
					want = byResponse
				}
				resp, err := sendThrough(t.Context(), u.Dependency, answering(503, body))
				require.NoError(t, err)
				require.Equal(t, !says(byResponse), asked)
				require.Equal(t, want == guard.OutcomeFailed, u.CheckResponse(resp) != nil,
					"CheckResponse must agree with the Transport: %v, %v, %T", byResponse, byBody, body)
				if resp.Body != nil {
					require.NoError(t, resp.Body.Close())
				}
				u.requireCall(t, want)
			}
		}
	}
}

// CheckResponse knows what ClassifyBody has said, whatever has wrapped the body
// since: http.Client does, if it has a Timeout.
func TestCheckResponseAfterClassifyBody(t *testing.T) {
	failed := func(*http.Response, []byte) guard.Outcome { return guard.OutcomeFailed }
	for name, timeout := range map[string]time.Duration{"a client": 0, "a client with a Timeout": time.Hour} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{ClassifyBody: failed})
			client := &http.Client{Timeout: timeout, Transport: u.Transport(answering(200, bodyOf(`{"error":"down"}`)))}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.test/", nil)
			require.NoError(t, err)
			resp, err := client.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Error(t, u.CheckResponse(resp))
		})
	}
}

// One dependency's word on a response is not another's.
func TestCheckResponseOfAnother(t *testing.T) {
	outer := newUpstream(t, guard.DependencyConfig{ClassifyResponse: func(*http.Response) guard.Outcome { return guard.OutcomeSucceeded }})
	inner := newUpstream(t, guard.DependencyConfig{})
	resp, err := sendThrough(t.Context(), outer.Dependency, inner.Transport(answering(503, bodyOf("the body"))))
	require.NoError(t, err)
	require.NoError(t, outer.CheckResponse(resp))
	require.Error(t, inner.CheckResponse(resp))
	require.NoError(t, resp.Body.Close())
	outer.requireCall(t, guard.OutcomeSucceeded)
	inner.requireCall(t, guard.OutcomeFailed)
}

// A body that cannot be read far enough is not judged by what there is of it.
func TestTransportClassifyBodyThatFails(t *testing.T) {
	for _, size := range []int{0, 10, peeked - 1, peeked, peeked + 1} {
		asked := false
		u := newUpstream(t, guard.DependencyConfig{ClassifyBody: func(*http.Response, []byte) guard.Outcome {
			asked = true
			return guard.OutcomeSucceeded
		}})
		want := random(size)
		failed := false
		body := &tracked{Reader: io.MultiReader(bytes.NewReader(want), readerFunc(func([]byte) (int, error) {
			if failed { // it tells only once
				return 0, io.EOF
			}
			failed = true
			return 0, errSource
		}))}
		resp, err := sendThrough(t.Context(), u.Dependency, answering(200, body))
		require.NoError(t, err)
		require.Equal(t, size >= peeked, asked, size)
		got, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, errSource)
		require.True(t, bytes.Equal(want, got), size)
		u.requireCall(t, guard.OutcomeFailed)
		require.NoError(t, resp.Body.Close())
	}
}

// Streams are not read, and are handed on as they are, but for Close.
func TestTransportStreamsAreNotPeekedAt(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		ctype  string
		asked  bool
	}{
		"an upgrade":                 {101, "", false},
		"an event stream":            {200, "text/event-stream", false},
		"with parameters":            {200, "text/event-stream; charset=utf-8", false},
		"in capitals":                {200, "TEXT/EVENT-STREAM", false},
		"text":                       {200, "text/plain", true},
		"JSON that mentions streams": {200, "application/json; a=text/event-stream", true},
		"none":                       {200, "", true},
	} {
		for when, timeout := range map[string]time.Duration{"with Timeout": 0, "without Timeout": guard.NoTimeout} {
			t.Run(name+" "+when, func(t *testing.T) {
				asked, read := false, false
				u := newUpstream(t, guard.DependencyConfig{Timeout: timeout, ClassifyBody: func(*http.Response, []byte) guard.Outcome {
					asked = true
					return 0
				}})
				near, far := &bytes.Buffer{}, &bytes.Buffer{}
				far.WriteString("from afar")
				body := struct {
					io.Reader
					io.Writer
					io.Closer
				}{readerFunc(func(b []byte) (int, error) { read = true; return far.Read(b) }), near, bodyOf("")}
				resp, err := sendThrough(t.Context(), u.Dependency, answering(test.status, body, "Content-Type", test.ctype))
				require.NoError(t, err)
				require.Equal(t, test.asked, asked)
				require.Equal(t, test.asked, read)
				if !test.asked {
					u.requireCall(t, guard.OutcomeSucceeded)
					_, err = resp.Body.(io.Writer).Write([]byte("from here"))
					require.NoError(t, err)
					require.Equal(t, "from here", near.String())
				}
				text, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, "from afar", string(text))
				require.NoError(t, resp.Body.Close())
				if test.asked {
					u.requireCall(t, guard.OutcomeSucceeded)
				}
			})
		}
	}
}

// An upgraded connection can be closed for writing if it could be without the
// Transport: that is how a peer is told that nothing more comes.
func TestTransportUpgradeCloseWrite(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"Timeout": 0, "no Timeout": guard.NoTimeout} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
			c := &halfCloser{}
			resp, err := sendThrough(t.Context(), u.Dependency, answering(101, c))
			require.NoError(t, err)
			defer resp.Body.Close()
			w, ok := resp.Body.(interface{ CloseWrite() error })
			require.True(t, ok)
			require.NoError(t, w.CloseWrite())
			require.Equal(t, 1, c.closed)
		})
	}
}

type halfCloser struct {
	bytes.Buffer
	closed int
}

func (h *halfCloser) Close() error      { return nil }
func (h *halfCloser) CloseWrite() error { h.closed++; return nil }

// The Timeout bounds the reading ahead, too.
func TestTransportClassifyBodyTimesOut(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "short": 100, "nearly enough": peeked - 1, "enough": peeked} {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{
				Timeout: time.Second, SlowCall: time.Second,
				ClassifyBody: func(*http.Response, []byte) guard.Outcome { return 0 },
			})
			body := &tracked{}
			resp, err := sendThrough(t.Context(), u.Dependency, base(func(r *http.Request) (*http.Response, error) {
				body.Reader = io.MultiReader(bytes.NewReader(make([]byte, size)), readerFunc(func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, context.Cause(r.Context())
				}))
				return answering(200, body)(r)
			}))
			if size >= peeked {
				require.NoError(t, err)
				time.Sleep(time.Hour)
				require.NoError(t, resp.Body.Close())
				u.requireCall(t, guard.OutcomeSucceeded)
				return
			}
			require.Nil(t, resp)
			require.ErrorIs(t, err, guard.ErrTimeout)
			require.False(t, u.requireCall(t, guard.OutcomeFailed).Slow, "the header was fast")
			require.EqualValues(t, 1, body.closed.Load())
			synctest.Wait()
		})
	}
}
