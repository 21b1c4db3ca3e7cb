package guard_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// proxyTo serves a guarded reverse proxy to a server.
func proxyTo(tb testing.TB, u *upstream, protocol string, to *httptest.Server) *httptest.Server {
	tb.Helper()
	return serveOn(tb, protocol, u.guard.Handler(newProxy(tb, u, to)))
}

func newProxy(tb testing.TB, u *upstream, to *httptest.Server) *httputil.ReverseProxy {
	tb.Helper()
	target, err := url.Parse(to.URL)
	require.NoError(tb, err)
	return &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      u.Transport(to.Client().Transport),
		ModifyResponse: u.CheckResponse,
		ErrorHandler:   u.guard.WriteError,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
}

// eachHop runs a test for every protocol on either side of a proxy.
func eachHop(t *testing.T, test func(t *testing.T, front, back string)) {
	t.Helper()
	for _, front := range protocols {
		for _, back := range protocols {
			t.Run(front+" to "+back, func(t *testing.T) { test(t, front, back) })
		}
	}
}

// A proxy answers for a dying upstream with 502, tells nothing of what that
// said, and when to come back if it did.
func TestProxyOfADyingUpstream(t *testing.T) {
	const secret = "what the upstream says"
	fails := func(status int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.Header().Set("Set-Cookie", "session="+secret)
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Encoding", "br")
			http.Error(w, secret, status)
		}
	}
	for name, test := range map[string]struct {
		upstream http.HandlerFunc // nil: there is none
		status   int              // that the client gets; 0: the connection breaks
		retry    string
		want     guard.Outcome
	}{
		"refuses connections": {nil, 502, "", guard.OutcomeFailed},
		"resets":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "", guard.OutcomeFailed},
		"resets midway": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, strings.Repeat("x", 50_000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 0, "", guard.OutcomeFailed},
		"hangs":               {hang, 502, "", guard.OutcomeFailed},
		"503":                 {fails(503, "Retry-After", "7"), 502, "7", guard.OutcomeFailed},
		"503, no Retry-After": {fails(503), 502, "", guard.OutcomeFailed},
		"503, absurd":         {fails(503, "Retry-After", "99999999999999999999"), 502, "60", guard.OutcomeFailed},
		"503, junk":           {fails(503, "Retry-After", "-7"), 502, "", guard.OutcomeFailed},
		"429":                 {fails(429, "Retry-After", "7"), 502, "7", guard.OutcomeAnswered},
		"500":                 {fails(500), 502, "", guard.OutcomeFailed},
		"501":                 {fails(501), 501, "", guard.OutcomeAnswered},
		"404":                 {fails(404), 404, "", guard.OutcomeAnswered},
	} {
		t.Run(name, func(t *testing.T) {
			eachHop(t, func(t *testing.T, front, back string) {
				c := guard.DependencyConfig{}
				if name == "hangs" {
					c.Timeout = time.Millisecond
				}
				u := newUpstream(t, c)
				server := serveOn(t, back, test.upstream)
				proxy := proxyTo(t, u, front, server)
				if test.upstream == nil {
					server.Close()
				}
				got := fetch(t, proxy, http.MethodGet, "/", "", "Accept", asJSON)
				if test.status == 0 {
					require.Equal(t, http.StatusOK, got.status)
					require.Error(t, got.err, "the client must see that it is not whole")
					u.requireCall(t, test.want)
					return
				}
				require.NoError(t, got.err)
				require.Equal(t, test.status, got.status)
				if test.status != http.StatusBadGateway { // none of our business
					require.Contains(t, got.body, secret)
					require.NotEmpty(t, got.header["Set-Cookie"])
					u.requireCall(t, test.want)
					return
				}
				require.Equal(t, "dependency-failed", readJSON(t, got.body).Code)
				require.NotContains(t, fmt.Sprint(got), secret)
				require.Equal(t, test.retry, got.header.Get("Retry-After"))
				require.Empty(t, got.header.Get("ETag")+got.header.Get("Content-Encoding"))
				u.requireCall(t, test.want)
			})
		})
	}
}

// When it has had enough, a proxy leaves the upstream alone, and says when it
// will look again.
func TestProxyOpens(t *testing.T) {
	eachHop(t, func(t *testing.T, front, back string) {
		var served atomic.Int32
		u := newUpstream(t, guard.DependencyConfig{MinCalls: 3, OpenFor: time.Hour, MaxOpenFor: time.Hour})
		proxy := proxyTo(t, u, front, serveOn(t, back, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		})))
		for i := range 10 {
			got := fetch(t, proxy, http.MethodPost, "/", "the body", "Accept", asJSON)
			require.NoError(t, got.err)
			require.Equal(t, http.StatusBadGateway, got.status)
			want := "dependency-failed"
			if i >= 3 {
				want = "dependency-open"
			}
			require.Equal(t, want, readJSON(t, got.body).Code)
			if i >= 2 { // the failure that opens it knows, too
				require.InDelta(t, 3600, atoi(got.header.Get("Retry-After")), 400)
			}
		}
		require.EqualValues(t, 3, served.Load())
	})
}

// After a 429 a proxy leaves the upstream alone for as long as it has asked for.
func TestProxyPauses(t *testing.T) {
	eachHop(t, func(t *testing.T, front, back string) {
		var served atomic.Int32
		u := newUpstream(t, guard.DependencyConfig{PauseOn429: true})
		proxy := proxyTo(t, u, front, serveOn(t, back, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served.Add(1)
			w.Header().Set("Retry-After", "50")
			w.WriteHeader(http.StatusTooManyRequests)
		})))
		for i := range 3 {
			got := fetch(t, proxy, http.MethodGet, "/", "", "Accept", asJSON)
			require.NoError(t, got.err)
			require.Equal(t, http.StatusBadGateway, got.status)
			require.Equal(t, map[bool]string{true: "dependency-failed", false: "dependency-open"}[i == 0], readJSON(t, got.body).Code)
			require.InDelta(t, 50, atoi(got.header.Get("Retry-After")), 10)
		}
		require.EqualValues(t, 1, served.Load())
		require.EqualValues(t, 2, u.snapshot().Counts.Throttled)
		require.Zero(t, u.snapshot().Counts.Failed)
	})
}

// A client that goes is not the upstream's failure, wherever it is then.
func TestProxyClientGone(t *testing.T) {
	eachHop(t, func(t *testing.T, front, back string) {
		for _, where := range []string{"waiting", "reading", "sending"} {
			t.Run(where, func(t *testing.T) {
				came, left := make(chan struct{}), make(chan struct{})
				u := newUpstream(t, guard.DependencyConfig{Timeout: time.Hour})
				proxy := proxyTo(t, u, front, serveOn(t, back, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if where == "reading" {
						_, _ = io.WriteString(w, "some")
						_ = http.NewResponseController(w).Flush()
					}
					close(came)
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					close(left)
				})))
				in, out := io.Pipe()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL, in)
				require.NoError(t, err)
				if where != "sending" {
					require.NoError(t, out.Close())
				}
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					if resp, err := proxy.Client().Do(r); err == nil {
						_, _ = io.ReadFull(resp.Body, make([]byte, 4))
						_ = resp.Body.Close()
					}
				}()
				if where == "sending" {
					_, err = io.WriteString(out, "some")
					require.NoError(t, err)
				}
				<-came
				switch where {
				case "sending":
					_ = out.CloseWithError(errSource)
				case "waiting":
					proxy.CloseClientConnections()
				}
				<-gone
				<-left
				require.NotEqual(t, guard.OutcomeFailed, u.next(t).Outcome)
				u.requireQuiet(t)
			})
		}
	})
}

// A request that is larger than the proxy takes is the client's fault: 413.
func TestProxyRequestTooLarge(t *testing.T) {
	eachHop(t, func(t *testing.T, front, back string) {
		u := newUpstream(t, guard.DependencyConfig{})
		server := serveOn(t, back, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		}))
		proxy := serveOn(t, front, u.guard.Handler(http.MaxBytesHandler(newProxy(t, u, server), 1000)))
		body := iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 2000))) // of no known length
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL, body)
		require.NoError(t, err)
		resp, err := proxy.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
		u.requireCall(t, guard.OutcomeIgnored)
	})
}

// The upstream sends event n+1 only when the client has event n.
func TestProxyServerSentEvents(t *testing.T) {
	eachHop(t, func(t *testing.T, front, back string) {
		for name, c := range map[string]guard.DependencyConfig{
			"Timeout": {}, "no Timeout": {Timeout: guard.NoTimeout},
			"ClassifyBody": {ClassifyBody: func(*http.Response, []byte) guard.Outcome { panic("asked about a stream") }},
		} {
			t.Run(name, func(t *testing.T) {
				read := make(chan struct{})
				u := newUpstream(t, c)
				proxy := proxyTo(t, u, front, serveOn(t, back, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					for i := range 5 {
						_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
						_ = http.NewResponseController(w).Flush()
						select {
						case <-read:
						case <-r.Context().Done():
							return
						}
					}
				})))
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxy.URL, nil)
				require.NoError(t, err)
				resp, err := proxy.Client().Do(r)
				require.NoError(t, err)
				defer resp.Body.Close()
				events := bufio.NewReader(resp.Body)
				u.requireCall(t, guard.OutcomeSucceeded)
				for i := range 5 {
					event, err := events.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("data: %d\n", i), event)
					_, err = events.Discard(1)
					require.NoError(t, err)
					read <- struct{}{}
				}
				_, err = events.ReadByte()
				require.ErrorIs(t, err, io.EOF)
				u.requireQuiet(t)
			})
		}
	})
}

func TestProxyUpgrade(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"Timeout": 0, "no Timeout": guard.NoTimeout} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{Timeout: timeout})
			proxy := proxyTo(t, u, "HTTP/1.1", serveOn(t, "HTTP/1.1", u.guard.Handler(upgradable(t, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
				return http.NewResponseController(w).Hijack()
			}))))
			requireEcho(t, proxy)
			u.requireCall(t, guard.OutcomeSucceeded)
		})
	}
}

// Who has said all he has to say over an upgraded connection can still listen,
// if he could without the Transport.
func TestProxyUpgradeHalfClosed(t *testing.T) {
	say := func(t *testing.T, u *upstream) (heard string) {
		t.Helper()
		server := serveOn(t, "HTTP/1.1", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
			_ = rw.Flush()
			all, _ := io.ReadAll(rw)
			_, _ = fmt.Fprintf(rw, "you said %s", all)
			_ = rw.Flush()
		}))
		transport := server.Client().Transport
		if u != nil {
			transport = u.Transport(transport)
		}
		target, err := url.Parse(server.URL)
		require.NoError(t, err)
		front := serveOn(t, "HTTP/1.1", newGuard(t, guard.Config{}).Handler(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
		}))
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", front.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		_, err = io.WriteString(conn, "bye")
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		all, err := io.ReadAll(in)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			heard = "cut: "
		}
		return heard + string(all)
	}
	want := say(t, nil)
	for name, timeout := range map[string]time.Duration{"Timeout": 0, "no Timeout": guard.NoTimeout} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, want, say(t, newUpstream(t, guard.DependencyConfig{Timeout: timeout})))
		})
	}
}
