package guard

import (
	"context"
	"net/http"
	"sync/atomic"
)

// RouteConfig says what limits a route has beside those of its guard.
type RouteConfig struct {
	// Limit is one bucket for all requests of the route. The zero Limit means none.
	Limit Limit
	// Clients are buckets per client of the route.
	Clients []ClientLimit
	// Concurrency bounds the requests of the route that are being served at once.
	Concurrency Concurrency
	// Priority is that of the requests of the route, where there is a queue: of the
	// guard (behind [Guard.Mux], whose mux is asked for the route; or without a
	// handler of the guard around it), of the route, and of dependencies. The zero
	// value is PriorityNormal.
	Priority Priority
	// PriorityOf, if not nil, returns the priority of a request instead; see
	// Config.PriorityOf. Dependencies know nothing of it: see [WithPriority].
	PriorityOf func(*http.Request) Priority
	// Cost is the number of tokens that a request takes from every bucket, the
	// guard's included. 0 means 1; negative, or more than the Burst of one of
	// those buckets, is an error.
	Cost int
	// Needs are dependencies that the route cannot do without: while one of them
	// refuses calls, a request is refused before it has taken a token, and
	// answered with 502. nil in it is an error.
	Needs []*Dependency
}

// A Route is a part of what a guard guards, with limits of its own. Make one
// with [Guard.Route]; the zero Route is not usable.
type Route struct {
	guard *Guard
	name  string
	tuned atomic.Pointer[tunedRoute]

	_       [64]byte // every request reads the above and writes the below
	flight  flight
	_       [64]byte
	traffic traffic
}

// tunedRoute is a RouteConfig in effect. It is immutable.
type tunedRoute struct {
	buckets
	config RouteConfig
	cost   int
}

// Route adds a route. The name stands in logs and must be unique in the guard.
// The error names what is invalid, and its value.
func (g *Guard) Route(name string, c RouteConfig) (*Route, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.checkName(name); err != nil {
		return nil, err
	}
	t, err := compileRoute(name, c, nil, g.tuned.Load())
	if err != nil {
		return nil, err
	}
	rt := &Route{guard: g, name: name}
	rt.flight.bound = newBound(g.start, true, func(e OverloadEvent) {
		e.Route = name
		g.overloaded(e)
	})
	rt.flight.bound.configure(c.Concurrency)
	rt.tuned.Store(t)
	all := append(g.allRoutes(), rt)
	g.routes.Store(&all)
	return rt, nil
}

// allRoutes returns the routes of the guard, in the order in which they were added.
func (g *Guard) allRoutes() []*Route {
	if all := g.routes.Load(); all != nil {
		return append([]*Route(nil), *all...)
	}
	return nil
}

// Handler wraps next with the limits of the route and the guard. It may stand
// alone, or inside [Guard.Handler], which then counts once.
func (rt *Route) Handler(next http.Handler) http.Handler {
	return rt.HandlerFunc(infallible(next))
}

// HandlerFunc is Handler for a handler that returns an error.
func (rt *Route) HandlerFunc(fn HandlerFunc) http.Handler { return &routeHandler{rt, fn} }

// routeHandler is a type of its own so that a route can be told by its handler.
type routeHandler struct {
	route *Route
	next  HandlerFunc
}

func (h *routeHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := h.route.tuned.Load().config.Priority; p != PriorityNormal {
		r = r.WithContext(WithPriority(r.Context(), p))
	}
	h.route.guard.serve(w, r, h.route, nil, h.next)
}

// Name returns the name of the route.
func (rt *Route) Name() string { return rt.name }

// Config returns a copy of the configuration, as it was given or tuned last.
func (rt *Route) Config() RouteConfig { return rt.tuned.Load().config.clone() }

func (c RouteConfig) clone() RouteConfig {
	c.Clients = append([]ClientLimit(nil), c.Clients...)
	c.Needs = append([]*Dependency(nil), c.Needs...)
	return c
}

// down returns what the dependency that the route needs and that is down for the
// longest refuses calls with, or nil if none is.
func (t *tunedRoute) down(ctx context.Context) (worst *DependencyError) {
	for _, d := range t.config.Needs {
		if refused := d.refuses(ctx); refused != nil && (worst == nil || refused.until == forever || worst.until != forever && refused.RetryAfter() > worst.RetryAfter()) {
			worst = refused
		}
	}
	return worst
}
