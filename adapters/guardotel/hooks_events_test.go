package guardotel_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// Where no span is recorded, the hooks cost a look.
func TestHooksCostNothing(t *testing.T) {
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, Remote: true})
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	dropped, span := provider.Tracer("test").Start(t.Context(), "request")
	defer span.End()
	told := 0
	for user, h := range map[string]guard.Hooks{
		"none": guardotel.Hooks(guard.Hooks{}),
		"both": guardotel.Hooks(guard.Hooks{
			Refused:        func(context.Context, guard.RefusalEvent) { told++ },
			BreakerChanged: func(context.Context, guard.BreakerEvent) { told++ },
		}),
	} {
		for name, ctx := range map[string]context.Context{
			"no span": t.Context(), "remote": trace.ContextWithSpanContext(t.Context(), remote), "not sampled": dropped,
		} {
			require.Zero(t, testing.AllocsPerRun(100, func() {
				h.Refused(ctx, guard.RefusalEvent{Route: "visits", Err: guard.ErrLimited})
				h.BreakerChanged(ctx, guard.BreakerEvent{Dependency: "db", To: guard.StateOpen, Calls: 10})
			}), "%s, user's hooks: %s", name, user)
		}
	}
	require.Equal(t, 3*2*101, told)
}

// Hooks that nobody has asked for stay nil: they would cost each request or call.
func TestHooksOthersStayNil(t *testing.T) {
	h := guardotel.Hooks(guard.Hooks{})
	require.Nil(t, h.RequestDone)
	require.Nil(t, h.CallDone)
	require.Nil(t, h.OverloadChanged)
	require.Nil(t, h.Tuned)
	require.Nil(t, h.Panicked)
	require.Nil(t, h.HealthChanged)
}

// Who has refused decides what the reason is, and then what the error matches first.
func TestHooksReasons(t *testing.T) {
	for want, e := range map[string]guard.RefusalEvent{
		"limited":    {Err: guard.ErrLimited},
		"client":     {Client: "key", Err: guard.ErrLimited},
		"overloaded": {Err: guard.ErrOverloaded},
		"draining":   {Err: guard.ErrDraining},
		"open":       {Dependency: "db", Err: errors.Join(guard.ErrOpen, guard.ErrDraining)},
		"throttled":  {Dependency: "db", Err: errors.Join(guard.ErrThrottled, guard.ErrOverloaded)},
		"saturated":  {Dependency: "db", Err: errors.Join(guard.ErrSaturated, guard.ErrLimited)},
	} {
		span := spanned(t, func(ctx context.Context) { guardotel.Hooks(guard.Hooks{}).Refused(ctx, e) })
		require.Equal(t, want, attrs(span.Events[0].Attributes)["guard.reason"])
		require.Equal(t, want, attrs(span.Attributes)["guard.refused.reason"])
		require.NotContains(t, attrs(span.Events[0].Attributes), "guard.retry_after", "the error does not say")
	}
}

// A request that goes on after a call was refused, and is then refused itself, has
// both events in order; the span has the reason of the last one.
func TestHooksLastReason(t *testing.T) {
	g := newGuard(t, guard.Config{Hooks: guardotel.Hooks(guard.Hooks{})})
	db, err := g.Dependency("db", guard.DependencyConfig{})
	require.NoError(t, err)
	db.Force(guard.ModeOpen)
	full := &full{}
	inner, err := g.Route("inner", guard.RouteConfig{Limit: guard.Limit{Rate: 1e-6, Burst: 1}})
	require.NoError(t, err)
	limited := inner.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	full.handler = limited
	full.get(t.Context(), "/", "")
	full.handler = g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.ErrorIs(t, db.Do(r.Context(), func(context.Context) error { return nil }), guard.ErrOpen)
		limited.ServeHTTP(w, r)
	}))
	span := spanned(t, func(ctx context.Context) {
		require.Equal(t, http.StatusServiceUnavailable, full.get(ctx, "/", ""))
	})
	require.Len(t, span.Events, 2)
	require.Equal(t, map[string]any{"guard.reason": "open", "guard.dependency": "db", "guard.shadow": false},
		attrs(span.Events[0].Attributes), "a forced breaker does not know when to come back")
	second := attrs(span.Events[1].Attributes)
	require.Equal(t, "limited", second["guard.reason"])
	require.Equal(t, "inner", second["guard.route"])
	require.NotContains(t, second, "guard.dependency")
	require.Equal(t, map[string]any{"guard.refused.reason": "limited"}, attrs(span.Attributes))
}

// In shadow mode a call is made all the same, and its span does not say refused.
func TestHooksShadowCall(t *testing.T) {
	g := newGuard(t, guard.Config{Shadow: true, Hooks: guardotel.Hooks(guard.Hooks{})})
	db, err := g.Dependency("db", guard.DependencyConfig{})
	require.NoError(t, err)
	db.Force(guard.ModeOpen)
	made := false
	span := spanned(t, func(ctx context.Context) {
		require.NoError(t, db.Do(ctx, func(context.Context) error { made = true; return nil }))
	})
	require.True(t, made)
	require.Len(t, span.Events, 1)
	require.Equal(t, map[string]any{"guard.reason": "open", "guard.dependency": "db", "guard.shadow": true}, attrs(span.Events[0].Attributes))
	require.Empty(t, span.Attributes)
}

// A user's hook that panics was called once, after the event, and its panic is the
// guard's business, as ever.
func TestHooksUserPanics(t *testing.T) {
	told := 0
	h := guardotel.Hooks(guard.Hooks{
		Refused:        func(context.Context, guard.RefusalEvent) { told++; panic("refused") },
		BreakerChanged: func(context.Context, guard.BreakerEvent) { told++; panic("changed") },
	})
	span := spanned(t, func(ctx context.Context) {
		require.PanicsWithValue(t, "refused", func() { h.Refused(ctx, guard.RefusalEvent{Err: guard.ErrLimited}) })
		require.PanicsWithValue(t, "changed", func() { h.BreakerChanged(ctx, guard.BreakerEvent{}) })
	})
	require.Len(t, span.Events, 2)
	require.Equal(t, 2, told)
}

// What a health check or the clock changes happens in no span; the user is told, and
// the span of the call that tripped the breaker has that event alone.
func TestHooksBreakerWithoutSpan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		var told []guard.State
		g := newGuard(t, guard.Config{Hooks: guardotel.Hooks(guard.Hooks{
			BreakerChanged: func(ctx context.Context, e guard.BreakerEvent) {
				told = append(told, e.To)
				require.Equal(t, e.Reason == "failures in a row", trace.SpanFromContext(ctx).IsRecording())
			},
		})})
		db, err := g.Dependency("db", guard.DependencyConfig{
			MinCalls: 1, OpenFor: time.Second, CheckEvery: time.Second, Check: func(context.Context) error { return nil },
		})
		require.NoError(t, err)
		ctx, span := provider.Tracer("test").Start(t.Context(), "request")
		require.ErrorIs(t, db.Do(ctx, func(context.Context) error { return errDown }), errDown)
		time.Sleep(time.Minute) // the check closes it, while the span goes on
		synctest.Wait()
		span.End()
		require.NoError(t, g.Close())
		require.Equal(t, []guard.State{guard.StateOpen, guard.StateHalfOpen, guard.StateClosed}, told)
		require.Len(t, exporter.GetSpans()[0].Events, 1)
		require.Equal(t, "open", attrs(exporter.GetSpans()[0].Events[0].Attributes)["guard.state"])
		require.NoError(t, provider.Shutdown(context.Background()))
	})
}
