package guardotel_test

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// spanned calls f within a span, and returns what was exported of it.
func spanned(t *testing.T, f func(context.Context)) tracetest.SpanStub {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	f(ctx)
	span.End()
	require.Len(t, exporter.GetSpans(), 1)
	stub := exporter.GetSpans()[0]
	require.NoError(t, provider.Shutdown(context.Background()))
	return stub
}

func attrs(kvs []attribute.KeyValue) map[string]any {
	m := map[string]any{}
	for _, kv := range kvs {
		m[string(kv.Key)] = kv.Value.AsInterface()
	}
	return m
}

func TestHooksRefusals(t *testing.T) {
	one := guard.Limit{Rate: 1e-6, Burst: 1}
	refuse := func(c guard.Config, route guard.RouteConfig, before func(*guard.Guard)) tracetest.SpanStub {
		c.Hooks = guardotel.Hooks(guard.Hooks{})
		g := newGuard(t, c)
		rt, err := g.Route("visits", route)
		require.NoError(t, err)
		f := &full{Guard: g, handler: rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
		before(g)
		return spanned(t, func(ctx context.Context) { f.get(ctx, "/", "secret-key") })
	}
	first := func(g *guard.Guard) {
		f := &full{handler: g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
		f.get(t.Context(), "/", "secret-key")
	}
	shutdown := func(g *guard.Guard) { require.NoError(t, g.Shutdown(context.Background())) }
	key := func(r *http.Request) string { return r.Header.Get("Api-Key") }

	for name, tt := range map[string]struct {
		config guard.Config
		before func(*guard.Guard)
		reason string
		more   map[string]any
	}{
		"limited":  {guard.Config{Limit: one}, first, "limited", nil},
		"client":   {guard.Config{Clients: []guard.ClientLimit{{Name: "key", Limit: one, Key: key}}}, first, "client", map[string]any{"guard.limit": "key"}},
		"draining": {guard.Config{}, shutdown, "draining", nil},
	} {
		t.Run(name, func(t *testing.T) {
			span := refuse(tt.config, guard.RouteConfig{}, tt.before)
			require.Len(t, span.Events, 1)
			require.Equal(t, "guard.refused", span.Events[0].Name)
			got := attrs(span.Events[0].Attributes)
			if name == "draining" {
				require.NotContains(t, got, "guard.retry_after", "nobody knows")
			} else {
				require.Greater(t, got["guard.retry_after"], 0.0)
			}
			delete(got, "guard.retry_after")
			want := map[string]any{"guard.reason": tt.reason, "guard.route": "visits", "guard.shadow": false}
			maps.Copy(want, tt.more)
			require.Equal(t, want, got)
			require.Equal(t, map[string]any{"guard.refused.reason": tt.reason}, attrs(span.Attributes))
		})
	}

	t.Run("shadow", func(t *testing.T) {
		span := refuse(guard.Config{Limit: one, Shadow: true}, guard.RouteConfig{}, first)
		require.Len(t, span.Events, 1)
		require.Equal(t, true, attrs(span.Events[0].Attributes)["guard.shadow"])
		require.Empty(t, span.Attributes, "it was not refused")
	})
}

func TestHooksOverloadedAndSaturated(t *testing.T) {
	g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{Max: 1}, Hooks: guardotel.Hooks(guard.Hooks{})})
	d, err := g.Dependency("db", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
	require.NoError(t, err)
	inner := spanned(t, func(ctx context.Context) {
		var f full
		f.handler = g.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			f.get(ctx, "/", "") // while this one is being served
			return nil
		})
		f.get(t.Context(), "/", "")
	})
	require.Len(t, inner.Events, 1)
	require.Equal(t, "overloaded", attrs(inner.Events[0].Attributes)["guard.reason"])

	span := spanned(t, func(ctx context.Context) {
		require.NoError(t, d.Do(t.Context(), func(context.Context) error {
			require.ErrorIs(t, d.Do(ctx, func(context.Context) error { return nil }), guard.ErrSaturated)
			return nil
		}))
	})
	require.Len(t, span.Events, 1)
	got := attrs(span.Events[0].Attributes)
	require.Equal(t, "saturated", got["guard.reason"])
	require.Equal(t, "db", got["guard.dependency"])
	require.NotContains(t, got, "guard.route")
}

func TestHooksBreaker(t *testing.T) {
	var at time.Time
	already := func(ctx context.Context) int {
		span, ok := trace.SpanFromContext(ctx).(sdktrace.ReadOnlySpan)
		require.True(t, ok)
		return len(span.Events())
	}
	f := newFull(t, guardotel.Hooks(guard.Hooks{
		BreakerChanged: func(ctx context.Context, e guard.BreakerEvent) {
			at = e.At
			require.Equal(t, 1, already(ctx), "the event is there before the user is told")
		},
		Refused: func(ctx context.Context, e guard.RefusalEvent) {
			if e.Route == "" {
				require.Equal(t, 2, already(ctx), "likewise")
			}
		},
	}))
	span := spanned(t, func(ctx context.Context) {
		for range 3 {
			f.get(ctx, "/visits", "bob")
		}
	})
	names := make([]string, len(span.Events))
	for i, e := range span.Events {
		names[i] = e.Name
	}
	// The second call trips it; the third is refused.
	require.Equal(t, []string{"guard.breaker.changed", "guard.refused"}, names)

	changed := attrs(span.Events[0].Attributes)
	require.InDelta(t, 3600, changed["guard.open_for"], 600)
	delete(changed, "guard.open_for")
	require.Equal(t, map[string]any{
		"guard.dependency": "db", "guard.state": "open", "guard.previous_state": "closed", "guard.reason": "failures in a row",
		"guard.window.calls": int64(2), "guard.window.failed": int64(2), "guard.window.slow": int64(0),
	}, changed)
	require.True(t, at.Equal(span.Events[0].Time), "%v, want %v", span.Events[0].Time, at)

	// A route that needs it refuses by itself.
	rt, err := f.Route("needs", guard.RouteConfig{Needs: []*guard.Dependency{f.db}})
	require.NoError(t, err)
	needy := &full{handler: rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
	other := spanned(t, func(ctx context.Context) { needy.get(ctx, "/", "") })
	require.Len(t, other.Events, 1)

	call, request := attrs(span.Events[1].Attributes), attrs(other.Events[0].Attributes)
	for _, got := range []map[string]any{call, request} {
		require.Equal(t, "open", got["guard.reason"])
		require.Equal(t, "db", got["guard.dependency"])
		require.InDelta(t, 3600, got["guard.retry_after"], 600)
	}
	require.NotContains(t, call, "guard.route")
	require.Equal(t, "needs", request["guard.route"])
	require.Equal(t, map[string]any{"guard.refused.reason": "open"}, attrs(span.Attributes))
}

func TestHooksThrottled(t *testing.T) {
	f := newFull(t, guardotel.Hooks(guard.Hooks{}))
	d, err := f.Dependency("api", guard.DependencyConfig{PauseOn429: true})
	require.NoError(t, err)
	transport := d.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Body: http.NoBody, Request: r,
			Header: http.Header{"Retry-After": {"30"}},
		}, nil
	}))
	span := spanned(t, func(ctx context.Context) {
		for range 2 {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api.test/", http.NoBody)
			require.NoError(t, err)
			if resp, err := transport.RoundTrip(r); err == nil {
				resp.Body.Close()
			}
		}
	})
	require.Len(t, span.Events, 2)
	require.Equal(t, "throttled", attrs(span.Events[0].Attributes)["guard.reason"])
	require.Equal(t, "throttled", attrs(span.Events[1].Attributes)["guard.reason"])
	require.Equal(t, "guard.refused", span.Events[1].Name)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The user's hooks are called as they would be, all of them.
func TestHooksCompose(t *testing.T) {
	told := map[string]int{}
	f := newFull(t, guardotel.Hooks(guard.Hooks{
		RequestDone:    func(context.Context, guard.RequestEvent) { told["RequestDone"]++ },
		Refused:        func(context.Context, guard.RefusalEvent) { told["Refused"]++ },
		CallDone:       func(context.Context, guard.CallEvent) { told["CallDone"]++ },
		BreakerChanged: func(context.Context, guard.BreakerEvent) { told["BreakerChanged"]++ },
		Tuned:          func(context.Context, guard.TuneEvent) { told["Tuned"]++ },
	}))
	f.exercise(t) // without a span
	require.NoError(t, f.Tune(func(*guard.Config) {}))
	require.Equal(t, map[string]int{"RequestDone": 7, "Refused": 2, "CallDone": 2, "BreakerChanged": 1, "Tuned": 1}, told)
}

// A span that panics takes nothing away from the user's hook.
func TestHooksSpanPanics(t *testing.T) {
	told := 0
	g := newGuard(t, guard.Config{
		Limit: guard.Limit{Rate: 1e-6, Burst: 1},
		Hooks: guardotel.Hooks(guard.Hooks{Refused: func(context.Context, guard.RefusalEvent) { told++ }}),
	})
	f := &full{handler: g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
	ctx := trace.ContextWithSpan(t.Context(), panicking{})
	require.Equal(t, http.StatusOK, f.get(ctx, "/", ""))
	require.Equal(t, http.StatusServiceUnavailable, f.get(ctx, "/", ""))
	require.Equal(t, 1, told)
}

type panicking struct{ trace.Span }

func (panicking) IsRecording() bool { panic("boom") }

// A span that has ended, or is not recorded, is left alone.
func TestHooksSpanEnded(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	span.End()
	f := newFull(t, guardotel.Hooks(guard.Hooks{}))
	for range 4 {
		f.get(ctx, "/pages", "alice")
	}
	require.Empty(t, exporter.GetSpans()[0].Events)
	require.NoError(t, provider.Shutdown(context.Background()))
}

func TestHooksNames(t *testing.T) {
	g := newGuard(t, guard.Config{Hooks: guardotel.Hooks(guard.Hooks{}), Limit: guard.Limit{Rate: 1e-6, Burst: 1}})
	rt, err := g.Route("\xff", guard.RouteConfig{})
	require.NoError(t, err)
	f := &full{handler: rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
	span := spanned(t, func(ctx context.Context) {
		f.get(ctx, "/", "")
		f.get(ctx, "/", "")
	})
	require.Equal(t, `"\xff"`, attrs(span.Events[0].Attributes)["guard.route"])
}
