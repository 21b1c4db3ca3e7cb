package guard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

var oneAtATime = guard.Concurrency{Max: 1, MaxWait: time.Second}

// hold keeps the only place of a dependency for a while.
func (r *rig) hold(d time.Duration) {
	p := r.acquire()
	time.AfterFunc(d, func() { p.Done(nil) })
}

// drained requires that nothing is left of any call.
func (r *rig) drained() {
	r.tb.Helper()
	synctest.Wait()
	s := r.snapshot()
	require.Zero(r.tb, s.InFlight)
	require.Zero(r.tb, s.Bound.Waiting)
	r.Force(guard.ModeAuto)
	r.acquire().Done(nil)
}

// Calls that wait are served in the order in which they came, however many there
// have been of late.
func TestBoundCallsInOrder(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime}, func(t *testing.T, r *rig) {
		for range 3 { // so that a second ends amid the calls that wait
			for range 40 {
				_ = r.Do(t.Context(), func(context.Context) error { time.Sleep(10 * ms); return nil })
			}
			var order []int
			var all sync.WaitGroup
			for i := range 60 {
				all.Go(func() {
					time.Sleep(time.Duration(i) * 7 * ms)
					_ = r.Do(context.Background(), func(context.Context) error {
						order = append(order, i)
						time.Sleep(10 * ms)
						return nil
					})
				})
			}
			all.Wait()
			require.IsIncreasing(t, order)
		}
		r.drained()
	})
}

// The Timeout begins when the call has its place, and its wait is no part of how
// long it took.
func TestBoundTimeoutBeginsAfterTheWait(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime, Timeout: 100 * ms, SlowCall: 50 * ms}, func(t *testing.T, r *rig) {
		r.hold(90 * ms)
		start := time.Now()
		require.NoError(t, r.Do(t.Context(), func(ctx context.Context) error {
			require.Equal(t, 90*ms, time.Since(start))
			at, _ := ctx.Deadline()
			require.Equal(t, 100*ms, time.Until(at))
			time.Sleep(40 * ms)
			return ctx.Err()
		}))
		synctest.Wait()
		require.EqualValues(t, 1, r.snapshot().Counts.Slow, "the first alone")
		r.drained()
	})
}

// A context that is cancelled while its call waits gives its error, and counts
// nobody: it was not refused. One whose time is up was, by the bound.
func TestBoundContextEndsWhileWaiting(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime}, func(t *testing.T, r *rig) {
		r.hold(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*ms, cancel)
		start := time.Now()
		err := r.Do(ctx, func(context.Context) error { panic("called") })
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, guard.ErrOpen)
		require.NotErrorIs(t, err, guard.ErrSaturated)
		require.Equal(t, 10*ms, time.Since(start))
		s := r.snapshot()
		require.Equal(t, guard.CallCounts{}, s.Counts)
		require.Zero(t, s.Bound.Shed)

		ctx, cancel = context.WithTimeout(t.Context(), 20*ms)
		defer cancel()
		start = time.Now()
		err = r.Do(ctx, func(context.Context) error { panic("called") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, guard.ErrSaturated)
		require.Equal(t, 20*ms, time.Since(start))
		require.Equal(t, guard.CallCounts{Saturated: 1}, r.snapshot().Counts)
		w := httptest.NewRecorder()
		r.guard.WriteError(w, httptest.NewRequest(http.MethodGet, "/", nil), err)
		require.Equal(t, http.StatusServiceUnavailable, w.Code, "the bound is the server's")
		time.Sleep(time.Second)
		r.drained()
	})
}

// What becomes of the breaker while a call waits counts when it has its place; and
// a call that has waited is not refused for others who still wait.
func TestBoundBreakerMovesWhileWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		move func(*rig)
		want error
	}{
		"forced open": {func(r *rig) { r.Force(guard.ModeOpen) }, guard.ErrOpen},
		"given back":  {func(r *rig) { r.Force(guard.ModeOpen); r.Force(guard.ModeAuto) }, nil},
		"forced":      {func(r *rig) { r.Force(guard.ModeClosed) }, nil},
		"bound away":  {func(r *rig) { _ = r.Tune(func(c *guard.DependencyConfig) { c.Concurrency = guard.Concurrency{} }) }, nil},
		"self-tuned": {func(r *rig) {
			_ = r.Tune(func(c *guard.DependencyConfig) { c.Concurrency = guard.Concurrency{SelfTuned: true} })
		}, nil},
		"static bound": {func(r *rig) {
			_ = r.Tune(func(c *guard.DependencyConfig) { c.Concurrency = guard.Concurrency{Max: 9} })
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime}, func(t *testing.T, r *rig) {
				r.hold(100 * ms)
				errs := make([]error, 3)
				var all sync.WaitGroup
				for i := range errs {
					all.Go(func() {
						time.Sleep(time.Duration(i) * ms)
						errs[i] = r.Do(context.Background(), func(context.Context) error { time.Sleep(ms); return nil })
					})
				}
				time.Sleep(10 * ms)
				test.move(r)
				all.Wait()
				for _, err := range errs {
					require.ErrorIs(t, err, test.want)
				}
				time.Sleep(time.Second)
				r.drained()
			})
		})
	}
}

// A pause that is over when the wait is refuses nobody, one that lasts does.
func TestBoundPauseWhileWaiting(t *testing.T) {
	for pause, want := range map[string]error{"1": nil, "5": guard.ErrThrottled} {
		inBubble(t, guard.DependencyConfig{PauseOn429: true}, func(t *testing.T, r *rig) {
			limited := r.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
				time.Sleep(50 * ms)
				return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {pause}}, Body: http.NoBody}, nil
			}))
			var all sync.WaitGroup
			all.Go(func() { // it has begun before there is a bound, and has no place to hand on
				_, _ = limited.RoundTrip(httptest.NewRequest(http.MethodGet, "http://h/", nil))
			})
			synctest.Wait()
			require.NoError(t, r.Tune(func(c *guard.DependencyConfig) { c.Concurrency = guard.Concurrency{Max: 2, MaxWait: 10 * time.Second} }))
			r.hold(2 * time.Second)
			r.hold(3 * time.Second)
			errs := make([]error, 2)
			for i := range errs {
				all.Go(func() {
					time.Sleep(time.Duration(i+1) * ms)
					errs[i] = r.Do(context.Background(), func(context.Context) error { return nil })
				})
			}
			all.Wait()
			for _, err := range errs {
				require.ErrorIs(t, err, want)
			}
			time.Sleep(time.Minute)
			r.drained()
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A probe never waits.
func TestBoundProbesNeverWait(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime, Probes: 2}, func(t *testing.T, r *rig) {
		r.toHalfOpen()
		p := r.acquire()
		start := time.Now()
		_, _, err := r.Acquire(t.Context())
		require.ErrorIs(t, err, guard.ErrSaturated)
		require.Zero(t, time.Since(start))
		p.Done(nil)
		r.acquire().Done(nil)
		require.Equal(t, guard.StateClosed, r.State())
		r.drained()
	})
}

// In whatever way a call ends that has waited, its place comes back.
func TestBoundCallsGiveBack(t *testing.T) {
	for name, call := range map[string]func(r *rig){
		"success": func(r *rig) { _ = r.call(nil) }, "failure": func(r *rig) { _ = r.call(errBroken) },
		"panic": func(r *rig) { _ = r.Do(context.Background(), func(context.Context) error { panic("p") }) },
		"exit": func(r *rig) {
			_ = r.Do(context.Background(), func(context.Context) error { runtime.Goexit(); return nil })
		},
		"permit": func(r *rig) {
			if _, p, err := r.Acquire(context.Background()); err == nil {
				p.Done(nil)
				p.Done(nil)
			}
		},
		"body": func(r *rig) {
			resp, err := r.Transport(instant{}).RoundTrip(httptest.NewRequest(http.MethodGet, "http://h/", nil))
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		},
		"body that is left": func(r *rig) {
			ctx, cancel := context.WithCancel(context.Background())
			_, _ = r.Transport(instant{}).RoundTrip(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://h/", nil))
			cancel()
		},
		"transport that panics": func(r *rig) {
			_, _ = r.Transport(roundTrip(func(*http.Request) (*http.Response, error) { panic("p") })).RoundTrip(httptest.NewRequest(http.MethodGet, "http://h/", strings.NewReader("x")))
		},
	} {
		for kind, c := range map[string]guard.Concurrency{"static": oneAtATime, "self-tuned": {SelfTuned: true, Ceiling: 1}} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				inBubble(t, guard.DependencyConfig{Concurrency: c, MinCalls: 1000}, func(t *testing.T, r *rig) {
					p := r.acquire()
					var all sync.WaitGroup
					for range 3 {
						all.Go(func() {
							defer func() { _ = recover() }()
							call(r)
						})
					}
					synctest.Wait()
					require.NotZero(t, r.snapshot().Bound.Waiting)
					p.Done(nil)
					all.Wait()
					r.drained()
				})
			})
		}
	}
}

// A hook that ends the goroutine of a call that has waited, while the breaker has
// something to tell, takes no place along.
func TestBoundHookExitsAfterTheWait(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: oneAtATime, OpenFor: 20 * ms}, func(_ *testing.T, r *rig) {
		r.hold(200 * ms)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { _ = r.call(nil) })
		}
		synctest.Wait()
		for range 10 { // calls that are told to have failed open the breaker
			_ = r.Tune(func(c *guard.DependencyConfig) { c.Concurrency.Max++ })
			_ = r.call(errBroken)
			_ = r.Tune(func(c *guard.DependencyConfig) { c.Concurrency.Max-- })
		}
		r.mu.Lock()
		r.hook = func(guard.BreakerEvent) { runtime.Goexit() }
		r.mu.Unlock()
		all.Wait()
		time.Sleep(time.Second)
		r.mu.Lock()
		r.hook = nil
		r.mu.Unlock()
		r.drained()
	})
}

// A bound learns nothing from calls that panic.
func TestBoundLearnsNothingFromPanics(t *testing.T) {
	inBubble(t, guard.DependencyConfig{Concurrency: guard.Concurrency{SelfTuned: true}, MinCalls: 1 << 30}, func(t *testing.T, r *rig) {
		for range 300 {
			func() {
				defer func() { _ = recover() }()
				_ = r.Do(t.Context(), func(context.Context) error { time.Sleep(ms); panic("p") })
			}()
		}
		require.Zero(t, r.snapshot().Bound.NoQueue)
		for range 300 {
			_ = r.Do(t.Context(), func(context.Context) error { time.Sleep(ms); return nil })
		}
		require.NotZero(t, r.snapshot().Bound.NoQueue)
	})
}

// Calls that carry a priority are served by it, whoever gave it to them.
func TestBoundPriorityOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Concurrency: oneAtATime})
		var order []string
		call := func(ctx context.Context, name string) {
			_ = d.Do(ctx, func(context.Context) error { order = append(order, name); time.Sleep(10 * ms); return nil })
		}
		call(t.Context(), "0")
		rt, err := g.Route("pay", guard.RouteConfig{Priority: guard.PriorityCritical})
		require.NoError(t, err)
		pay := rt.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { call(r.Context(), "pay") }))
		var all sync.WaitGroup
		for i, f := range []func(){
			func() { call(context.Background(), "1") },
			func() { call(guard.WithPriority(context.Background(), guard.PrioritySheddable), "sheddable") },
			func() { call(guard.WithPriority(context.Background(), 99), "odd") },
			func() { pay.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) },
		} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * ms)
				f()
			})
		}
		all.Wait()
		assert.Equal(t, []string{"0", "1", "pay", "odd", "sheddable"}, order, strconv.Itoa(len(order)))
	})
}
