package guardotel

import (
	"context"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"example.com/guard"
)

// Hooks returns hooks that add refusals and changes of breakers to the active span
// as events, and then call those of user, once each: all of them are kept, and any
// may be nil. They are safe for concurrent use, and allocate nothing where no span is
// recorded. Should recording panic, user is still called; a panic of user's goes to
// the guard, as it would without these.
func Hooks(user guard.Hooks) guard.Hooks {
	h := user
	h.Refused = func(ctx context.Context, e guard.RefusalEvent) {
		if user.Refused != nil {
			defer user.Refused(ctx, e)
		}
		if span := trace.SpanFromContext(ctx); span.IsRecording() {
			refused(span, &e)
		}
	}
	h.BreakerChanged = func(ctx context.Context, e guard.BreakerEvent) {
		if user.BreakerChanged != nil {
			defer user.BreakerChanged(ctx, e)
		}
		if span := trace.SpanFromContext(ctx); span.IsRecording() {
			breakerChanged(span, &e)
		}
	}
	return h
}

func refused(span trace.Span, e *guard.RefusalEvent) {
	why := reason(e)
	attrs := []attribute.KeyValue{attribute.String("guard.reason", why), attribute.Bool("guard.shadow", e.Shadow)}
	for _, name := range []struct{ key, value string }{
		{"guard.route", e.Route}, {"guard.dependency", e.Dependency}, {"guard.limit", e.Client},
	} {
		if name.value != "" {
			attrs = append(attrs, attribute.String(name.key, text(name.value)))
		}
	}
	var retry interface{ RetryAfter() time.Duration }
	if errors.As(e.Err, &retry) {
		if wait := retry.RetryAfter(); wait >= 0 {
			attrs = append(attrs, attribute.Float64("guard.retry_after", wait.Seconds()))
		}
	}
	span.AddEvent("guard.refused", trace.WithAttributes(attrs...))
	if !e.Shadow {
		span.SetAttributes(attribute.String("guard.refused.reason", why))
	}
}

// reason returns why something was refused, in one of a few words. Who refused
// decides, and then the error: that of a call may have that of a context in it, which
// can be anything.
func reason(e *guard.RefusalEvent) string {
	switch {
	case e.Dependency != "" && errors.Is(e.Err, guard.ErrSaturated):
		return "saturated"
	case e.Dependency != "" && errors.Is(e.Err, guard.ErrThrottled):
		return "throttled"
	case e.Dependency != "":
		return "open"
	case e.Client != "":
		return "client"
	case errors.Is(e.Err, guard.ErrOverloaded):
		return "overloaded"
	case errors.Is(e.Err, guard.ErrDraining):
		return "draining"
	}
	return "limited"
}

func breakerChanged(span trace.Span, e *guard.BreakerEvent) {
	attrs := []attribute.KeyValue{
		attribute.String("guard.dependency", text(e.Dependency)),
		attribute.String("guard.state", e.To.String()),
		attribute.String("guard.previous_state", e.From.String()),
		attribute.String("guard.reason", e.Reason),
	}
	if e.OpenFor > 0 {
		attrs = append(attrs, attribute.Float64("guard.open_for", e.OpenFor.Seconds()))
	}
	if e.Calls > 0 {
		attrs = append(
			attrs, attribute.Int64("guard.window.calls", e.Calls),
			attribute.Int64("guard.window.failed", e.Failed), attribute.Int64("guard.window.slow", e.Slow),
		)
	}
	span.AddEvent("guard.breaker.changed", trace.WithTimestamp(e.At), trace.WithAttributes(attrs...))
}

// text returns a name as the value of an attribute. Exporters fail where one is
// not UTF-8.
func text(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strconv.Quote(name)
}
