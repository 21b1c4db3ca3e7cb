package guard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// refusing returns a guard, and handlers that it refuses for each reason.
func refusing(t *testing.T, j *journal, shadow bool) (g *guard.Guard, kinds map[string]http.Handler) {
	t.Helper()
	one := guard.Concurrency{Max: 1}
	g = newGuard(t, guard.Config{Logger: j.json(), Shadow: shadow})
	route := func(name string, c guard.RouteConfig) *guard.Route {
		rt, err := g.Route(name, c)
		require.NoError(t, err)
		return rt
	}
	ok := http.HandlerFunc(noContent)
	limited := route("limited", guard.RouteConfig{Limit: tokens(1)}).Handler(ok)
	client := route("client", guard.RouteConfig{Clients: []guard.ClientLimit{{Limit: tokens(1)}}}).Handler(ok)
	overloaded := route("overloaded", guard.RouteConfig{Concurrency: one})
	full := overloaded.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { overloaded.Handler(ok).ServeHTTP(opened(w), r) }))
	for _, h := range []http.Handler{limited, client} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	return g, map[string]http.Handler{"limited": limited, "client": client, "overloaded": full}
}

// opened hides the guard's stage, so that what is nested counts again.
func opened(w http.ResponseWriter) http.ResponseWriter { return struct{ http.ResponseWriter }{w} }

func TestLogOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shadow := range []bool{false, true} {
			j := &journal{}
			g, kinds := refusing(t, j, shadow)
			want := map[string]any{}
			refuse := func(kind string, times int) {
				for range times {
					kinds[kind].ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				}
				want[kind] = float64(times)
			}
			refuse("limited", 3)
			refuse("client", 5)
			time.Sleep(time.Second - 1)
			refuse("overloaded", 7)
			require.Empty(t, j.lines(t), "the second is not over")
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			lines := j.lines(t)
			require.Len(t, lines, 1)
			require.Equal(t, "WARN", lines[0]["level"])
			require.Equal(t, "guard: refused requests", lines[0]["msg"])
			require.Equal(t, shadow, lines[0]["shadow"])
			for _, kind := range []string{"limited", "client", "overloaded", "draining"} {
				require.Equal(t, want[kind], lines[0][kind], "%s, shadow %t", kind, shadow)
			}
			time.Sleep(time.Hour)
			require.Empty(t, j.lines(t), "nothing was refused")

			if !shadow {
				refuse("client", 1)
				require.NoError(t, g.Shutdown(t.Context()))
				require.Len(t, j.lines(t), 1, "Shutdown writes what is owed")
				kinds["client"].ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				kinds["limited"].ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			} else {
				refuse("client", 2)
			}
			require.NoError(t, g.Close(), "writes what is owed")
			lines = j.lines(t)
			require.Len(t, lines, 1)
			if shadow {
				require.EqualValues(t, 2, lines[0]["client"])
			} else {
				require.EqualValues(t, 2, lines[0]["draining"])
			}
			require.NoError(t, g.Close())
			time.Sleep(time.Hour)
			require.Empty(t, j.lines(t))
		}
	})
}

// Refusals that never stop make one line a second, and each is counted once;
// also after a Close that comes in between.
func TestLogOfRefusalsIsOneLineASecond(t *testing.T) {
	for name, closes := range map[string]int{"running": 0, "closed": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				g, kinds := refusing(t, j, false)
				var total, counted float64
				refuse := func(period time.Duration) {
					for end := time.Now().Add(period); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
						kinds["limited"].ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
						total++
					}
				}
				count := func() (lines int) {
					for _, line := range j.lines(t) {
						counted += line["limited"].(float64)
						lines++
					}
					return lines
				}
				for range closes {
					refuse(100 * time.Millisecond)
					require.NoError(t, g.Close())
				}
				count()
				refuse(10 * time.Second)
				require.InDelta(t, 10, count(), 1, "lines in 10 s")
				require.NoError(t, g.Close())
				count()
				require.InDelta(t, total, counted, 0)
				time.Sleep(time.Hour)
				require.Empty(t, j.lines(t))
			})
		})
	}
}

// A flood of refusals makes no line of its own for each of them, whatever their
// status, and whether or not the client stays for the answer.
func TestLogOfRefusalsIsAllThereIs(t *testing.T) {
	for name, st := range map[string]guard.Statuses{"default": {}, "500": {Limited: 500}, "502": {Limited: 502}} {
		for _, gone := range []bool{false, true} {
			j := &journal{}
			g := newGuard(t, guard.Config{Logger: j.json(), Limit: tokens(1), Status: st})
			ctx, hangUp := context.WithCancel(t.Context())
			if gone {
				hangUp()
			}
			h := g.Handler(http.HandlerFunc(noContent))
			for range 101 {
				serveHere(h, httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			}
			hangUp()
			require.NoError(t, g.Close())
			lines := j.lines(t)
			require.Len(t, lines, 1, "status %s, gone %t", name, gone)
			require.EqualValues(t, 100, lines[0]["limited"])
		}
	}
}

// No refusal is lost or counted twice, however many come at once while lines
// are being written.
func TestLogOfRefusalsIsExactUnderContention(t *testing.T) {
	j := &journal{}
	g, kinds := refusing(t, j, true) // a shadow is quicker, so there is more contention
	var work, closer sync.WaitGroup
	done := make(chan struct{})
	closer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = g.Close()
			}
		}
	})
	const workers, each = 4, 20000
	for range workers {
		work.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for range each {
				kinds["limited"].ServeHTTP(minimal{}, r)
			}
		})
	}
	work.Wait()
	close(done)
	closer.Wait()
	require.NoError(t, g.Close())
	sum := 0.0
	for _, line := range j.lines(t) {
		sum += line["limited"].(float64)
	}
	require.InDelta(t, workers*each, sum, 0)
}
