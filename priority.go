package guard

import (
	"context"
	"net/http"
)

// Priority says who is served first where there is a queue: see [Concurrency].
type Priority int

// The priorities of a request.
const (
	PriorityNormal    Priority = iota
	PriorityCritical           // before all others: a sign-in, a payment
	PrioritySheddable          // after all others: a prefetch, a report, a retry

	priorities // how many
)

// String returns "normal", "critical" or "sheddable".
func (p Priority) String() string { return nameOf(int(p), "normal", "critical", "sheddable") }

// MarshalText implements [encoding.TextMarshaler].
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Priority) UnmarshalText(text []byte) error { return unmarshalName(p, text, priorities-1) }

// rank returns where in the order of service the priority stands, from 0 on. What
// is no priority is normal.
func (p Priority) rank() int {
	switch p {
	case PriorityCritical:
		return 0
	case PrioritySheddable:
		return 2
	case PriorityNormal, priorities:
	}
	return 1
}

// priority returns that of a request: what a trusted hop says, else what the
// guard's function or that of the route does, else the route's own.
func (t *tuned) priority(r *http.Request, rt *Route) Priority {
	if h := t.priorityHeader; h != "" && t.trusts(parseHop(r.RemoteAddr)) {
		var p Priority
		if v := r.Header[h]; len(v) == 1 && p.UnmarshalText([]byte(v[0])) == nil {
			return p
		}
	}
	if rt == nil {
		if f := t.config.PriorityOf; f != nil {
			return f(r)
		}
		return PriorityNormal
	}
	c := &rt.tuned.Load().config
	switch {
	case c.PriorityOf != nil:
		return c.PriorityOf(r)
	case c.Priority == PriorityNormal && t.config.PriorityOf != nil:
		return t.config.PriorityOf(r)
	}
	return c.Priority
}

type priorityKey struct{}

// WithPriority returns a context for calls to dependencies: where they have to
// queue, they do so with this priority. A request of a route has the route's.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// priorityOf returns the priority of a call.
func priorityOf(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}
