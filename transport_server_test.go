package guard_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// through makes the client of a server send through the dependency's Transport.
func through(u *upstream, server *httptest.Server) *http.Client {
	c := server.Client()
	c.Transport = u.Transport(c.Transport)
	return c
}

func eachProtocol(t *testing.T, test func(t *testing.T, protocol string)) {
	t.Helper()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { test(t, protocol) })
	}
}

// hang keeps a request until its client is gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// What is answered arrives as it was sent, and connections are used again.
func TestTransportOfAServer(t *testing.T) {
	text := string(random(200_000))
	mux := http.NewServeMux()
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Sum")
		_, _ = io.WriteString(w, text)
		w.Header().Set("Sum", "42")
	})
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/204", noContent)
	mux.HandleFunc("/304", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/503", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) })
	mux.Handle("/moved", http.RedirectHandler("/echo", http.StatusPermanentRedirect))
	for name, c := range map[string]guard.DependencyConfig{
		"":             {},
		" without end": {Timeout: guard.NoTimeout},
		" peeked":      {ClassifyBody: func(*http.Response, []byte) guard.Outcome { return 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, protocol string) {
				bare := serveOn(t, protocol, mux)
				server := serveOn(t, protocol, mux)
				c.MinCalls = 1000
				u := newUpstream(t, c)
				through(u, server)
				for i, test := range []struct {
					method, path, body string
					outcomes           []guard.Outcome
				}{
					{http.MethodGet, "/text", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodHead, "/text", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodGet, "/empty", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodGet, "/204", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodGet, "/304", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodGet, "/early", "", []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodPost, "/echo", text, []guard.Outcome{guard.OutcomeSucceeded}},
					{http.MethodGet, "/503", "", []guard.Outcome{guard.OutcomeFailed}},
					{http.MethodHead, "/503", "", []guard.Outcome{guard.OutcomeFailed}},
					{http.MethodGet, "/nowhere", "", []guard.Outcome{guard.OutcomeAnswered}},
					{http.MethodPost, "/moved", "again", []guard.Outcome{guard.OutcomeSucceeded, guard.OutcomeSucceeded}},
				} {
					want := fetch(t, bare, test.method, test.path, test.body)
					got := fetch(t, server, test.method, test.path, test.body)
					require.NoError(t, got.err)
					want.header.Del("Date")
					got.header.Del("Date")
					require.Equal(t, i > 0, got.reused, test.path)
					got.reused = want.reused
					require.Equal(t, want, got, "%s %s", test.method, test.path)
					for _, o := range test.outcomes {
						require.Equal(t, o.String(), u.next(t).Outcome.String(), "%s %s", test.method, test.path)
					}
					u.requireQuiet(t)
				}
			})
		})
	}
}

// ClassifyBody sees what a reader of the body would.
func TestTransportClassifyBodyOfAServer(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	eachProtocol(t, func(t *testing.T, protocol string) {
		server := serveOn(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/204" {
				w.WriteHeader(http.StatusNoContent)
			}
			if r.URL.Path != "/long" {
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, long)
			_ = z.Close()
		}))
		var head []byte
		asked := 0
		u := newUpstream(t, guard.DependencyConfig{ClassifyBody: func(_ *http.Response, b []byte) guard.Outcome {
			asked++
			head = b
			return guard.OutcomeFailed
		}, MinCalls: 100})
		client := through(u, server)
		for i, test := range []struct {
			method, path, accept, want string
		}{
			{http.MethodGet, "/long", "", long},
			{http.MethodGet, "/long", "gzip", "\x1f\x8b"}, // who asks for it gets it as it is
			{http.MethodHead, "/long", "", ""},
			{http.MethodGet, "/204", "", ""},
			{http.MethodGet, "/empty", "", ""},
		} {
			r, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, nil)
			require.NoError(t, err)
			if test.accept != "" {
				r.Header.Set("Accept-Encoding", test.accept)
			}
			resp, err := client.Do(r)
			require.NoError(t, err)
			require.Equal(t, i+1, asked)
			require.Equal(t, min(len(test.want), peeked), min(len(head), max(len(test.want), 0), peeked), test.path)
			require.Error(t, u.CheckResponse(resp), "%s %s", test.method, test.path)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(text), test.want))
			require.True(t, strings.HasPrefix(string(text), string(head)))
			require.NoError(t, resp.Body.Close())
			u.requireCall(t, guard.OutcomeFailed)
		}
	})
}

// A dying upstream fails calls, and what the caller gets tells.
func TestTransportOfADyingServer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		for name, h := range map[string]http.HandlerFunc{
			"resets": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"resets midway": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "10")
				_, _ = io.WriteString(w, "01234")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			"refuses": nil,
			"hangs":   hang,
		} {
			t.Run(name, func(t *testing.T) {
				c := guard.DependencyConfig{}
				if name == "hangs" {
					c.Timeout = time.Millisecond
				}
				u := newUpstream(t, c)
				server := serveOn(t, protocol, h)
				client := through(u, server)
				if h == nil {
					server.Close()
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
				require.NoError(t, err)
				resp, err := client.Do(r)
				if name == "resets midway" {
					require.NoError(t, err)
					_, err = io.ReadAll(resp.Body)
					require.NoError(t, resp.Body.Close())
				}
				requireAnswer(t, u.guard, newRequest(), err, http.StatusBadGateway, "dependency-failed")
				u.requireCall(t, guard.OutcomeFailed)
				require.Equal(t, name == "hangs", errors.Is(err, guard.ErrTimeout))
				require.NotErrorIs(t, err, context.Canceled)
			})
		}
	})
}

// Who hangs up is not counted, and the server hears of it.
func TestTransportGuarantee6OfAServer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprint("begun ", begun), func(t *testing.T) {
				came, left := make(chan struct{}), make(chan struct{})
				server := serveOn(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if begun {
						_ = http.NewResponseController(w).Flush()
					}
					close(came)
					<-r.Context().Done()
					close(left)
				}))
				u := newUpstream(t, guard.DependencyConfig{Timeout: time.Hour})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				go func() {
					<-came
					if !begun {
						cancel(errSource)
					}
				}()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
				require.NoError(t, err)
				resp, err := through(u, server).Do(r)
				require.Equal(t, begun, err == nil)
				if begun {
					<-came
					cancel(errSource)
					_, err = io.ReadAll(resp.Body)
					require.Error(t, err)
					require.NoError(t, resp.Body.Close())
				}
				u.requireCall(t, guard.OutcomeIgnored)
				<-left
			})
		}
	})
}

// Whose fault it is that a request could not be sent.
func TestTransportRequestBodyToAServer(t *testing.T) {
	text := strings.Repeat("0123456789", 10)
	endless := func() io.Reader {
		in, out := io.Pipe()
		t.Cleanup(func() { _ = out.Close() })
		go func() {
			for {
				if _, err := io.WriteString(out, text); err != nil {
					return
				}
			}
		}()
		return in
	}
	dies := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	swallows := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		hang(w, r)
	}
	for name, test := range map[string]struct {
		body   func() io.Reader
		length int64
		server http.HandlerFunc
		want   guard.Outcome
	}{
		"too short":    {func() io.Reader { return strings.NewReader(text) }, 101, swallows, guard.OutcomeIgnored},
		"too long":     {func() io.Reader { return strings.NewReader(text) }, 99, swallows, guard.OutcomeIgnored},
		"fails":        {func() io.Reader { return iotest.ErrReader(errSource) }, -1, swallows, guard.OutcomeIgnored},
		"fails midway": {func() io.Reader { return io.MultiReader(strings.NewReader(text), iotest.ErrReader(errSource)) }, -1, swallows, guard.OutcomeIgnored},
		"server dies":  {endless, -1, dies, guard.OutcomeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, protocol string) {
				u := newUpstream(t, guard.DependencyConfig{})
				server := serveOn(t, protocol, test.server)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, test.body())
				require.NoError(t, err)
				r.ContentLength = test.length
				resp, err := through(u, server).Do(r)
				require.Nil(t, resp)
				require.Error(t, err)
				u.requireCall(t, test.want)
			})
		})
	}
}

// Over HTTP/2 the two bodies go on at once. A request's that fails then is the
// caller's own fault still.
func TestTransportBothWays(t *testing.T) {
	server := serveOn(t, "HTTP/2.0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		for b := make([]byte, 100); ; {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	}))
	u := newUpstream(t, guard.DependencyConfig{})
	in, out := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, in)
	require.NoError(t, err)
	resp, err := through(u, server).Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	b := make([]byte, 100)
	for range 3 {
		_, err = io.WriteString(out, "ping")
		require.NoError(t, err)
		n, err := io.ReadFull(resp.Body, b[:4])
		require.NoError(t, err)
		require.Equal(t, "ping", string(b[:n]))
	}
	require.NoError(t, out.CloseWithError(errSource))
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err)
	u.requireCall(t, guard.OutcomeIgnored)
}

// What an abandoned body holds at the server is given back, too.
func TestTransportForgottenByAServer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		left := make(chan struct{})
		server := serveOn(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(left)
		}))
		u := newUpstream(t, guard.DependencyConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		require.NoError(t, err)
		resp, err := through(u, server).Do(r)
		require.NoError(t, err)
		require.NotNil(t, resp)
		require.EqualValues(t, 1, u.snapshot().InFlight)
		cancel()
		u.requireCall(t, guard.OutcomeIgnored)
		<-left
	})
}

// Without a base it is the DefaultTransport that sends.
func TestTransportOfNoBase(t *testing.T) {
	var served atomic.Int32
	server := serveOn(t, "HTTP/1.1", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	u := newUpstream(t, guard.DependencyConfig{})
	client := &http.Client{Transport: u.Transport(nil)}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	require.NoError(t, err)
	resp, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.EqualValues(t, 1, served.Load())
	u.requireCall(t, guard.OutcomeSucceeded)
	client.CloseIdleConnections()
}

// An upgraded connection speaks both ways, and its call is over.
func TestTransportUpgrade(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"Timeout": 0, "no Timeout": guard.NoTimeout} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
			server := serveOn(t, "HTTP/1.1", upgradable(t, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
				return http.NewResponseController(w).Hijack()
			}))
			through(u, server)
			requireEcho(t, server)
			u.requireCall(t, guard.OutcomeSucceeded)
		})
	}
}
