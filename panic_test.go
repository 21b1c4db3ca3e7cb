package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// secret stands in every panic and cause, and must stand in no body.
const secret = "hunter2"

// panics are things to panic with, each an ordinary panic.
var panics = []struct {
	name string
	do   func()
}{
	{"an error", func() { panic(errors.New(secret)) }},
	{"a string", func() { panic(secret) }},
	{"nil", func() { panic(nil) }},
	{"a map, which cannot be compared", func() { panic(map[string]string{secret: secret}) }},
	{"a func", func() { panic(func() {}) }},
	{"a runtime error", func() { var list []string; _ = list[len(secret)] }},
	{"a wrapped ErrAbortHandler", func() { panic(fmt.Errorf("%s: %w", secret, http.ErrAbortHandler)) }},
	{"a Stringer that panics", func() { panic(badStringer{}) }},
	{"an error that panics", func() { panic(badError{}) }},
}

type badStringer struct{}

func (badStringer) String() string { panic(secret) }

type badError struct{}

func (badError) Error() string { panic(secret) }

func TestGuarantee5PanicBeforeTheHeader(t *testing.T) {
	const support = "the help desk"
	for _, protocol := range protocols {
		for _, p := range panics {
			t.Run(protocol+"/"+p.name, func(t *testing.T) {
				g := newGuard(t, guard.Config{Support: support})
				h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Set-Cookie"} {
						w.Header().Set(name, secret)
					}
					w.Header().Set("Content-Length", "3")
					w.Header().Set("X-Kept", "yes")
					w.WriteHeader(http.StatusEarlyHints)
					p.do()
				}))
				server := serveOn(t, protocol, h)
				for accept, want := range map[string]string{
					"":                        "application/problem+json",
					"application/problem+xml": "application/problem+xml",
					"text/plain":              "text/plain; charset=utf-8",
					"text/html":               "text/html; charset=utf-8",
				} {
					id := []string{"Accept", accept, "X-Request-Id", "the-request"}
					got := fetch(t, server, http.MethodGet, "/", "", id...)
					require.NoError(t, got.err)
					require.Equal(t, http.StatusInternalServerError, got.status)
					require.Equal(t, want, got.header.Get("Content-Type"))
					require.Contains(t, got.body, support)
					require.Contains(t, got.body, "internal")
					require.Contains(t, got.body, "the-request")
					require.NotContains(t, got.body, secret)
					require.Equal(t, strconv.Itoa(len(got.body)), got.header.Get("Content-Length"))
					require.Equal(t, "yes", got.header.Get("X-Kept"))
					require.NotContains(t, fmt.Sprint(got.header), secret)

					head := fetch(t, server, http.MethodHead, "/", "", id...)
					require.NoError(t, head.err)
					require.Empty(t, head.body)
					got.header.Del("Date")
					head.header.Del("Date")
					require.Equal(t, got.header, head.header)
				}
				w := httptest.NewRecorder() // which, unlike a server, keeps the body of a HEAD
				h.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/", nil))
				require.Empty(t, w.Body)
			})
		}
	}
}

// beginnings are ways to begin a response.
var beginnings = []struct {
	name string
	do   func(http.ResponseWriter)
}{
	{"WriteHeader", func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }},
	{"Write", func(w http.ResponseWriter) { _, _ = w.Write([]byte("begun")) }},
	{"WriteString", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "begun") }},
	{"ReadFrom", func(w http.ResponseWriter) { _, _ = io.Copy(w, onlyReader{strings.NewReader("begun")}) }},
	{"Flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }},
	{"FlushError", func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }},
	{"WriteHeader and Flush", func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusCreated)
		w.(http.Flusher).Flush()
	}},
	{"a lot", func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20)) }},
}

// endings are ways to fail.
var endings = []struct {
	name string
	do   func() error
}{
	{"a panic", func() error { panic(secret) }},
	{"http.ErrAbortHandler", func() error { panic(http.ErrAbortHandler) }},
	{"an error", func() error { return errors.New(secret) }},
	{"an Error", func() error { return guard.NotFound(secret) }},
	{"an error in a panic", func() error { panic(guard.NotFound(secret)) }},
}

func TestGuarantee5FailureAfterTheHeader(t *testing.T) {
	for _, protocol := range protocols {
		for _, b := range beginnings {
			for _, e := range endings {
				for _, nested := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/%s/nested %t", protocol, b.name, e.name, nested), func(t *testing.T) {
						g := newGuard(t, guard.Config{})
						h := g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
							if r.URL.Path == "/fine" {
								return nil
							}
							b.do(w)
							return e.do()
						})
						if nested {
							h = g.Handler(h)
						}
						server := serveOn(t, protocol, h)
						got := fetch(t, server, http.MethodGet, "/", "")
						require.Error(t, got.err, "the client must see that the response is not whole")
						require.NotContains(t, got.body, "about:blank")
						require.NotContains(t, got.body, secret)
						require.Empty(t, got.header.Get("X-Request-Id"))

						fine := fetch(t, server, http.MethodGet, "/fine", "")
						require.NoError(t, fine.err)
						require.Equal(t, protocol == "HTTP/2.0", fine.reused, "only the stream ends with HTTP/2")
					})
				}
			}
		}
	}
}

// serveHere serves a request in the goroutine of the test, and returns what
// came out of the handler: what it panicked with, if it did.
func serveHere(h http.Handler, w http.ResponseWriter, r *http.Request) (panicked any) {
	defer func() { panicked = recover() }()
	h.ServeHTTP(w, r)
	return nil
}

func TestGuarantee5ErrAbortHandlerPassesUnchanged(t *testing.T) {
	log := &journal{}
	g := newGuard(t, guard.Config{Logger: log.json()})
	rt, err := g.Route("route", guard.RouteConfig{})
	require.NoError(t, err)
	for name, h := range map[string]http.Handler{
		"guard":  g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })),
		"nested": g.Handler(rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })),
	} {
		w := httptest.NewRecorder()
		w.Code = 0
		p := serveHere(h, w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.True(t, p == http.ErrAbortHandler, "%s: %v", name, p) //nolint:errorlint,testifylint // identity is what counts
		require.Zero(t, w.Code)
		require.Empty(t, w.Body)
		require.Empty(t, w.Header())
	}
	require.Empty(t, log.lines(t), "an intended abort is no news")
}

// The user's functions may panic as well, and nothing is lost by it.
func TestGuarantee5PanicInUserFunctions(t *testing.T) {
	boom := func(r *http.Request) bool {
		if r.URL.Path == "/boom" {
			panic(secret)
		}
		return false
	}
	key := func(r *http.Request) string { return strconv.FormatBool(boom(r)) }
	once := guard.Limit{Burst: 1}
	for name, c := range map[string]guard.Config{
		"Exempt":     {Exempt: boom, Limit: once, Clients: []guard.ClientLimit{{Limit: once}}, Concurrency: guard.Concurrency{Max: 1}},
		"Key":        {Limit: once, Clients: []guard.ClientLimit{{Limit: once, Key: key}}, Concurrency: guard.Concurrency{Max: 1}},
		"second Key": {Limit: once, Clients: []guard.ClientLimit{{Limit: once}, {Limit: once, Key: key}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, c)
			rt, err := g.Route("route", guard.RouteConfig{Limit: once, Clients: []guard.ClientLimit{{Limit: once}}})
			require.NoError(t, err)
			h := rt.Handler(http.HandlerFunc(noContent))
			status := func(path string) int {
				w := httptest.NewRecorder()
				require.Nil(t, serveHere(h, w, httptest.NewRequest(http.MethodGet, path, nil)))
				return w.Code
			}
			for range 3 {
				require.Equal(t, http.StatusInternalServerError, status("/boom"))
			}
			require.Equal(t, http.StatusNoContent, status("/"), "the panics have taken tokens")
			require.Equal(t, http.StatusServiceUnavailable, status("/"))
		})
	}
}

// A logger that panics takes nothing along.
func TestGuarantee5PanicInLogger(t *testing.T) {
	for name, to := range map[string]slog.Handler{"Handle": panickingLog{true}, "Enabled": panickingLog{false}} {
		g := newGuard(t, guard.Config{Limit: guard.Limit{Burst: 3}, Logger: slog.New(to), Concurrency: guard.Concurrency{Max: 1}})
		h := g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			switch r.URL.Path {
			case "/panic":
				panic(secret)
			case "/late":
				w.WriteHeader(http.StatusOK)
			}
			return errors.New(secret)
		})
		for _, test := range []struct {
			path    string
			aborted any
			status  int
		}{
			{"/panic", nil, http.StatusInternalServerError},
			{"/error", nil, http.StatusInternalServerError},
			{"/late", http.ErrAbortHandler, http.StatusOK},
			{"/refused", nil, http.StatusServiceUnavailable},
		} {
			w := httptest.NewRecorder()
			w.Code = 0
			require.Equal(t, test.aborted, serveHere(h, w, httptest.NewRequest(http.MethodGet, test.path, nil)), name+test.path)
			require.Equal(t, test.status, w.Code, name+test.path)
		}
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		serveHere(h, httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/gone", nil).WithContext(gone))
		require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit.Burst = 5 }))
		require.NoError(t, g.Close())
		require.NoError(t, g.Shutdown(t.Context()))
	}
}

type panickingLog struct{ enabled bool }

func (l panickingLog) Enabled(context.Context, slog.Level) bool {
	if !l.enabled {
		panic(secret)
	}
	return true
}
func (panickingLog) Handle(context.Context, slog.Record) error { panic(secret) }
func (l panickingLog) WithAttrs([]slog.Attr) slog.Handler      { return l }
func (l panickingLog) WithGroup(string) slog.Handler           { return l }

// A handler may get hold of nothing but a nil pointer for an error.
func TestErrorIsANilPointer(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, err := range []error{(*guard.Error)(nil), (*guard.RefusedError)(nil), (*http.MaxBytesError)(nil), badError{}} {
		w := httptest.NewRecorder()
		h := g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err })
		require.Nil(t, serveHere(h, w, httptest.NewRequest(http.MethodGet, "/", nil)), "%T", err)
		require.Equal(t, http.StatusInternalServerError, w.Code, "%T", err)
	}
}

// An error for a client that has not gone must not look like a success. Its
// request's context may be cancelled all the same: by the server's BaseContext,
// or a middleware.
func TestGuarantee5CancelledIsNoSuccess(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			g := newGuard(t, guard.Config{})
			inner := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error { return context.Cause(r.Context()) })
			server := serveOn(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, stop := context.WithCancel(r.Context())
				stop()
				inner.ServeHTTP(w, r.WithContext(ctx))
			}))
			got := fetch(t, server, http.MethodGet, "/", "")
			require.False(t, got.err == nil && got.status < 400, "the client sees %d and %q", got.status, got.body)
		})
	}
}

// hijackable is a writer with a connection to take over. Like that of net/http
// it then sends nothing more.
type hijackable struct {
	*httptest.ResponseRecorder
	conn     net.Conn
	hijacked bool
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.hijacked = true
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func (h *hijackable) WriteHeader(status int) {
	if !h.hijacked {
		h.ResponseRecorder.WriteHeader(status)
	}
}

func (h *hijackable) Write(b []byte) (int, error) {
	if h.hijacked {
		return 0, http.ErrHijacked
	}
	return h.ResponseRecorder.Write(b)
}

// Nothing is written to a connection that the handler has taken over.
func TestGuarantee5NothingAfterAHijack(t *testing.T) {
	for i, s := range stacks[:5] {
		for _, e := range endings {
			t.Run(s.name+"/"+e.name, func(t *testing.T) {
				conn, peer := net.Pipe()
				h := s.guarded(t)(newGuard(t, guard.Config{}).HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
					_, _, err := http.NewResponseController(w).Hijack()
					assert.NoError(t, err)
					return e.do()
				}))
				w := &hijackable{ResponseRecorder: httptest.NewRecorder(), conn: conn}
				p := serveHere(h, w, httptest.NewRequest(http.MethodGet, "/", nil))
				if i < 4 { // behind an Unwrap, the guard does not see who hijacks
					require.Equal(t, http.ErrAbortHandler, p)
				}
				require.Empty(t, w.Body)
				conn.Close()
				rest, err := io.ReadAll(peer)
				require.NoError(t, err)
				require.Empty(t, rest)
			})
		}
	}
}
