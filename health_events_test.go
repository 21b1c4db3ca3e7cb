package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// Each change of what Ready says is told once, whatever brought it about.
func TestHealthChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: w.hooks()})
		vital, err := g.Dependency("vital", guard.DependencyConfig{Required: true, PauseOn429: true})
		require.NoError(t, err)
		other, err := g.Dependency("other", guard.DependencyConfig{})
		require.NoError(t, err)
		said := guard.HealthPass
		for _, step := range []struct {
			name string
			do   func()
			now  guard.Health
		}{
			{"another opens", func() { tripped(t, other) }, guard.HealthWarn},
			{"so does a vital one", func() { tripped(t, vital) }, guard.HealthFail},
			{"the other is forced", func() { other.Force(guard.ModeClosed) }, guard.HealthFail},
			{"the vital one half-opens, as Ready finds out", func() {
				time.Sleep(6 * time.Second)
				_ = look(g.Ready(), http.MethodGet, "")
			}, guard.HealthWarn},
			{"its probe fails", func() { _ = vital.Do(t.Context(), func(context.Context) error { return errors.New(secret) }) }, guard.HealthFail},
			{"as Snapshot finds out", func() {
				time.Sleep(12 * time.Second)
				_ = g.Snapshot()
			}, guard.HealthWarn},
			{"its probe succeeds", func() { _ = vital.Do(t.Context(), func(context.Context) error { return nil }) }, guard.HealthPass},
			{"it pauses", func() { throttle(t, vital) }, guard.HealthFail},
			{"as a call finds out", func() { _ = vital.Do(t.Context(), func(context.Context) error { return nil }) }, guard.HealthFail},
			{"the pause is over", func() {
				time.Sleep(10 * time.Second)
				_ = vital.Do(t.Context(), func(context.Context) error { return nil })
			}, guard.HealthPass},
			{"it is forced", func() { vital.Force(guard.ModeOpen) }, guard.HealthFail},
			{"it is needed no more", func() {
				require.NoError(t, vital.Tune(func(c *guard.DependencyConfig) { c.Required = false }))
			}, guard.HealthWarn},
			{"and again", func() {
				require.NoError(t, vital.Tune(func(c *guard.DependencyConfig) { c.Required = true }))
			}, guard.HealthFail},
			{"all is well", func() { vital.Force(guard.ModeAuto) }, guard.HealthPass},
			{"drained", g.Drain, guard.HealthFail},
			{"twice", g.Drain, guard.HealthFail},
			{"with a breaker", func() { vital.Force(guard.ModeOpen) }, guard.HealthFail},
			{"for good", func() { _ = g.Shutdown(t.Context()) }, guard.HealthFail},
		} {
			w.forget()
			step.do()
			require.Equal(t, step.now, g.Snapshot().Health, step.name)
			if step.now == said {
				require.Empty(t, w.healths, step.name)
			} else {
				require.Equal(t, []guard.HealthEvent{{From: said, To: step.now}}, w.healths, step.name)
			}
			said = step.now
		}
	})
}

// What was told last is what is the case, though breakers change while it is
// being found out.
func TestHealthChangedEndsWithTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := guard.HealthPass
		var first, second *guard.Dependency
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
			HealthChanged: func(_ context.Context, e guard.HealthEvent) { said = e.To },
			BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
				if e.Dependency == "second" && e.To == guard.StateHalfOpen { // the report has been with the first
					first.Force(guard.ModeAuto)
					second.Force(guard.ModeAuto)
				}
			},
		}})
		dependency := func(name string) *guard.Dependency {
			d, err := g.Dependency(name, guard.DependencyConfig{})
			require.NoError(t, err)
			return d
		}
		first, second = dependency("first"), dependency("second")
		third := dependency("third")
		third.Force(guard.ModeOpen)
		first.Force(guard.ModeOpen)
		tripped(t, second)
		require.Equal(t, guard.HealthWarn, said)
		time.Sleep(6 * time.Second)
		third.Force(guard.ModeAuto) // a change, so there is a report
		require.Equal(t, guard.HealthPass, g.Snapshot().Health)
		require.Equal(t, guard.HealthPass, said)
	})
}
