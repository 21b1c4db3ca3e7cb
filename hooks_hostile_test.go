package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// play has everything happen that hooks tell of, each in a goroutine of its own,
// and returns how many requests and how many calls that was.
func play(s *guarded) (requests, calls uint64) {
	h := func(do guard.HandlerFunc) {
		requests++
		_ = runApart(s.g.Handler(s.rt.HandlerFunc(do)), put())
	}
	call := func(err error) {
		calls++
		_ = runApart(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			_ = s.d.Do(context.Background(), func(context.Context) error { return err })
		}), put())
	}
	apart := func(f func()) {
		_ = runApart(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f() }), put())
	}
	for _, scene := range requestScenes {
		if scene.at == "" && scene.do != nil && scene.name != "a call that failed" {
			h(scene.do(s))
		}
	}
	apart(func() { _ = s.g.Tune(func(c *guard.Config) { c.Concurrency.Max = 1000 }) })
	apart(func() { _ = s.rt.Tune(func(c *guard.RouteConfig) { c.Limit = tokens(1) }) })
	h(calling(s))
	calls++
	h(calling(s)) // limited
	apart(func() { _ = s.rt.Tune(func(c *guard.RouteConfig) { c.Limit = guard.Unlimited() }) })
	for range 10 { // trips
		call(errors.New(secret))
	}
	call(nil) // open
	time.Sleep(6 * time.Second)
	call(errors.New(secret)) // a probe
	time.Sleep(12 * time.Second)
	call(nil) // another one, which closes it
	apart(func() { s.d.Force(guard.ModeOpen) })
	apart(func() { s.d.Force(guard.ModeAuto) })
	h(calling(s))
	calls++
	apart(s.g.Drain)
	return requests, calls
}

// requireWhole fails if something of the guard is lost, stuck or miscounted.
func requireWhole(t *testing.T, s *guarded, requests uint64) {
	t.Helper()
	snap := s.g.Snapshot()
	require.Zero(t, snap.Requests.InFlight)
	require.Zero(t, snap.Routes[0].InFlight)
	require.Zero(t, snap.Dependencies[0].InFlight)
	require.Equal(t, guard.StateClosed, s.d.State())
	require.Equal(t, requests, accounted(snap.Requests.Counts))
	require.Equal(t, requests, accounted(snap.Routes[0].Counts))
}

// called is how many calls are accounted for.
func called(s *guarded) uint64 {
	c := s.g.Snapshot().Dependencies[0].Counts
	return c.Succeeded + c.Failed + c.Answered + c.Ignored + c.Open + c.Throttled + c.Saturated
}

// A hook that panics changes nothing, and is logged.
func TestGuarantee10HooksThatPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calm := newGuarded(t, guard.Config{Logger: slog.New(slog.DiscardHandler)}, guard.RouteConfig{}, false)
		requests, calls := play(calm)
		requireWhole(t, calm, requests)
		for _, value := range []any{secret, nil, http.ErrAbortHandler, badStringer{}, badError{}} {
			j := &journal{}
			s := newGuarded(t, guard.Config{Logger: j.json()}, guard.RouteConfig{}, false)
			s.also = func() { panic(value) }
			gotRequests, gotCalls := play(s)
			require.Equal(t, requests, gotRequests)
			require.Equal(t, calls, gotCalls)
			requireWhole(t, s, requests)
			require.Equal(t, calls, called(s))
			require.Len(t, s.requests, len(calm.requests))
			for i := range calm.requests {
				require.Equal(t, calm.requests[i].Outcome, s.requests[i].Outcome)
				require.Equal(t, calm.requests[i].Status, s.requests[i].Status)
			}
			logged := 0
			for _, line := range j.lines(t) {
				if line["msg"] == "guard: hook panicked" {
					require.Equal(t, []string{"level", "msg", "panic", "stack"}, keys(line))
					require.Contains(t, line["stack"], "hooks_hostile_test.go")
					logged++
				}
			}
			require.Equal(t, s.forget(), logged)
		}
		require.Len(t, calm.panics, 2)
		require.NotEmpty(t, calm.breakers)
		require.NotEmpty(t, calm.healths)
		require.NotEmpty(t, calm.refusals)
		require.NotEmpty(t, calm.tunes)
	})
}

// A hook that ends the goroutine takes nothing along but that.
func TestGuarantee10HooksThatExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGuarded(t, guard.Config{Logger: slog.New(slog.DiscardHandler)}, guard.RouteConfig{}, false)
		s.also = runtime.Goexit
		requests, calls := play(s)
		s.also = nil
		requireWhole(t, s, requests)
		require.LessOrEqual(t, called(s), calls, "a hook may have ended who was about to call")
		require.Len(t, s.requests, int(requests), "each is told of all the same")
	})
}

// Every hook may call everything back: no lock is held, and what the event took
// or gave back is done.
func TestGuarantee10HooksMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newGuarded(t, guard.Config{Logger: slog.New(slog.DiscardHandler)}, guard.RouteConfig{}, false)
		ready := s.g.Ready()
		var depth, runs atomic.Int32
		s.also = func() {
			defer depth.Add(-1)
			if depth.Add(1) > 3 || runs.Add(1) > 300 { // else it would tell of what it does itself, for ever
				return
			}
			_ = s.g.Snapshot()
			_ = s.g.Tune(func(c *guard.Config) { c.Limit = guard.Unlimited() })
			_ = s.rt.Tune(func(c *guard.RouteConfig) { c.Limit = guard.Unlimited() })
			_ = s.d.Tune(func(*guard.DependencyConfig) {})
			_ = s.d.State()
			s.d.Force(guard.ModeOpen)
			_ = s.d.Do(context.Background(), func(context.Context) error { return nil })
			s.d.Force(guard.ModeClosed)
			_, p, _ := s.d.Acquire(context.Background())
			p.Done(errors.New(secret))
			s.d.Force(guard.ModeAuto)
			_ = status(ready, http.MethodGet, "/")
			_ = status(s.g.Handler(s.rt.Handler(ok)), http.MethodGet, "/")
			_ = s.g.Dependencies()
			_ = s.g.Close()
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			play(s)
		}()
		<-done
		s.also = nil
		require.Greater(t, runs.Load(), int32(300))
		snap := s.g.Snapshot()
		require.Zero(t, snap.Requests.InFlight+snap.Routes[0].InFlight+snap.Dependencies[0].InFlight)
		require.Equal(t, guard.StateClosed, s.d.State())
	})
}

// While a hook blocks, nobody waits but who is telling it, and no place is held.
func TestGuarantee10HooksThatBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := guard.Concurrency{Max: 1}
		gate := make(chan struct{})
		var slow atomic.Value // the name of the hook that is to block
		block := func(name string) {
			if slow.CompareAndSwap(name, "") {
				<-gate
			}
		}
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Concurrency: one, Hooks: guard.Hooks{
			RequestDone:    func(context.Context, guard.RequestEvent) { block("RequestDone") },
			Refused:        func(context.Context, guard.RefusalEvent) { block("Refused") },
			CallDone:       func(context.Context, guard.CallEvent) { block("CallDone") },
			BreakerChanged: func(context.Context, guard.BreakerEvent) { block("BreakerChanged") },
			Tuned:          func(context.Context, guard.TuneEvent) { block("Tuned") },
			Panicked:       func(context.Context, guard.PanicEvent) { block("Panicked") },
			HealthChanged:  func(context.Context, guard.HealthEvent) { block("HealthChanged") },
		}})
		d, err := g.Dependency("db", guard.DependencyConfig{Concurrency: one})
		require.NoError(t, err)
		h := g.Handler(ok)
		call := func() error { return d.Do(t.Context(), func(context.Context) error { return nil }) }
		for name, blocked := range map[string]func(){
			"RequestDone":    func() { _ = status(h, http.MethodPut, "/") },
			"CallDone":       func() { _ = call() },
			"BreakerChanged": func() { d.Force(guard.ModeOpen) },
			"HealthChanged":  func() { d.Force(guard.ModeOpen) },
			"Tuned":          func() { _ = g.Tune(func(c *guard.Config) { c.Support = "changed" }) },
			"Panicked": func() {
				_ = status(g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(secret) })), http.MethodPut, "/")
			},
			"Refused": func() {
				d.Force(guard.ModeOpen)
				_ = call()
			},
		} {
			slow.Store(name)
			go blocked()
			synctest.Wait()
			require.Empty(t, slow.Load(), "%s: the hook is called", name)
			start := time.Now()
			d.Force(guard.ModeClosed)
			require.Equal(t, guard.StateClosed, d.State(), name)
			require.NoError(t, call(), name)
			require.Equal(t, http.StatusNoContent, status(h, http.MethodPut, "/"), name)
			require.Equal(t, http.StatusOK, status(g.Ready(), http.MethodGet, "/"), name)
			require.NoError(t, d.Tune(func(*guard.DependencyConfig) {}))
			snap := g.Snapshot()
			require.Zero(t, snap.Requests.InFlight+snap.Dependencies[0].InFlight, name)
			require.Zero(t, time.Since(start))
			d.Force(guard.ModeAuto)
			close(gate)
			synctest.Wait()
			gate = make(chan struct{})
		}
	})
}

// A value that panics when it is printed, and again when that is.
type hydra struct{}

func (hydra) String() string { panic(hydra{}) }

// A hook that panics with something hostile does no harm either.
func TestGuarantee10HookPanicsWithWhatCannotBePrinted(t *testing.T) {
	j := &journal{}
	s := newGuarded(t, guard.Config{Logger: j.json()}, guard.RouteConfig{}, false)
	s.also = func() { panic(hydra{}) }
	w := httptest.NewRecorder()
	require.Nil(t, serveHere(s.g.Handler(ok), w, put()))
	require.Equal(t, http.StatusNoContent, w.Code)
	require.Len(t, j.lines(t), 1)
}

// Nor does a handler that does.
func TestGuarantee5PanicWithWhatCannotBePrinted(t *testing.T) {
	j := &journal{}
	s := newGuarded(t, guard.Config{Logger: j.json()}, guard.RouteConfig{}, false)
	w := httptest.NewRecorder()
	require.Nil(t, serveHere(s.g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(hydra{}) })), w, put()))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Len(t, j.lines(t), 1)
	require.Len(t, s.requests, 1)
	require.EqualValues(t, 1, accounted(s.g.Snapshot().Requests.Counts))
}
