package genesys_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		if left := goroutinesLeft(10 * time.Second); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines are left:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own, and those that
// the runtime keeps for signals, once there are none or patience is out.
func goroutinesLeft(patience time.Duration) string {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		var left []string
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for i, stack := range strings.Split(strings.TrimSpace(string(stacks)), "\n\n") {
			if i > 0 && !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "runtime.ensureSigM") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

// start starts a fake, which ends with the test.
func start(tb testing.TB) *genesystest.Server {
	tb.Helper()
	s, err := genesystest.Start()
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// A journal keeps what is logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// newGuard returns a guard that logs to the journal, and ends with the test.
func newGuard(tb testing.TB, log *journal) *guard.Guard {
	tb.Helper()
	g, err := guard.New(guard.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, g.Close()) })
	return g
}

// A bed is a dependency on a product, and a client that calls it.
type bed struct {
	*guard.Dependency
	guard  *guard.Guard
	client *http.Client
	log    journal
}

// depend returns a bed over base; nil means a transport of its own.
func depend(tb testing.TB, p genesys.Product, c guard.DependencyConfig, base http.RoundTripper) *bed {
	tb.Helper()
	b := new(bed)
	b.guard = newGuard(tb, &b.log)
	var err error
	b.Dependency, err = b.guard.Dependency(p.String(), p.Config(c))
	require.NoError(tb, err)
	if base == nil {
		base = transport(tb)
	}
	b.client = &http.Client{Transport: b.Transport(base)}
	return b
}

// counts returns what became of the calls so far.
func (b *bed) counts() guard.CallCounts { return b.guard.Snapshot().Dependencies[0].Counts }

// transport returns a transport whose connections end with the test.
func transport(tb testing.TB) *http.Transport {
	tb.Helper()
	t := &http.Transport{MaxIdleConnsPerHost: 256}
	tb.Cleanup(t.CloseIdleConnections)
	return t
}

// do sends a request with Basic authentication and reads the answer.
func do(tb testing.TB, c *http.Client, method, url, body string) (resp *http.Response, text string, err error) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), method, url, strings.NewReader(body))
	require.NoError(tb, err)
	r.SetBasicAuth(genesystest.Username, genesystest.Password)
	return read(c.Do(r))
}

// get sends a GET without authorization and reads the answer.
func get(tb testing.TB, c *http.Client, url string) (resp *http.Response, text string, err error) {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	require.NoError(tb, err)
	return read(c.Do(r))
}

func read(resp *http.Response, err error) (*http.Response, string, error) {
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// roundTrip is a RoundTripper that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer returns a response.
func answer(status int, body string, header ...string) *http.Response {
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}
