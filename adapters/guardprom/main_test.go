package guardprom_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(patience); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own, and those
// that the runtime keeps for signals, once there are none or patience is out.
func goroutinesLeft(patience time.Duration) (left []string) {
	look := time.NewTicker(10 * time.Millisecond)
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

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

var errDown = errors.New("down")

// newGuard returns a guard that logs nothing, and is closed with the test.
func newGuard(tb testing.TB, c guard.Config) *guard.Guard {
	tb.Helper()
	c.Logger = slog.New(slog.DiscardHandler)
	g, err := guard.New(c)
	require.NoError(tb, err)
	tb.Cleanup(func() { g.Close() })
	return g
}

// register returns a registry that is strict, with a collector of the guard.
func register(tb testing.TB, g *guard.Guard, o guardprom.Options) *prometheus.Registry {
	tb.Helper()
	c, err := guardprom.New(g, o)
	require.NoError(tb, err)
	reg := prometheus.NewPedanticRegistry()
	require.NoError(tb, reg.Register(c))
	return reg
}

// A full guard has some of everything: limits, bounds, two routes, two
// dependencies of which one is down, requests of each kind.
type full struct {
	*guard.Guard
	handler http.Handler
	visits  *guard.Route
	db      *guard.Dependency
	visit   func() // what a request of visits does first; nil: nothing
}

func newFull(tb testing.TB) *full {
	tb.Helper()
	g := newGuard(tb, guard.Config{
		Limit:       guard.Limit{Rate: 1000, Burst: 500},
		Concurrency: guard.Concurrency{SelfTuned: true, Floor: 100},
		Clients: []guard.ClientLimit{{
			Name: "key", MaxKeys: 100, Limit: guard.Limit{Rate: 0.001, Burst: 3},
			Key: func(r *http.Request) string { return r.Header.Get("Api-Key") },
		}},
	})
	visits, err := g.Route("visits", guard.RouteConfig{
		Limit:       guard.Limit{Rate: 100, Burst: 50},
		Concurrency: guard.Concurrency{Max: 20, MaxWait: time.Second},
		Clients:     []guard.ClientLimit{{Limit: guard.Limit{Rate: 50, Burst: 60}}},
	})
	require.NoError(tb, err)
	pages, err := g.Route("pages", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 7}})
	require.NoError(tb, err)
	db, err := g.Dependency("db", guard.DependencyConfig{
		MinCalls: 2, OpenFor: time.Hour, MaxOpenFor: time.Hour, SlowCall: time.Minute, Required: true,
		Concurrency: guard.Concurrency{Max: 5, MaxWait: time.Second},
	})
	require.NoError(tb, err)
	_, err = g.Dependency("mail", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 3}})
	require.NoError(tb, err)

	f := &full{Guard: g, visits: visits, db: db}
	mux := http.NewServeMux()
	mux.Handle("GET /visits", visits.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if f.visit != nil {
			f.visit()
		}
		return db.Do(r.Context(), func(context.Context) error { return errDown })
	}))
	mux.Handle("GET /pages", pages.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		_, err := w.Write([]byte("a page"))
		return err
	}))
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	f.handler = g.Mux(mux)
	return f
}

func (f *full) get(path, key string) int {
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	r.Header.Set("Api-Key", key)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w.Code
}

// exercise sends requests of each kind: after it, the breaker of db is open.
func (f *full) exercise(tb testing.TB) {
	tb.Helper()
	require.Equal(tb, http.StatusOK, f.get("/pages", "alice"))
	require.Equal(tb, http.StatusOK, f.get("/pages", "alice"))
	require.Equal(tb, http.StatusNotFound, f.get("/none", "alice"))
	require.Equal(tb, http.StatusServiceUnavailable, f.get("/pages", "alice"), "a bucket of three is empty")
	for range 3 { // two fail and trip the breaker, the third is refused
		require.Equal(tb, http.StatusBadGateway, f.get("/visits", "bob"))
	}
	require.Equal(tb, http.StatusInternalServerError, f.get("/panic", "carol"))
	require.Equal(tb, guard.StateOpen, f.db.State())
}
