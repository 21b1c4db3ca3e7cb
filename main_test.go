package guard_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		if left := goroutinesLeft(10 * time.Second); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own, and those
// that the runtime keeps for signals, once there are none or patience is out.
func goroutinesLeft(patience time.Duration) (left []string) {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = nil
		for i, stack := range strings.Split(strings.TrimSpace(string(stacks)), "\n\n") {
			if i > 0 && !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "runtime.ensureSigM") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

func TestGoroutinesLeft(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		<-stop
	}()
	left := strings.Join(goroutinesLeft(0), "\n\n")
	close(stop)
	<-stopped
	require.Contains(t, left, "TestGoroutinesLeft.func1", "a goroutine that waits must be found")
}

// protocols are those that the tests over real servers speak.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// serveOn serves h on loopback until the test ends.
func serveOn(tb testing.TB, protocol string, h http.Handler) *httptest.Server {
	tb.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if protocol == "HTTP/2.0" {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	tb.Cleanup(s.Close)
	return s
}

// A reply is what a client sees of a response.
type reply struct {
	status  int // 0 if there was no header
	header  http.Header
	early   []string // the informational headers: status and Link
	body    string
	trailer http.Header
	reused  bool  // the connection had served before
	err     error // of the exchange, or of reading the body
}

// fetch sends a request and reads the response to its end. The headers are
// names and values in turn.
func fetch(tb testing.TB, s *httptest.Server, method, path, body string, headers ...string) (got reply) {
	tb.Helper()
	trace := &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got.early = append(got.early, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		},
		GotConn: func(info httptrace.GotConnInfo) { got.reused = info.Reused },
	}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(tb.Context(), trace), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		got.err = err
		return got
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, got.err = b.ReadFrom(resp.Body)
	got.status, got.header, got.body, got.trailer = resp.StatusCode, resp.Header, b.String(), resp.Trailer
	return got
}
