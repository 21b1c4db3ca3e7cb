package guard_test

import (
	"bufio"
	"bytes"
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
