package guard_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// endsWithHeader is a RoundTripper whose caller is gone when the response comes.
type endsWithHeader struct{ cancel context.CancelFunc }

func (e endsWithHeader) RoundTrip(*http.Request) (*http.Response, error) {
	e.cancel()
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("late"))}, nil
}

// The call of a response ends by the end of the context even while RoundTrip is
// still on its way out. The race detector is who looks.
func TestContextEndsWithTheHeader(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dependency.invalid/", nil)
		require.NoError(t, err)
		resp, err := d.Transport(endsWithHeader{cancel}).RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	assert.Equal(t, guard.StateClosed, d.State())
}

// A client that reads slowly is not the dependency's fault (guarantee 6).
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDependency(t, guard.DependencyConfig{})
		rt := d.Transport(base(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(failsLate{r.Context()}), Request: r}, nil
		}))
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api.test/", http.NoBody)
			require.NoError(t, err)
			resp, err := rt.RoundTrip(r)
			require.NoError(t, err)
			for range 60 { // as a proxy does, for a client that takes 1 KiB a second
				time.Sleep(time.Second)
				if _, err = io.CopyN(io.Discard, resp.Body, 1<<10); err != nil {
					break
				}
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NoError(t, resp.Body.Close())
			cancel()
			synctest.Wait()
		}
		require.Equal(t, guard.StateClosed, d.State())
	})
}

// failsLate is a body that always has more, until the context ends.
type failsLate struct{ ctx context.Context }

func (f failsLate) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A body that was forgotten in a bubble, in which the garbage collector has no
// place, does not take the process along.
func TestForgottenBodyInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collected := new(atomic.Bool)
		d := newDependency(t, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 10}})
		func() {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://api.test/", http.NoBody)
			require.NoError(t, err)
			body := &tracked{Reader: strings.NewReader("the body")}
			runtime.AddCleanup(body, func(c *atomic.Bool) { c.Store(true) }, collected)
			_, err = d.Transport(base(func(r *http.Request) (*http.Response, error) {
				_ = r.Context().Done() // as every transport does
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: body, Request: r}, nil
			})).RoundTrip(r)
			require.NoError(t, err)
		}()
		for i := 0; i < 2000 && !collected.Load(); i++ {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		require.True(t, collected.Load())
	})
}

// An http.Client tells whether an error was a timeout by what its Transport says.
func TestTimeoutOfAClient(t *testing.T) {
	for err, timeout := range map[error]bool{os.ErrDeadlineExceeded: true, io.ErrUnexpectedEOF: false} {
		d := newDependency(t, guard.DependencyConfig{})
		client := http.Client{Transport: d.Transport(base(func(*http.Request) (*http.Response, error) { return nil, err }))}
		_, got := client.Get("http://api.test/")
		var u *url.Error
		require.ErrorAs(t, got, &u)
		require.Equal(t, timeout, u.Timeout(), err)
	}
	require.False(t, (*guard.DependencyError)(nil).Timeout())
	require.False(t, new(guard.DependencyError).Timeout())
}
