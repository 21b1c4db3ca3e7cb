package guard_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A middleware is what stands around a handler.
type middleware = func(http.Handler) http.Handler

// A stack is a way to guard a handler, and the same without the guard.
type stack struct {
	name    string
	bare    middleware
	guarded func(*testing.T) middleware
}

// stacks are the ways to guard a handler that must not change what it can do.
var stacks = []stack{
	{"guard", nothing, func(t *testing.T) middleware {
		t.Helper()
		return newGuard(t, guard.Config{}).Handler
	}},
	{"guard twice", nothing, func(t *testing.T) middleware {
		t.Helper()
		g := newGuard(t, guard.Config{})
		return func(h http.Handler) http.Handler { return g.Handler(g.Handler(h)) }
	}},
	{"mux and route", nothing, func(t *testing.T) middleware {
		t.Helper()
		g := newGuard(t, guard.Config{})
		rt, err := g.Route("all", guard.RouteConfig{})
		require.NoError(t, err)
		return func(h http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", rt.Handler(h))
			return g.Mux(mux)
		}
	}},
	{"two guards", nothing, func(t *testing.T) middleware {
		t.Helper()
		outer, inner := newGuard(t, guard.Config{}), newGuard(t, guard.Config{})
		return func(h http.Handler) http.Handler { return outer.Handler(inner.Handler(h)) }
	}},
	{"a middleware with Unwrap between", unwrapping, func(t *testing.T) middleware {
		t.Helper()
		g := newGuard(t, guard.Config{})
		return func(h http.Handler) http.Handler { return g.Handler(unwrapping(g.Handler(h))) }
	}},
	{"a middleware without Unwrap between", opaque, func(t *testing.T) middleware {
		t.Helper()
		g := newGuard(t, guard.Config{})
		return func(h http.Handler) http.Handler { return g.Handler(opaque(g.Handler(h))) }
	}},
}

func nothing(h http.Handler) http.Handler { return h }

// unwrapping hides the optional interfaces of the writer, but has Unwrap.
func unwrapping(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(unwrapper{w}, r) })
}

type unwrapper struct{ http.ResponseWriter }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// opaque hides everything that the writer has besides its three methods.
func opaque(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	})
}

// everyStack runs a test for every protocol and every way to guard a handler.
func everyStack(t *testing.T, protocols []string, test func(t *testing.T, protocol string, s stack)) {
	t.Helper()
	for _, protocol := range protocols {
		for _, s := range stacks {
			t.Run(protocol+"/"+s.name, func(t *testing.T) { test(t, protocol, s) })
		}
	}
}

// interfaces tells which optional interfaces a type assertion finds.
func interfaces(w http.ResponseWriter) string {
	_, flush := w.(http.Flusher)
	_, hijack := w.(http.Hijacker)
	_, push := w.(http.Pusher)
	return fmt.Sprintf("Flusher: %t, Hijacker: %t, Pusher: %t", flush, hijack, push)
}

func TestGuarantee9TransparentInterfaces(t *testing.T) {
	over := func(protocol string) func(*testing.T, http.Handler) {
		return func(t *testing.T, h http.Handler) {
			t.Helper()
			require.NoError(t, fetch(t, serveOn(t, protocol, h), http.MethodGet, "/", "").err)
		}
	}
	with := func(w http.ResponseWriter) func(*testing.T, http.Handler) {
		return func(t *testing.T, h http.Handler) {
			t.Helper()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		}
	}
	for _, server := range []struct {
		name string
		run  func(*testing.T, http.Handler)
	}{
		{"HTTP/1.1", over("HTTP/1.1")},
		{"HTTP/2.0", over("HTTP/2.0")},
		{"httptest.ResponseRecorder", with(httptest.NewRecorder())},
		{"minimal", with(minimal{})},
		{"http.TimeoutHandler", func(t *testing.T, h http.Handler) {
			t.Helper()
			over("HTTP/1.1")(t, http.TimeoutHandler(h, time.Hour, ""))
		}},
	} {
		for _, s := range stacks {
			t.Run(server.name+"/"+s.name, func(t *testing.T) {
				var bare, guarded string
				server.run(t, s.bare(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { bare = interfaces(w) })))
				server.run(t, s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					guarded = interfaces(w)
					assert.Implements(t, (*io.ReaderFrom)(nil), w)
					assert.Implements(t, (*io.StringWriter)(nil), w)
				})))
				require.Equal(t, bare, guarded)
			})
		}
	}
}

// minimal is a ResponseWriter with nothing optional.
type minimal struct{}

func (minimal) Header() http.Header         { return make(http.Header) }
func (minimal) Write(b []byte) (int, error) { return len(b), nil }
func (minimal) WriteHeader(int)             {}

// An optional is each of the optional interfaces of a writer, and counts calls.
type optional struct{ flushed, hijacked, pushed, readFrom, wroteString int }

var errHijack, errPush = errors.New("no connection"), errors.New("no push")

func (o *optional) Flush() { o.flushed++ }

func (o *optional) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	o.hijacked++
	return nil, nil, errHijack
}

func (o *optional) Push(target string, opts *http.PushOptions) error {
	if target == "/style.css" && opts.Method == http.MethodGet {
		o.pushed++
	}
	return errPush
}

func (o *optional) ReadFrom(src io.Reader) (int64, error) {
	o.readFrom++
	return io.Copy(io.Discard, src)
}

func (o *optional) WriteString(s string) (int, error) {
	o.wroteString++
	return len(s), nil
}

// Each of the optional interfaces is found just where the writer below has it,
// in every combination, and calls get through.
func TestGuarantee9TransparentCombinations(t *testing.T) {
	for set := range 8 {
		o := &optional{}
		w := [8]http.ResponseWriter{
			minimal{},
			struct {
				minimal
				http.Flusher
			}{minimal{}, o},
			struct {
				minimal
				http.Hijacker
			}{minimal{}, o},
			struct {
				minimal
				http.Flusher
				http.Hijacker
			}{minimal{}, o, o},
			struct {
				minimal
				http.Pusher
			}{minimal{}, o},
			struct {
				minimal
				http.Flusher
				http.Pusher
			}{minimal{}, o, o},
			struct {
				minimal
				http.Hijacker
				http.Pusher
			}{minimal{}, o, o},
			struct {
				minimal
				http.Flusher
				http.Hijacker
				http.Pusher
			}{minimal{}, o, o, o},
		}[set]
		want := [3]int{set & 1, set >> 1 & 1, set >> 2 & 1} // of Flush, Hijack and Push
		for _, s := range stacks[:4] {
			t.Run(interfaces(w)+"/"+s.name, func(t *testing.T) {
				*o = optional{}
				s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if f, ok := w.(http.Flusher); ok {
						f.Flush()
					}
					if p, ok := w.(http.Pusher); ok {
						assert.ErrorIs(t, p.Push("/style.css", &http.PushOptions{Method: http.MethodGet}), errPush)
					}
					if h, ok := w.(http.Hijacker); ok {
						_, _, err := h.Hijack()
						assert.ErrorIs(t, err, errHijack)
					}
				})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				require.Equal(t, want, [3]int{o.flushed, o.hijacked, o.pushed})

				*o = optional{}
				var flush, hijack error
				s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					c := http.NewResponseController(w)
					flush = c.Flush()
					_, _, hijack = c.Hijack()
				})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				require.Equal(t, [2]int{want[0], want[1]}, [2]int{o.flushed, o.hijacked})
				require.Equal(t, want[0] == 0, errors.Is(flush, http.ErrNotSupported), "Flush: %v", flush)
				require.Equal(t, want[1] == 0, errors.Is(hijack, http.ErrNotSupported), "Hijack: %v", hijack)
			})
		}
	}
}

// What the handler does, and what it is told, must not depend on the guard, nor
// what the client sees of it.
func TestGuarantee9TransparentResponses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	require.NoError(t, os.WriteFile(file, []byte("<!DOCTYPE html>"+strings.Repeat("0123456789", 1e4)), 0o600))
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	exchanges := []struct {
		name   string
		handle func(w http.ResponseWriter, r *http.Request, see func(...any))
	}{
		{"nothing", func(http.ResponseWriter, *http.Request, func(...any)) {}},
		{"an empty write", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			see(w.Write(nil))
			w.WriteHeader(http.StatusTeapot)
		}},
		{"header fields", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header()["X-Several"] = []string{"a", "b"}
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("X-Late", "yes")
			see(w.Header())
		}},
		{"a body that is not allowed", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.WriteHeader(http.StatusNoContent)
			see(w.Write([]byte("x")))
			see(io.WriteString(w, "x"))
			see(io.Copy(w, onlyReader{strings.NewReader("x")}))
		}},
		{"not modified", func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		}},
		{"a superfluous header", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.WriteHeader(http.StatusNotFound)
			w.WriteHeader(http.StatusOK)
			see(io.WriteString(w, "not here"))
		}},
		{"a sniffed type", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			see(w.Write([]byte("<html><body>hello</body></html>")))
		}},
		{"a length", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header().Set("Content-Length", "5")
			see(io.WriteString(w, "hello"))
		}},
		{"more than the length", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header().Set("Content-Length", "3")
			see(io.WriteString(w, "hello"))
			see(io.Copy(w, onlyReader{strings.NewReader("hello")}))
		}},
		{"less than the length", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header().Set("Content-Length", "9")
			see(io.WriteString(w, "hello"))
		}},
		{"flushes", func(w http.ResponseWriter, r *http.Request, see func(...any)) {
			if r.Method == http.MethodHead {
				see = func(...any) {} // the client may be content already
			}
			c := http.NewResponseController(w)
			see(c.Flush())
			w.WriteHeader(http.StatusTeapot)
			see(io.WriteString(w, "a"))
			see(c.Flush())
			see(io.WriteString(w, "b"))
		}},
		{"declared trailers", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header().Set("Trailer", "X-Sum")
			see(io.WriteString(w, "hello"))
			w.Header().Set("X-Sum", "5")
		}},
		{"other trailers", func(w http.ResponseWriter, r *http.Request, see func(...any)) {
			if r.Method == http.MethodHead {
				see = func(...any) {}
			}
			see(io.WriteString(w, "hello"))
			see(http.NewResponseController(w).Flush())
			w.Header().Set(http.TrailerPrefix+"X-Sum", "5")
		}},
		{"an error in plain text", func(w http.ResponseWriter, r *http.Request, _ func(...any)) { http.NotFound(w, r) }},
		{"a redirection", func(w http.ResponseWriter, r *http.Request, _ func(...any)) {
			http.Redirect(w, r, "/elsewhere", http.StatusNotModified)
		}},
		{"a file", func(w http.ResponseWriter, r *http.Request, _ func(...any)) { http.ServeFile(w, r, file) }},
		{"a part of a file", func(w http.ResponseWriter, r *http.Request, _ func(...any)) {
			r.Header.Set("Range", "bytes=10-70000")
			http.ServeFile(w, r, file)
		}},
		{"a large body", func(w http.ResponseWriter, _ *http.Request, see func(...any)) { see(io.WriteString(w, big)) }},
		{"a large body, copied", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			see(io.Copy(w, onlyReader{strings.NewReader(big)}))
		}},
		{"the request's body", func(w http.ResponseWriter, r *http.Request, see func(...any)) { see(io.Copy(w, r.Body)) }},
		{"empty sources", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			see(io.Copy(w, onlyReader{strings.NewReader("")}))
			see(io.Copy(w, onlyReader{io.MultiReader(failing{})}))
			w.WriteHeader(http.StatusTeapot) // it is not too late
			see(io.Copy(w, onlyReader{strings.NewReader("")}))
		}},
		{"early hints", func(w http.ResponseWriter, _ *http.Request, see func(...any)) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Link", "</b.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusEarlyHints) // too late
			see(io.WriteString(w, "done"))
		}},
	}
	everyStack(t, protocols, func(t *testing.T, protocol string, s stack) {
		t.Helper()
		serve := func(m middleware) (server *httptest.Server, seen chan string) {
			seen = make(chan string, 1)
			return serveOn(t, protocol, m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x, err := strconv.Atoi(r.Header.Get("Exchange"))
				assert.NoError(t, err)
				var b strings.Builder
				exchanges[x].handle(w, r, func(values ...any) { fmt.Fprintln(&b, values...) })
				seen <- b.String()
			}))), seen
		}
		bareServer, wasTold := serve(s.bare)
		guardedServer, isTold := serve(s.guarded(t))
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			for x := range exchanges {
				t.Run(method+"/"+exchanges[x].name, func(t *testing.T) {
					exchange := func(server *httptest.Server) reply {
						got := fetch(t, server, method, "/page.html", "ping", "Exchange", strconv.Itoa(x))
						got.header.Del("Date")
						got.reused = false
						return got
					}
					bare, guarded := exchange(bareServer), exchange(guardedServer)
					require.Equal(t, <-wasTold, <-isTold, "what the handler is told")
					require.Equal(t, sha256.Sum256([]byte(bare.body)), sha256.Sum256([]byte(guarded.body)), "%d bytes, then %d", len(bare.body), len(guarded.body))
					if bare.err != nil && guarded.err != nil { // an error may name an address
						bare.err, guarded.err = nil, nil
					}
					require.Equal(t, bare, guarded)
				})
			}
		}
	})
}

// onlyReader hides WriteTo, so that io.Copy asks the writer for ReadFrom.
type onlyReader struct{ io.Reader }

// failing is a source that fails after what it has said.
type failing struct{ said *strings.Reader }

var errSource = errors.New("the source failed")

func (f failing) Read(b []byte) (int, error) {
	if f.said != nil && f.said.Len() > 0 {
		return f.said.Read(b)
	}
	return 0, errSource
}
