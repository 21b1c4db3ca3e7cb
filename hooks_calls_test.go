package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Each call that was let through is told of once, with what became of it.
func TestHooksOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errOwn := errors.New(secret)
		const takes = 3 * time.Second
		for _, test := range []struct {
			name string
			err  error // of the call
			want guard.Outcome
		}{
			{"success", nil, guard.OutcomeSucceeded},
			{"failure", errOwn, guard.OutcomeFailed},
			{"answer", guard.NotFound(""), guard.OutcomeSucceeded},
			{"answered", errors.New("answered"), guard.OutcomeAnswered},
			{"ignored", errors.New("ignored"), guard.OutcomeIgnored},
		} {
			for way, do := range map[string]func(*guard.Dependency) error{
				"Do": func(d *guard.Dependency) error {
					return d.Do(t.Context(), func(context.Context) error {
						time.Sleep(takes)
						return test.err
					})
				},
				"Call": func(d *guard.Dependency) error {
					_, err := guard.Call(t.Context(), d, func(context.Context) (int, error) {
						time.Sleep(takes)
						return 1, test.err
					})
					return err
				},
				"Acquire": func(d *guard.Dependency) error {
					_, p, err := d.Acquire(t.Context())
					require.NoError(t, err)
					time.Sleep(takes)
					p.Done(test.err)
					p.Done(errOwn)
					return p.Result(test.err)
				},
			} {
				w := new(witness)
				d, err := newGuard(t, guard.Config{Hooks: w.hooks()}).Dependency("db", guard.DependencyConfig{
					SlowCall: takes,
					Classify: func(err error) guard.Outcome {
						return map[string]guard.Outcome{"answered": guard.OutcomeAnswered, "ignored": guard.OutcomeIgnored}[err.Error()]
					},
				})
				require.NoError(t, err)
				require.Equal(t, test.err == nil, do(d) == nil)
				require.Equal(t, []guard.CallEvent{{Dependency: "db", Outcome: test.want, Slow: true, Latency: takes, Err: test.err}}, w.calls, "%s by %s", test.name, way)
				require.Equal(t, 1, w.forget(), "nothing else has happened")
			}
		}
	})
}

// Ends that no error tells of.
func TestHooksOfCallsThatDoNotReturn(t *testing.T) {
	for name, test := range map[string]struct {
		do   func()
		want guard.Outcome
	}{
		"panic":  {func() { panic(secret) }, guard.OutcomeFailed},
		"Goexit": {runtime.Goexit, guard.OutcomeIgnored},
	} {
		w := new(witness)
		d, err := newGuard(t, guard.Config{Hooks: w.hooks()}).Dependency("db", guard.DependencyConfig{})
		require.NoError(t, err)
		out := runApart(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			_ = d.Do(t.Context(), func(context.Context) error {
				test.do()
				return nil
			})
		}), put())
		require.NotNil(t, out)
		require.Len(t, w.calls, 1, name)
		require.Equal(t, test.want, w.calls[0].Outcome)
	}
}

// A Transport's call is told of when its body ends, with the time of its header.
func TestHooksOfTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{200, 404, 503} {
			w := new(witness)
			d, err := newGuard(t, guard.Config{Hooks: w.hooks()}).Dependency("api", guard.DependencyConfig{})
			require.NoError(t, err)
			base := tripper(func(*http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("body"))}, nil
			})
			resp, err := d.Transport(base).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			require.NoError(t, err)
			require.Empty(t, w.calls, "it goes on")
			time.Sleep(time.Minute)
			_, err = io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.NoError(t, resp.Body.Close())
			require.Len(t, w.calls, 1)
			got := w.calls[0]
			require.Equal(t, time.Second, got.Latency)
			require.Equal(t, map[int]guard.Outcome{200: guard.OutcomeSucceeded, 404: guard.OutcomeAnswered, 503: guard.OutcomeFailed}[status], got.Outcome)
			require.Equal(t, status == 503, got.Err != nil)
		}
	})
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A call that is refused is told of as that alone; in shadow mode it is let
// through, and told of twice.
func TestHooksOfRefusedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shadow := range []bool{false, true} {
			w := new(witness)
			g := newGuard(t, guard.Config{Shadow: shadow, Hooks: w.hooks()})
			d, err := g.Dependency("db", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}, PauseOn429: true})
			require.NoError(t, err)
			for kind, arrange := range map[error]func() (undo func()){
				guard.ErrOpen: func() func() {
					d.Force(guard.ModeOpen)
					return func() { d.Force(guard.ModeAuto) }
				},
				guard.ErrSaturated: func() func() {
					_, p, err := d.Acquire(t.Context())
					require.NoError(t, err)
					return func() { p.Done(nil) }
				},
				guard.ErrThrottled: func() func() {
					_, err := d.Transport(tripper(func(*http.Request) (*http.Response, error) {
						return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"9"}}}, nil
					})).RoundTrip(put())
					require.NoError(t, err)
					return func() { time.Sleep(10 * time.Second) }
				},
			} {
				undo := arrange()
				w.forget()
				err := d.Do(t.Context(), func(context.Context) error { return nil })
				require.Len(t, w.refusals, 1)
				require.Equal(t, "db", w.refusals[0].Dependency)
				require.Equal(t, shadow, err == nil)
				require.ErrorIs(t, w.refusals[0].Err, kind)
				if shadow {
					require.Len(t, w.calls, 1)
					require.Equal(t, guard.OutcomeSucceeded, w.calls[0].Outcome)
				} else {
					require.Empty(t, w.calls)
				}
				require.Equal(t, shadow, w.refusals[0].Shadow, "%v: it was let through all the same", kind)
				undo()
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			w.forget()
			require.Error(t, d.Do(ended, func(context.Context) error { return nil }))
			require.Zero(t, w.forget(), "nobody was refused who has left")
		}
	})
}

// In shadow mode a request is told of as refused and as served.
func TestHooksOfShadow(t *testing.T) {
	for _, scene := range requestScenes {
		if scene.at != "guard" && scene.at != "route" {
			continue
		}
		scene.config.Shadow = true
		s := newGuarded(t, scene.config, scene.route, scene.needs)
		s.again = s.g.Handler(s.rt.Handler(http.HandlerFunc(noContent)))
		scene.before(s)
		s.forget()
		require.Nil(t, runApart(s.again, put()))
		require.Len(t, s.refusals, 1, scene.name)
		require.True(t, s.refusals[0].Shadow)
		require.ErrorIs(t, s.refusals[0].Err, scene.refused)
		require.Len(t, s.requests, 1)
		require.Equal(t, guard.RequestServed, s.requests[0].Outcome)
		require.Equal(t, "inner", s.requests[0].Route)
	}
}

// Exempt requests are none of the hooks' business, but for their panics.
func TestHooksOfExemptRequests(t *testing.T) {
	s := newGuarded(t, guard.Config{Exempt: func(*http.Request) bool { return true }}, guard.RouteConfig{}, false)
	for _, scene := range requestScenes {
		if scene.do == nil || scene.at != "" {
			continue
		}
		h := s.g.Handler(s.rt.HandlerFunc(scene.do(s)))
		_ = runApart(h, put())
		require.Empty(t, s.requests, scene.name)
		require.Equal(t, scene.outcome == guard.RequestPanicked, len(s.panics) == 1, scene.name)
		s.forget()
	}
	require.Zero(t, accounted(s.g.Snapshot().Requests.Counts))
}

// Tuned is told of each change, once, and of none that failed.
func TestHooksOfTuning(t *testing.T) {
	s := newGuarded(t, guard.Config{}, guard.RouteConfig{}, false)
	require.NoError(t, s.g.Tune(func(c *guard.Config) { c.Limit = tokens(1) }))
	require.NoError(t, s.rt.Tune(func(c *guard.RouteConfig) { c.Limit = tokens(1) }))
	require.NoError(t, s.d.Tune(func(c *guard.DependencyConfig) { c.Probes = 2 }))
	require.Equal(t, []guard.TuneEvent{{}, {Route: "inner"}, {Dependency: "db"}}, s.tunes)
	require.Equal(t, 3, s.forget())
	require.Error(t, s.g.Tune(func(c *guard.Config) { c.Limit.Burst = -1 }))
	require.Error(t, s.rt.Tune(func(c *guard.RouteConfig) { c.Cost = -1 }))
	require.Error(t, s.d.Tune(func(c *guard.DependencyConfig) { c.Probes = -1 }))
	require.Error(t, s.d.Tune(nil))
	require.Zero(t, s.forget())
}

// No hook can be set, replaced or taken away by Tune, not even by another
// closure of the same code; the error names it.
func TestHooksCannotBeTuned(t *testing.T) {
	w := new(witness)
	every := reflect.TypeFor[guard.Hooks]()
	for i := range every.NumField() {
		field := every.Field(i).Name
		for name, test := range map[string]struct{ before, after guard.Hooks }{
			"set":     {guard.Hooks{}, w.hooks()},
			"removed": {w.hooks(), guard.Hooks{}},
			"another": {w.hooks(), w.hooks()},
		} {
			g := newGuard(t, guard.Config{Hooks: test.before})
			err := g.Tune(func(c *guard.Config) {
				reflect.ValueOf(&c.Hooks).Elem().Field(i).Set(reflect.ValueOf(test.after).Field(i))
				c.Support = "changed"
			})
			require.ErrorContains(t, err, "Hooks."+field, name)
			require.Empty(t, g.Config().Support, "nothing has changed")
		}
	}
	require.NoError(t, newGuard(t, guard.Config{Hooks: w.hooks()}).Tune(func(c *guard.Config) { c.Support = "changed" }))
}
