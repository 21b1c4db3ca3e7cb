package guard

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// logger writes the guard's lines. Their keys are stable: method, path, status,
// request_id and error for a request; panic and stack; route or dependency, limit,
// burst, clients, concurrency or self_tuned, floor and ceiling, max_wait, timeout and min_calls, failure_rate, slow_call,
// slow_rate, open_for, probes and required for tuning; limited, client,
// overloaded, draining, dependency, saturated and shadow for refusals; dependency, from,
// to, reason, open_for, calls, failed, slow and error for a breaker; route or
// dependency, limit, in_flight, waiting, no_queue, last_move, lasted and refused for
// an overload.
type logger struct {
	to      *slog.Logger // nil: slog.Default()
	refusal [refusals]atomic.Int64
	shadow  atomic.Bool
	pending atomic.Bool // a timer is running that writes the refusals
}

func (l *logger) write(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	defer func() { _ = recover() }() // a logger that panics must not take the server along
	to := l.to
	if to == nil {
		to = slog.Default()
	}
	to.LogAttrs(ctx, level, msg, attrs...)
}

// textOf is fmt.Sprint for a value of the user's, which may panic.
func textOf(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("(a %T that cannot be printed)", v)
		}
	}()
	return fmt.Sprint(v)
}

// request writes a line about one request.
func (l *logger) request(level slog.Level, msg string, r *http.Request, id string, status int, err error) {
	attrs := []slog.Attr{slog.Int("status", status)}
	if err != nil {
		attrs = append(attrs, slog.String("error", textOf(err)))
	}
	l.write(r.Context(), level, msg, append(attrs, about(r, id)...)...)
}

func (l *logger) panicked(r *http.Request, id string, p any, stack []byte) {
	attrs := []slog.Attr{slog.String("panic", textOf(p)), slog.String("stack", string(stack))}
	l.write(r.Context(), slog.LevelError, "guard: handler panicked", append(attrs, about(r, id)...)...)
}

// about tells which request it is. Path and method are the client's, so they
// are escaped and cut.
func about(r *http.Request, id string) []slog.Attr {
	return []slog.Attr{
		slog.String("method", printable(head(r.Method, 32))),
		slog.String("path", printable(head(requestPath(r), 256))),
		slog.String("request_id", id),
	}
}

func head(s string, most int) string { return s[:min(len(s), most)] }

func (l *logger) tuned(route string, limit Limit, clients []ClientLimit, c Concurrency) {
	var attrs []slog.Attr
	if route != "" {
		attrs = append(attrs, slog.String("route", route))
	}
	attrs = append(attrs, slog.Float64("limit", float64(limit.Rate)), slog.Int("burst", limit.Burst))
	attrs = append(attrs, places(c)...)
	var each []any
	for i, c := range clients {
		each = append(each, slog.Group(c.name(i), slog.Float64("limit", float64(c.Limit.Rate)), slog.Int("burst", c.Limit.Burst)))
	}
	attrs = append(attrs, slog.Group("clients", each...))
	l.write(context.Background(), slog.LevelInfo, "guard: tuned", attrs...)
}

func (l *logger) tunedDependency(name string, t *tunedDependency) {
	l.write(context.Background(), slog.LevelInfo, "guard: tuned",
		append(places(t.Concurrency), slog.String("dependency", name), slog.Duration("timeout", t.Timeout),
			slog.Int("min_calls", t.MinCalls), slog.Float64("failure_rate", t.FailureRate),
			slog.Duration("slow_call", t.SlowCall), slog.Float64("slow_rate", t.SlowRate),
			slog.Duration("open_for", t.OpenFor), slog.Int("probes", t.Probes), slog.Bool("required", t.Required))...)
}

// places tells of a bound on what goes on at once.
func places(c Concurrency) []slog.Attr {
	attrs := []slog.Attr{slog.Int("concurrency", c.Max)}
	if c.SelfTuned {
		attrs = []slog.Attr{slog.Bool("self_tuned", true), slog.Int("floor", c.Floor), slog.Int("ceiling", c.Ceiling)}
	}
	if c.MaxWait > 0 {
		attrs = append(attrs, slog.Duration("max_wait", c.MaxWait))
	}
	return attrs
}

// overload writes that a bound has begun to refuse, or that it is over.
func (l *logger) overload(e OverloadEvent) {
	var attrs []slog.Attr
	if e.Route != "" {
		attrs = append(attrs, slog.String("route", e.Route))
	}
	if e.Dependency != "" {
		attrs = append(attrs, slog.String("dependency", e.Dependency))
	}
	attrs = append(attrs, slog.Int("limit", e.Limit), slog.Int("in_flight", e.InFlight), slog.Int("waiting", e.Waiting))
	if e.SelfTuned {
		attrs = append(attrs, slog.Duration("no_queue", e.NoQueue), slog.String("last_move", e.LastMove.Reason))
	}
	level, msg := slog.LevelWarn, "guard: overload"
	if e.Over {
		level, msg = slog.LevelInfo, "guard: overload is over"
		attrs = append(attrs, slog.Duration("lasted", e.Lasted), slog.Uint64("refused", e.Refused))
	}
	l.write(context.Background(), level, msg, attrs...)
}

// breaker writes that the state of a breaker has changed.
func (l *logger) breaker(ctx context.Context, e *BreakerEvent) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("dependency", e.Dependency), slog.String("from", e.From.String()),
		slog.String("to", e.To.String()), slog.String("reason", e.Reason),
	}
	if e.To == StateOpen {
		level = slog.LevelWarn
		if e.OpenFor > 0 {
			attrs = append(attrs, slog.Duration("open_for", e.OpenFor))
		}
	}
	if e.Calls > 0 {
		attrs = append(attrs, slog.Int64("calls", e.Calls), slog.Int64("failed", e.Failed), slog.Int64("slow", e.Slow))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", textOf(e.Err)))
	}
	l.write(ctx, level, "guard: breaker changed", attrs...)
}

// refused counts a refusal. The first one of a second starts the timer that
// writes them.
func (l *logger) refused(why refusal, shadow bool) {
	l.refusal[why].Add(1)
	if l.shadow.Load() != shadow {
		l.shadow.Store(shadow)
	}
	if !l.pending.Load() && l.pending.CompareAndSwap(false, true) {
		time.AfterFunc(time.Second, func() {
			l.pending.Store(false)
			l.summarize()
		})
	}
}

func (l *logger) summarize() {
	attrs := make([]slog.Attr, 0, len(l.refusal)+1)
	for i, name := range refusalNames {
		if n := l.refusal[i].Swap(0); n > 0 {
			attrs = append(attrs, slog.Int64(name, n))
		}
	}
	if len(attrs) > 0 {
		l.write(context.Background(), slog.LevelWarn, "guard: refused requests", append(attrs, slog.Bool("shadow", l.shadow.Load()))...)
	}
}

var refusalNames = [refusals]string{"limited", "client", "overloaded", "draining", "dependency", "saturated"} //nolint:gochecknoglobals // a constant
