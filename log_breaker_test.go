package guard_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Each change of a breaker makes one line, a warning if it opens, with the keys
// that dashboards look for.
func TestLogOfBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newGuard(t, guard.Config{Logger: j.json()})
		d, err := g.Dependency("db", guard.DependencyConfig{PauseOn429: true})
		require.NoError(t, err)
		call := func(err error) { _ = d.Do(t.Context(), func(context.Context) error { return err }) }
		always := []string{"dependency", "from", "level", "msg", "reason", "to"}
		for _, step := range []struct {
			do    func()
			level string
			tells [3]string // from, to, reason
			more  []string  // keys, sorted
		}{
			{func() { tripped(t, d) }, "WARN", [3]string{"closed", "open", "failures in a row"}, []string{"calls", "error", "failed", "open_for", "slow"}},
			{func() {
				time.Sleep(6 * time.Second)
				_ = d.State()
			}, "INFO", [3]string{"open", "half-open", "open time is over"}, nil},
			{func() { call(errors.New(secret)) }, "WARN", [3]string{"half-open", "open", "probe failed"}, []string{"error", "open_for"}},
			{func() {
				time.Sleep(12 * time.Second)
				_ = g.Snapshot()
			}, "INFO", [3]string{"open", "half-open", "open time is over"}, nil},
			{func() { call(nil) }, "INFO", [3]string{"half-open", "closed", "probes succeeded"}, nil},
			{func() { throttle(t, d) }, "WARN", [3]string{"closed", "open", "throttled"}, []string{"open_for"}},
			{func() {
				time.Sleep(time.Minute)
				_ = look(g.Ready(), http.MethodGet, "")
			}, "INFO", [3]string{"open", "closed", "pause is over"}, nil},
			{func() { d.Force(guard.ModeOpen) }, "WARN", [3]string{"closed", "open", "forced"}, nil},
			{func() { d.Force(guard.ModeAuto) }, "INFO", [3]string{"open", "closed", "given back"}, nil},
		} {
			step.do()
			lines := j.lines(t)
			require.Len(t, lines, 1, step.tells)
			line := lines[0]
			require.Equal(t, "guard: breaker changed", line["msg"])
			require.Equal(t, "db", line["dependency"])
			require.Equal(t, step.level, line["level"])
			require.Equal(t, []any{step.tells[0], step.tells[1], step.tells[2]}, []any{line["from"], line["to"], line["reason"]})
			require.Subset(t, keys(line), always)
			more := []string{}
			for _, key := range keys(line) {
				if !strings.Contains(" "+strings.Join(always, " ")+" ", " "+key+" ") {
					more = append(more, key)
				}
			}
			require.ElementsMatch(t, step.more, more, step.tells)
			if line["calls"] != nil {
				require.Equal(t, []any{10.0, 10.0, 0.0, secret}, []any{line["calls"], line["failed"], line["slow"], line["error"]})
			}
		}
	})
}

// Neither the error of a call nor a name can look like a line of its own, or
// move the cursor of who reads it.
func TestLogOfBreakerCannotBeForged(t *testing.T) {
	const attack = "\" level=ERROR msg=\"forged\"\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\ntime=now level=ERROR msg=forged\x1b[2J\x9b\x00\u2028\u202e\xff' `"
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		j := &journal{}
		g := newGuard(t, guard.Config{Logger: slog.New(handler(j))})
		d, err := g.Dependency(attack, guard.DependencyConfig{})
		require.NoError(t, err)
		for range 10 {
			_ = d.Do(t.Context(), func(context.Context) error { return errors.New(attack) })
		}
		require.NoError(t, d.Tune(func(*guard.DependencyConfig) {}))
		text := j.text()
		require.Equal(t, 2, strings.Count(text, "\n"), text)
		for _, not := range []string{"\x1b", "\r", "\x00", "\u2028", "\xff"} {
			if name != "JSON" || not != "\xff" {
				require.NotContains(t, text, not, name)
			}
		}
		if name == "JSON" {
			_, _ = io.WriteString(j, text)
			lines := j.lines(t)
			require.Equal(t, []any{"WARN", "guard: breaker changed"}, []any{lines[0]["level"], lines[0]["msg"]})
			require.Equal(t, []any{"INFO", "guard: tuned"}, []any{lines[1]["level"], lines[1]["msg"]})
		} else {
			require.Equal(t, 2, strings.Count(text, " msg=\"guard: "))
		}
	}
}

// The line of a change of configuration tells what is in effect, defaults and all.
func TestLogOfDependencyTuning(t *testing.T) {
	j := &journal{}
	g := newGuard(t, guard.Config{Logger: j.json()})
	d, err := g.Dependency("db", guard.DependencyConfig{})
	require.NoError(t, err)
	require.Error(t, d.Tune(func(c *guard.DependencyConfig) { c.FailureRate = 2 }))
	require.Empty(t, j.lines(t), "nothing has changed")
	require.NoError(t, d.Tune(func(c *guard.DependencyConfig) {
		c.Concurrency.Max, c.SlowCall, c.Required, c.Timeout = 7, time.Second, true, guard.NoTimeout
	}))
	lines := j.lines(t)
	require.Len(t, lines, 1)
	delete(lines[0], slog.TimeKey)
	require.Equal(t, map[string]any{
		"level": "INFO", "msg": "guard: tuned", "dependency": "db", "timeout": 0.0, "concurrency": 7.0, "min_calls": 10.0,
		"failure_rate": 0.5, "slow_call": 1e9, "slow_rate": 0.8, "open_for": 5e9, "probes": 1.0, "required": true,
	}, lines[0])
}

// angry is a slog.Handler that fails in each way there is.
type angry struct{ when string }

func (a angry) Enabled(context.Context, slog.Level) bool {
	if a.when == "Enabled" {
		panic(secret)
	}
	return true
}

func (a angry) Handle(context.Context, slog.Record) error {
	if a.when == "Handle" {
		panic(secret)
	}
	return errors.New(secret)
}
func (a angry) WithAttrs([]slog.Attr) slog.Handler { return a }
func (a angry) WithGroup(string) slog.Handler      { return a }

// A Logger that panics or fails changes nothing, be it in the goroutine of the
// Check or in a timer's.
func TestLoggerThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, when := range []string{"Enabled", "Handle", "never"} {
			w := new(witness)
			g := newGuard(t, guard.Config{Logger: slog.New(angry{when}), Hooks: w.hooks()})
			var checks atomic.Int32
			d, err := g.Dependency("db", guard.DependencyConfig{CheckEvery: time.Minute, Check: func(context.Context) error {
				if checks.Add(1) == 1 {
					return errors.New(secret)
				}
				return nil
			}})
			require.NoError(t, err)
			tripped(t, d)
			h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				return d.Do(r.Context(), func(context.Context) error { return nil })
			})
			require.Equal(t, http.StatusBadGateway, status(h, http.MethodGet, "/"))
			require.NoError(t, d.Tune(func(*guard.DependencyConfig) {}))
			time.Sleep(time.Hour) // the summary line, too
			require.Equal(t, guard.StateClosed, d.State())
			require.Len(t, w.breakers, 5, when)
			require.Equal(t, http.StatusOK, status(h, http.MethodGet, "/"))
			require.NoError(t, g.Close())
		}
	})
}

// A nilError is what a function returns that has a typed nil for no error.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// An error whose text cannot be had is a failure like any other: to whom it
// comes back, to the hooks, and to the Check, whose goroutine is nobody's.
func TestErrorWhoseTextPanics(t *testing.T) {
	for name, bad := range map[string]error{"panics": badError{}, "typed nil": (*nilError)(nil)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, w := &journal{}, new(witness)
				g := newGuard(t, guard.Config{Logger: j.json(), Hooks: w.hooks()})
				d, err := g.Dependency("db", guard.DependencyConfig{})
				require.NoError(t, err)
				for range 10 {
					require.NotPanics(t, func() {
						err := d.Do(t.Context(), func(context.Context) error { return bad })
						require.ErrorIs(t, err, bad)
					})
				}
				require.Equal(t, guard.StateOpen, d.State())
				require.Len(t, w.breakers, 1)
				require.Len(t, w.calls, 10)
				require.Equal(t, []guard.HealthEvent{{From: guard.HealthPass, To: guard.HealthWarn}}, w.healths)
				require.Len(t, j.lines(t), 1)
			})
		})
	}
}

// A Check that returns such an error must not take the process along: see
// TestErrorWhoseTextPanics, which would not get that far.
func TestCheckErrorWhoseTextPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := newGuard(t, guard.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		var checks atomic.Int32
		d, err := g.Dependency("db", guard.DependencyConfig{Check: func(context.Context) error {
			if checks.Add(1) < 3 {
				return badError{}
			}
			return nil
		}})
		require.NoError(t, err)
		tripped(t, d)
		time.Sleep(10 * time.Minute)
		require.GreaterOrEqual(t, checks.Load(), int32(3))
		require.Equal(t, guard.StateClosed, d.State())
		require.NoError(t, g.Close())
	})
}

// Ten thousand refusals by a breaker are one line, and so are those by a need
// and by a bulkhead.
func TestLogOfRefusalsByBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newGuard(t, guard.Config{Logger: j.json()})
		d, err := g.Dependency("db", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
		require.NoError(t, err)
		calls := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			return d.Do(r.Context(), func(context.Context) error { return nil })
		})
		needs := newRoute(t, g, "needs", guard.RouteConfig{Needs: []*guard.Dependency{d}}).Handler(ok)
		flood := func(h http.Handler, n, code int) {
			for range n {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, put())
				require.Equal(t, code, w.Code)
			}
		}
		_, p, err := d.Acquire(t.Context())
		require.NoError(t, err)
		flood(calls, 100, 503)
		p.Done(nil)
		d.Force(guard.ModeOpen)
		require.Len(t, j.lines(t), 1, "the change of the breaker")
		flood(calls, 10000, 502)
		flood(needs, 1000, 502)
		require.Empty(t, j.lines(t))
		time.Sleep(time.Second)
		synctest.Wait()
		lines := j.lines(t)
		require.Len(t, lines, 1)
		delete(lines[0], slog.TimeKey)
		require.Equal(t, map[string]any{
			"level": "WARN", "msg": "guard: refused requests", "dependency": 11000.0, "saturated": 100.0, "shadow": false,
		}, lines[0])
		time.Sleep(time.Hour)
		require.NoError(t, g.Close())
		require.Empty(t, j.lines(t))
		c := g.Snapshot()
		require.EqualValues(t, 11000, c.Requests.Counts.Refused.Dependency)
		require.EqualValues(t, 100, c.Requests.Counts.Refused.Saturated)
		require.EqualValues(t, 10000, c.Dependencies[0].Counts.Open)
	})
}
