package guard_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

func TestGuarantee9TransparentResponseController(t *testing.T) {
	everyStack(t, protocols, func(t *testing.T, protocol string, s stack) {
		t.Helper()
		controls := func(m middleware) (told []bool) {
			s := serveOn(t, protocol, m(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c := http.NewResponseController(w)
				for _, err := range []error{
					c.EnableFullDuplex(), c.SetReadDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Now().Add(time.Hour)), c.Flush(),
				} {
					told = append(told, err == nil)
				}
			})))
			require.NoError(t, fetch(t, s, http.MethodGet, "/", "").err)
			return told
		}
		require.Equal(t, controls(s.bare), controls(s.guarded(t)))
	})
	for _, protocol := range protocols {
		for _, s := range stacks[:5] {
			t.Run(protocol+"/"+s.name+"/deadlines", func(t *testing.T) {
				read := make(chan error, 1)
				body, more := io.Pipe() // ends only when the server has given up
				server := serveOn(t, protocol, s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c := http.NewResponseController(w)
					if r.Method == http.MethodPost {
						assert.NoError(t, c.SetReadDeadline(time.Now()))
						_, err := io.Copy(io.Discard, r.Body)
						more.Close()
						read <- err
						return
					}
					assert.NoError(t, c.SetWriteDeadline(time.Unix(1, 0)))
					_, _ = io.WriteString(w, "too late")
				})))
				require.Error(t, fetch(t, server, http.MethodGet, "/", "").err, "a response after the write deadline")
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				require.NoError(t, err)
				if resp, err := server.Client().Do(r); err == nil {
					resp.Body.Close()
				}
				require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
			})
			t.Run(protocol+"/"+s.name+"/full duplex", func(t *testing.T) {
				h := s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c := http.NewResponseController(w)
					_ = c.EnableFullDuplex() // HTTP/2 is, and says that it is not supported
					assert.NoError(t, c.Flush())
					for lines := bufio.NewScanner(r.Body); lines.Scan(); {
						fmt.Fprintln(w, lines.Text())
						assert.NoError(t, c.Flush())
					}
				}))
				body, more := io.Pipe()
				server := serveOn(t, protocol, h)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				require.NoError(t, err)
				resp, err := server.Client().Do(r)
				require.NoError(t, err)
				defer resp.Body.Close()
				echo := bufio.NewReader(resp.Body)
				for i := range 3 {
					fmt.Fprintln(more, i)
					line, err := echo.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintln(i), line)
				}
				more.Close()
				_, err = echo.ReadByte()
				require.ErrorIs(t, err, io.EOF)
			})
		}
	}
}

// A header of 1xx is not the response: there is still room for an error.
func TestGuarantee9TransparentInformational(t *testing.T) {
	for _, protocol := range protocols {
		for _, status := range []int{http.StatusContinue, http.StatusProcessing, http.StatusEarlyHints, 199} {
			t.Run(fmt.Sprint(protocol, " ", status), func(t *testing.T) {
				h := newGuard(t, guard.Config{}).HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
					w.WriteHeader(status)
					return guard.Forbidden("Not you.")
				})
				got := fetch(t, serveOn(t, protocol, h), http.MethodGet, "/", "")
				require.NoError(t, got.err)
				require.Equal(t, http.StatusForbidden, got.status)
				require.Contains(t, got.body, "Not you.")
				if status != http.StatusContinue { // which clients keep to themselves
					require.Equal(t, []string{fmt.Sprint(status, " ")}, got.early)
				}
			})
		}
		t.Run(protocol+" Expect", func(t *testing.T) {
			h := newGuard(t, guard.Config{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
			server := serveOn(t, protocol, h)
			server.Client().Transport.(*http.Transport).ExpectContinueTimeout = time.Hour // the body goes out for a 100 only
			got := fetch(t, server, http.MethodPost, "/", "ping", "Expect", "100-continue")
			require.NoError(t, got.err)
			require.Equal(t, "ping", got.body)
		})
	}
}

// upgradable echoes lines on a connection that it takes over, as a WebSocket would.
func upgradable(t *testing.T, hijack func(http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := hijack(w)
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n\x00hello\n")
		for err = rw.Flush(); err == nil; err = rw.Flush() {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = rw.WriteString("\xff" + line)
		}
	})
}

// requireEcho upgrades a connection and sends lines both ways.
func requireEcho(t *testing.T, server *httptest.Server) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "lines")
	resp, err := server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	lines := bufio.NewReader(resp.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "\x00hello\n", line)
	for i := range 3 {
		_, err = fmt.Fprintln(resp.Body.(io.Writer), i)
		require.NoError(t, err)
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("\xff%d\n", i), line)
	}
}

func TestGuarantee9TransparentUpgrade(t *testing.T) {
	assertion := func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) { return w.(http.Hijacker).Hijack() }
	controller := func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
		return http.NewResponseController(w).Hijack()
	}
	for _, s := range stacks[:4] {
		t.Run(s.name+"/by assertion", func(t *testing.T) {
			requireEcho(t, serveOn(t, "HTTP/1.1", s.guarded(t)(upgradable(t, assertion))))
		})
	}
	for _, s := range stacks[:5] {
		t.Run(s.name+"/by ResponseController", func(t *testing.T) {
			requireEcho(t, serveOn(t, "HTTP/1.1", s.guarded(t)(upgradable(t, controller))))
		})
		t.Run(s.name+"/through a proxy", func(t *testing.T) {
			backend, err := url.Parse(serveOn(t, "HTTP/1.1", s.guarded(t)(upgradable(t, controller))).URL)
			require.NoError(t, err)
			proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(backend) }}
			requireEcho(t, serveOn(t, "HTTP/1.1", s.guarded(t)(proxy)))
		})
	}
}

// The server sends event n+1 only after the client has read event n.
func TestGuarantee9TransparentServerSentEvents(t *testing.T) {
	everyStack(t, protocols, func(t *testing.T, protocol string, s stack) {
		t.Helper()
		if s.name == "a middleware without Unwrap between" {
			t.Skip("nothing can be flushed through it, with or without a guard")
		}
		read := make(chan struct{})
		server := serveOn(t, protocol, s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 10 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				if f, ok := w.(http.Flusher); ok && i%2 == 0 {
					f.Flush()
				} else {
					assert.NoError(t, http.NewResponseController(w).Flush())
				}
				select {
				case <-read:
				case <-r.Context().Done():
					return
				}
			}
		})))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		resp, err := server.Client().Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		events := bufio.NewReader(resp.Body)
		for i := range 10 {
			event, err := events.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "data: "+strconv.Itoa(i)+"\n", event)
			_, err = events.Discard(1)
			require.NoError(t, err)
			read <- struct{}{}
		}
		_, err = events.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
}

// A file is handed to the ReadFrom of the writer below, which is how the kernel
// comes to send it.
func TestGuarantee9TransparentReaderFrom(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, make([]byte, 1<<14), 0o600))
	for _, s := range stacks[:4] {
		t.Run(s.name, func(t *testing.T) {
			var told []any
			h := s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				file, err := os.Open(name)
				assert.NoError(t, err)
				defer file.Close()
				n, err := io.Copy(w, file)
				told = []any{n, err}
			}))
			o := &optional{}
			h.ServeHTTP(struct {
				minimal
				*optional
			}{minimal{}, o}, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, []any{int64(1 << 14), nil}, told)
			require.Equal(t, optional{readFrom: 1}, *o)

			w := httptest.NewRecorder() // which has none
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, []any{int64(1 << 14), nil}, told)
			require.Equal(t, 1<<14, w.Body.Len())
		})
	}
}

func TestGuarantee9TransparentWriteString(t *testing.T) {
	for _, s := range stacks[:4] {
		o := &optional{}
		s.guarded(t)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			n, err := io.WriteString(w, "hello")
			assert.NoError(t, err)
			assert.Equal(t, 5, n)
		})).ServeHTTP(struct {
			minimal
			*optional
		}{minimal{}, o}, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, 1, o.wroteString, s.name)
	}
}

// What sends nothing leaves room for the error; what sends anything does not.
func TestGuarantee5NothingSentYet(t *testing.T) {
	for _, test := range []struct {
		name  string
		begin func(w http.ResponseWriter) error
		room  bool
	}{
		{"an empty source", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{strings.NewReader("")})
			return errors.Join(err, errSource)
		}, true},
		{"a failing source", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{failing{}})
			return err
		}, true},
		{"a source that fails with an error around io.EOF", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{&once{"", &url.Error{Op: "Get", Err: io.EOF}}})
			return err
		}, true},
		{"a source that fails along with its last byte", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{&once{"hello", errSource}})
			return err
		}, false},
		{"a panicking source", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{panicking{}})
			return err
		}, true},
		{"a source that fails late", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{failing{strings.NewReader("hello")}})
			return err
		}, false},
		{"a source longer than the length", func(w http.ResponseWriter) error {
			w.Header().Set("Content-Length", "0")
			_, err := io.Copy(w, onlyReader{strings.NewReader("hello")})
			return err
		}, false},
		{"an empty source after a header", func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusOK)
			_, err := io.Copy(w, onlyReader{strings.NewReader("")})
			return errors.Join(err, errSource)
		}, false},
		{"an empty write", func(w http.ResponseWriter) error {
			_, err := w.Write(nil)
			return errors.Join(err, errSource)
		}, false},
		{"an empty string", func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, "")
			return errors.Join(err, errSource)
		}, false},
		{"a flush", func(w http.ResponseWriter) error {
			w.(http.Flusher).Flush()
			return errSource
		}, false},
		{"a superfluous header", func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusInternalServerError)
			return errSource
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			everyStack(t, protocols, func(t *testing.T, protocol string, s stack) {
				t.Helper()
				if strings.Contains(s.name, "between") {
					t.Skip("its writer has no Flush")
				}
				h := s.guarded(t)(newGuard(t, guard.Config{}).HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { return test.begin(w) }))
				got := fetch(t, serveOn(t, protocol, h), http.MethodGet, "/", "")
				if test.room {
					require.NoError(t, got.err)
					require.Equal(t, http.StatusInternalServerError, got.status)
					require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
				} else {
					require.Error(t, got.err, "the connection must be aborted")
					require.NotContains(t, got.body, "about:blank")
				}
			})
		})
	}
}

// once is a source that says something and fails in one call, and then ends.
type once struct {
	said string
	err  error
}

func (o *once) Read(b []byte) (n int, err error) {
	n, err = copy(b, o.said), o.err
	o.said, o.err = "", io.EOF
	return n, err
}

// panicking is a source that panics.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("no source") }

// A flush and a hijack that are not supported have sent nothing either.
func TestGuarantee5UnsupportedLeavesRoom(t *testing.T) {
	for name, handle := range map[string]guard.HandlerFunc{
		"flush": func(w http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(w).Flush() },
		"hijack": func(w http.ResponseWriter, _ *http.Request) error {
			_, _, err := w.(http.Hijacker).Hijack()
			return err
		},
	} {
		w := httptest.NewRecorder()
		newGuard(t, guard.Config{}).HandlerFunc(handle).ServeHTTP(struct {
			http.ResponseWriter
			http.Hijacker
		}{w, &optional{}}, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusInternalServerError, w.Code, name)
	}
}

// A handler that keeps its writer, and writes after it has returned, must not
// reach the response of another request.
func TestGuarantee11LateWriteReachesNobodyElse(t *testing.T) {
	var late []http.ResponseWriter
	h := newGuard(t, guard.Config{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		late = append(late, w)
		_, _ = io.WriteString(w, "mine")
		for _, w := range late[:len(late)-1] {
			_, _ = io.WriteString(w, "yours")
			w.Header().Set("X-Late", "yes")
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	for range 100 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, "mine", w.Body.String())
		require.Equal(t, http.StatusOK, w.Code)
		require.Empty(t, bytes.TrimSpace([]byte(w.Header().Get("X-Late"))))
	}
}
