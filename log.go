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
// request_id and error for a request; panic and stack; route, limit, burst,
// clients and concurrency for tuning; limited, client, overloaded, draining and
// shadow for refusals.
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

// request writes a line about one request.
func (l *logger) request(level slog.Level, msg string, r *http.Request, id string, status int, err error) {
	attrs := []slog.Attr{slog.Int("status", status)}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	l.write(r.Context(), level, msg, append(attrs, about(r, id)...)...)
}

func (l *logger) panicked(r *http.Request, id string, p any, stack []byte) {
	attrs := []slog.Attr{slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(stack))}
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
	attrs = append(attrs, slog.Float64("limit", float64(limit.Rate)), slog.Int("burst", limit.Burst), slog.Int("concurrency", c.Max))
	var each []any
	for i, c := range clients {
		each = append(each, slog.Group(c.name(i), slog.Float64("limit", float64(c.Limit.Rate)), slog.Int("burst", c.Limit.Burst)))
	}
	attrs = append(attrs, slog.Group("clients", each...))
	l.write(context.Background(), slog.LevelInfo, "guard: tuned", attrs...)
}

// refused counts a refusal. The first one of a second starts the timer that
// writes them.
func (l *logger) refused(e *RefusedError, shadow bool) {
	l.refusal[e.kind].Add(1)
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
	for i, name := range [...]string{"limited", "client", "overloaded", "draining"} {
		if n := l.refusal[i].Swap(0); n > 0 {
			attrs = append(attrs, slog.Int64(name, n))
		}
	}
	if len(attrs) > 0 {
		l.write(context.Background(), slog.LevelWarn, "guard: refused requests", append(attrs, slog.Bool("shadow", l.shadow.Load()))...)
	}
}
