package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

// A reader is a ResponseWriter that keeps what is flushed. It may stop reading.
type reader struct {
	header http.Header
	status int

	mu   sync.Mutex
	text strings.Builder
	stop chan struct{} // not nil: writes wait for it to be closed
}

func (r *reader) Header() http.Header    { return r.header }
func (r *reader) WriteHeader(status int) { r.status = status }
func (r *reader) Flush()                 {}
func (r *reader) Write(b []byte) (int, error) {
	r.mu.Lock()
	stop := r.stop
	r.text.Write(b)
	r.mu.Unlock()
	if stop != nil {
		<-stop
	}
	return len(b), nil
}

func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// watch opens a stream. done is closed when it has ended.
func watch(d http.Handler, query string) (r *reader, cancel func(), done chan struct{}) {
	r = &reader{header: http.Header{}}
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan struct{})
	go func() {
		defer close(done)
		d.ServeHTTP(r, ask(query, nil).WithContext(ctx))
	}()
	return r, cancel, done
}

func ended(done chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		dependency(t, g, "line\nbreak\n\ndata: x", guard.DependencyConfig{})
		d := start(t, g)
		time.Sleep(2500 * time.Millisecond)
		r, cancel, done := watch(d, "?format=stream")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, "text/event-stream", r.header.Get("Content-Type"))
		text, found := strings.CutPrefix(r.read(), "retry: 2000\n")
		require.True(t, found)
		events := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n")
		require.Len(t, events, 4)
		seq := uint64(0)
		for i, event := range events {
			lines := strings.Split(event, "\n")
			require.Len(t, lines, 2, "an id and a line of data")
			data, found := strings.CutPrefix(lines[1], "data: ")
			require.True(t, found)
			var u update
			require.NoError(t, json.Unmarshal([]byte(data), &u))
			require.Equal(t, fmt.Sprintf("id: %s.%d", u.Boot, u.Seq), lines[0])
			if i == 0 {
				require.Len(t, u.Times, 2, "what has been")
			} else {
				require.Len(t, u.Times, 1)
				require.Equal(t, seq+1, u.Seq)
			}
			seq = u.Seq
		}
		require.False(t, ended(done))
		cancel()
		require.True(t, ended(done))
		after := len(r.read())
		time.Sleep(3 * time.Second)
		require.Len(t, r.read(), after)

		id := strings.TrimPrefix(strings.Split(events[3], "\n")[0], "id: ")
		req := ask("?format=stream&after=ignored", func(r *http.Request) { r.Header.Set("Last-Event-ID", id) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		again := &reader{header: http.Header{}}
		go d.ServeHTTP(again, req.WithContext(ctx))
		synctest.Wait()
		var u update
		_, data, _ := strings.Cut(again.read(), "data: ")
		require.NoError(t, json.Unmarshal([]byte(data), &u))
		require.Len(t, u.Times, 3, "who comes back gets what he has missed")
	})
}

func TestStreamEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, newGuard(t, guard.Config{}))
		_, cancel, done := watch(d, "?format=stream")
		defer cancel()
		require.False(t, ended(done))
		require.NoError(t, d.Close())
		require.True(t, ended(done))
		require.Equal(t, http.StatusServiceUnavailable, answer(d, ask("?format=stream", nil)).Code)
		require.Equal(t, http.StatusOK, answer(d, ask("?format=poll", nil)).Code)
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, newGuard(t, guard.Config{}))
		var cancels []func()
		for range 32 {
			_, cancel, done := watch(d, "?format=stream")
			cancels = append(cancels, cancel)
			require.False(t, ended(done))
		}
		w := answer(d, ask("?format=stream", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "10", w.Header().Get("Retry-After"))
		cancels[0]()
		synctest.Wait()
		_, cancel, done := watch(d, "?format=stream")
		require.False(t, ended(done), "there is room again")
		cancel()
		for _, cancel := range cancels {
			cancel()
		}
	})
}

// Who does not read holds nobody up, and is dropped.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, newGuard(t, guard.Config{}))
		slow, cancelSlow, slowDone := watch(d, "?format=stream")
		defer cancelSlow()
		fast, cancelFast, fastDone := watch(d, "?format=stream")
		defer cancelFast()
		synctest.Wait()
		stop := make(chan struct{})
		slow.mu.Lock()
		slow.stop = stop
		slow.mu.Unlock()
		time.Sleep(30 * time.Second)
		require.False(t, ended(slowDone), "it is in a Write, which the server ends in time")
		require.False(t, ended(fastDone))
		require.Equal(t, 31, strings.Count(fast.read(), "\ndata: "))
		close(stop)
		require.True(t, ended(slowDone))
		require.Less(t, strings.Count(slow.read(), "\ndata: "), 12)
	})
}

type noStream struct{ *httptest.ResponseRecorder }

func (noStream) Flush(string) {} // another method of that name

func TestNoStreaming(t *testing.T) {
	d := start(t, newGuard(t, guard.Config{}))
	w := noStream{httptest.NewRecorder()}
	d.ServeHTTP(struct{ http.ResponseWriter }{w}, ask("?format=stream", nil))
	require.Equal(t, http.StatusNotImplemented, w.Code)
	head := answer(d, ask("?format=stream", func(r *http.Request) { r.Method = http.MethodHead }))
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())
}

// listen serves h with time limits shorter than the test.
func listen(t *testing.T, h http.Handler) (url string, s *http.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s = &http.Server{Handler: h, ReadTimeout: time.Second, WriteTimeout: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return "http://" + l.Addr().String() + "/", s
}

func open(t *testing.T, url string) *bufio.Scanner {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	resp, err := c.Get(url + "?format=stream")
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return lines
}

func updates(lines *bufio.Scanner, most int) (n int) {
	for n < most && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			n++
		}
	}
	return n
}

// Through the guard, and a server whose time limits are shorter than the stream.
func TestStreamThroughServer(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 100}, Concurrency: guard.Concurrency{Max: 10}})
	d := start(t, g)
	mux := http.NewServeMux()
	mux.Handle("/", d)
	url, _ := listen(t, g.Mux(mux))
	require.Equal(t, 5, updates(open(t, url), 5))
}

// Beside the guard the dashboard is there when nothing else is.
func TestMount(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: guard.Limit{Burst: 1}})
	d := start(t, g)
	h := d.Mount("/debug/guard/", g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	at := func(path string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = path } }
	require.Equal(t, http.StatusOK, answer(h, ask("", at("/"))).Code)
	for range 3 {
		for _, path := range []string{"/debug/guard/", "/debug/guard", "/debug/guard/x"} {
			require.Contains(t, answer(h, ask("", at(path))).Body.String(), "<!doctype html>", path)
		}
		for _, path := range []string{"/", "/debug/guards", "/debug/"} {
			require.Equal(t, http.StatusServiceUnavailable, answer(h, ask("", at(path))).Code, path)
		}
	}
	require.Equal(t, uint64(1), g.Snapshot().Requests.Counts.Served)
}

// A stream does not hold up the shutdown of the server.
func TestShutdown(t *testing.T) {
	g := newGuard(t, guard.Config{})
	d := start(t, g)
	url, s := listen(t, d)
	lines := open(t, url)
	require.Equal(t, 1, updates(lines, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, g.Shutdown(ctx, s))
	updates(lines, 100)
	require.True(t, lines.Err() == nil || errors.Is(lines.Err(), context.Canceled))
	require.Equal(t, http.StatusServiceUnavailable, answer(d, ask("?format=stream", nil)).Code)
}

func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{})
		d := start(t, g)
		h := g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 20 {
					answer(h, ask("", nil))
					poll(t, d, "")
					answer(d, ask("?format=json", nil))
					if i == 0 {
						_, err := g.Route(strconv.Itoa(n), guard.RouteConfig{})
						require.NoError(t, err)
					}
					_, cancel, done := watch(d, "?format=stream")
					time.Sleep(700 * time.Millisecond)
					cancel()
					<-done
				}
			})
		}
		wg.Wait()
	})
}

var _ http.Handler = (*dashboard.Dashboard)(nil)
