package dashboard_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

// TestMain fails the run if a goroutine of the dashboard is left when all tests
// have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := goroutinesLeft(10 * time.Second); code == 0 && left > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines of the dashboard are left\n", left)
		code = 1
	}
	os.Exit(code)
}

// goroutinesLeft returns how many there are once there are none, or patience is
// out.
func goroutinesLeft(patience time.Duration) int {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		if n := goroutines(); n == 0 || time.Now().After(deadline) {
			return n
		}
	}
}

func TestGoroutinesLeft(t *testing.T) {
	d := start(t, newGuard(t, guard.Config{}))
	require.NotZero(t, goroutinesLeft(0), "the one that looks must be found")
	require.NoError(t, d.Close())
	require.Zero(t, goroutinesLeft(10*time.Second))
}

// goroutines counts those that run the dashboard's code.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "guard/dashboard.") {
			n++
		}
	}
	return n
}

func newGuard(t *testing.T, c guard.Config) *guard.Guard {
	t.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	g, err := guard.New(c)
	require.NoError(t, err)
	return g
}

func dependency(t *testing.T, g *guard.Guard, name string, c guard.DependencyConfig) *guard.Dependency {
	t.Helper()
	d, err := g.Dependency(name, c)
	require.NoError(t, err)
	return d
}

// start returns a dashboard that is closed when the test, or its bubble, ends.
func start(t *testing.T, g *guard.Guard, options ...dashboard.Option) *dashboard.Dashboard {
	t.Helper()
	d := dashboard.New(g, options...)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// ask is a request of this machine, as changed by with.
func ask(query string, with func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:8080/debug/guard/"+query, nil)
	r.RemoteAddr = "127.0.0.1:54321"
	if with != nil {
		with(r)
	}
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An update is what the page is sent, as far as the tests look at it.
type update struct {
	Boot   string
	Seq    uint64
	Title  string
	Now    guard.Snapshot
	Times  []int64
	Server map[string][]float64
	Routes []struct {
		P50                          float64
		Served, Failed, Refused, P99 []float64
	}
	Dependencies []struct {
		P50                               float64
		Fine, Failed, Refused, P99, State []float64
	}
	Events []struct {
		Seq                         uint64
		Time                        int64
		Kind, Level, Of, Name, Text string
	}
}

func poll(t *testing.T, d *dashboard.Dashboard, after string) (u update) {
	t.Helper()
	w := answer(d, ask("?format=poll&after="+after, nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &u))
	return u
}

// told returns the events as lines.
func told(u update) (lines []string) {
	for _, e := range u.Events {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", e.Of, e.Name, e.Level, e.Text)))
	}
	return lines
}
