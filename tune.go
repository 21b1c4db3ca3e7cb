package guard

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// tuned is a Config in effect. It is immutable.
type tuned struct {
	buckets
	config    Config
	status    Statuses
	refusals  [refusals]Error
	support   string
	proxies   []netip.Prefix
	forwarded string

	priorityHeader string // "": none
}

// Config returns a copy of the configuration, as it was given or tuned last.
func (g *Guard) Config() Config { return g.tuned.Load().config.clone() }

func (c Config) clone() Config {
	c.Clients = append([]ClientLimit(nil), c.Clients...)
	c.TrustedProxies = append([]netip.Prefix(nil), c.TrustedProxies...)
	return c
}

// Tune changes the configuration while the server runs. f is given a copy of the
// present one to change. The result is validated whole, also against the Cost of
// every route, and then takes effect, each bucket in one step; on an error, which
// names the field and its value, nothing changes. Buckets keep their tokens.
//
// No lock is held while f runs. It may run again if another change comes
// between, so it must do nothing but change its argument. Logger, Hooks, the
// number of Clients and their Key and MaxKeys cannot change.
func (g *Guard) Tune(f func(*Config)) error {
	if f == nil {
		return errors.New("guard: Tune(nil)")
	}
	for {
		old := g.tuned.Load()
		c := old.config.clone()
		f(&c)
		t, err := compile(c, old)
		if err != nil {
			return err
		}
		done, err := g.replace(old, t)
		if err != nil {
			return err
		}
		if done {
			g.log.tuned("", t.config.Limit, t.config.Clients, t.config.Concurrency)
			g.tunedEvent(TuneEvent{})
			return nil
		}
	}
}

// replace puts t in effect in place of old, if that still is.
func (g *Guard) replace(old, t *tuned) (done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tuned.Load() != old {
		return false, nil
	}
	for _, rt := range g.allRoutes() {
		if err := t.affords(rt.name, rt.tuned.Load().cost); err != nil {
			return false, err
		}
	}
	g.tuned.Store(t)
	t.apply()
	g.flight.bound.configure(t.places)
	return true, nil
}

// Tune changes the route's configuration while the server runs, just as
// [Guard.Tune] does the guard's.
func (rt *Route) Tune(f func(*RouteConfig)) error {
	if f == nil {
		return errors.New("guard: Tune(nil)")
	}
	for {
		old := rt.tuned.Load()
		c := old.config.clone()
		f(&c)
		done, err := rt.replace(old, c)
		if err != nil {
			return err
		}
		if done {
			rt.guard.log.tuned(rt.name, c.Limit, c.Clients, c.Concurrency)
			rt.guard.tunedEvent(TuneEvent{Route: rt.name})
			return nil
		}
	}
}

// replace puts c in effect in place of old, if that still is.
func (rt *Route) replace(old *tunedRoute, c RouteConfig) (done bool, err error) {
	rt.guard.mu.Lock()
	defer rt.guard.mu.Unlock()
	if rt.tuned.Load() != old {
		return false, nil
	}
	t, err := compileRoute(rt.name, c, old, rt.guard.tuned.Load())
	if err != nil {
		return false, err
	}
	rt.tuned.Store(t)
	t.apply()
	rt.flight.bound.configure(t.places)
	return true, nil
}

// compile checks a Config and makes it ready, on the buckets of the one before
// it (nil: none), which stay as they are until apply.
func compile(c Config, old *tuned) (*tuned, error) {
	c = c.clone()
	t := &tuned{config: c, status: c.Status, support: c.Support, forwarded: http.CanonicalHeaderKey(c.ForwardedHeader)}
	if t.support == "" {
		t.support = "support"
	}
	if t.forwarded == "" {
		t.forwarded = "X-Forwarded-For"
	}
	for _, s := range []struct {
		name   string
		status *int
		none   int
	}{
		{"Limited", &t.status.Limited, http.StatusServiceUnavailable},
		{"Client", &t.status.Client, http.StatusServiceUnavailable},
		{"Overloaded", &t.status.Overloaded, http.StatusServiceUnavailable},
		{"Dependency", &t.status.Dependency, http.StatusBadGateway},
	} {
		if *s.status == 0 {
			*s.status = s.none
		}
		if *s.status < 400 || *s.status > 599 {
			return nil, fmt.Errorf("guard: Status.%s is %d, want 400 to 599, or 0", s.name, *s.status)
		}
	}
	t.refusals = t.status.answers()
	var before *buckets
	start := time.Now()
	if old != nil {
		before, start = &old.buckets, old.limiter.start // from which all that has been counted counts
		if c.Logger != old.config.Logger {
			return nil, errors.New("guard: Logger cannot be changed by Tune")
		}
		if field := c.Hooks.differ(old.config.Hooks); field != "" {
			return nil, fmt.Errorf("guard: Hooks.%s cannot be changed by Tune", field)
		}
		if err := fixedClients("", c.Clients, old.config.Clients); err != nil {
			return nil, err
		}
	}
	var err error
	switch {
	case !isToken(t.forwarded):
		return nil, fmt.Errorf("guard: ForwardedHeader is %q, want the name of a header", c.ForwardedHeader)
	case c.DrainDelay < 0:
		return nil, fmt.Errorf("guard: DrainDelay is %v, want >= 0", c.DrainDelay)
	}
	if t.proxies, err = compileProxies(c.TrustedProxies); err != nil {
		return nil, err
	}
	if c.PriorityHeader != "" {
		t.priorityHeader = http.CanonicalHeaderKey(c.PriorityHeader)
		switch {
		case !isToken(t.priorityHeader):
			return nil, fmt.Errorf("guard: PriorityHeader is %q, want the name of a header", c.PriorityHeader)
		case len(t.proxies) == 0:
			return nil, fmt.Errorf("guard: PriorityHeader is %q, but there are no TrustedProxies to believe it from", c.PriorityHeader)
		}
	}
	t.buckets, err = compileBuckets(start, "", c.Limit, c.Clients, c.Concurrency, before)
	return t, err
}

// compileRoute is compile for a route of the guard that t is in effect for.
func compileRoute(name string, c RouteConfig, old *tunedRoute, t *tuned) (*tunedRoute, error) {
	prefix := "route " + strconv.Quote(name) + ": "
	c = c.clone()
	n := &tunedRoute{config: c, cost: c.Cost}
	if c.Cost == 0 {
		n.cost = 1
	}
	if c.Cost < 0 {
		return nil, fmt.Errorf("guard: %sCost is %d, want >= 0", prefix, c.Cost)
	}
	if c.Priority < 0 || c.Priority >= priorities {
		return nil, fmt.Errorf("guard: %sPriority is %d, want a Priority", prefix, int(c.Priority))
	}
	for i, d := range c.Needs {
		if d == nil {
			return nil, fmt.Errorf("guard: %sNeeds[%d] is nil, want a Dependency", prefix, i)
		}
	}
	var before *buckets
	if old != nil {
		before = &old.buckets
		if err := fixedClients(prefix, c.Clients, old.config.Clients); err != nil {
			return nil, err
		}
	}
	var err error
	if n.buckets, err = compileBuckets(t.limiter.start, prefix, c.Limit, c.Clients, c.Concurrency, before); err != nil {
		return nil, err
	}
	if err := n.affords(name, n.cost); err != nil {
		return nil, err
	}
	return n, t.affords(name, n.cost)
}

func compileBuckets(start time.Time, prefix string, l Limit, clients []ClientLimit, c Concurrency, old *buckets) (b buckets, err error) {
	if err := c.check("guard: " + prefix + "Concurrency"); err != nil {
		return b, err
	}
	b.places = c
	if b.limit, err = l.orNone(prefix + "Limit"); err != nil {
		return b, err
	}
	if old != nil {
		b.limiter = old.limiter
	} else {
		b.limiter = newLimiter(start, b.limit)
	}
	for i, c := range clients {
		var before *clientLimit
		if old != nil {
			before = old.clients[i]
		}
		n, err := compileClient(start, fmt.Sprintf("%sClients[%d]", prefix, i), c.name(i), c, before)
		if err != nil {
			return b, err
		}
		b.clients = append(b.clients, n)
	}
	return b, nil
}

// apply gives the buckets their limits, which have been checked.
func (b *buckets) apply() {
	if b.limiter.Limit() != b.limit {
		_ = b.limiter.SetLimit(b.limit)
	}
	for _, c := range b.clients {
		if c.keyed.Limit() != c.limit {
			_ = c.keyed.SetLimit(c.limit)
		}
	}
}

// affords returns an error if a route's cost is more than a bucket can hold.
func (b *buckets) affords(route string, cost int) error {
	exceeds := func(field string, l Limit) error {
		return fmt.Errorf("guard: route %q: Cost is %d, more than the %s.Burst of %d", route, cost, field, l.Burst)
	}
	if b.limit.exceededBy(cost) {
		return exceeds("Limit", b.limit)
	}
	for i, c := range b.clients {
		if c.limit.exceededBy(cost) {
			return exceeds(fmt.Sprintf("Clients[%d].Limit", i), c.limit)
		}
	}
	return nil
}

// fixedClients returns an error if something has changed that cannot.
func fixedClients(prefix string, now, old []ClientLimit) error {
	if len(now) != len(old) {
		return fmt.Errorf("guard: %sthe number of Clients is %d and cannot be changed by Tune to %d", prefix, len(old), len(now))
	}
	for i := range now {
		if !sameFunc(now[i].Key, old[i].Key) {
			return fmt.Errorf("guard: %sClients[%d].Key cannot be changed by Tune", prefix, i)
		}
		if now[i].MaxKeys != old[i].MaxKeys {
			return fmt.Errorf("guard: %sClients[%d].MaxKeys is %d and cannot be changed by Tune to %d", prefix, i, old[i].MaxKeys, now[i].MaxKeys)
		}
	}
	return nil
}

// checkName returns an error if a route cannot have the name. The caller holds mu.
func (g *Guard) checkName(name string) error {
	if name == "" {
		return errors.New(`guard: the name of a route is "", want one`)
	}
	for _, rt := range g.allRoutes() {
		if rt.name == name {
			return fmt.Errorf("guard: there is already a route %q", name)
		}
	}
	return nil
}

// exempt reports whether a request passes without limits.
func (t *tuned) exempt(r *http.Request) bool {
	if t.config.Exempt != nil {
		return t.config.Exempt(r)
	}
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL != nil && (r.URL.Path == "/livez" || r.URL.Path == "/readyz")
}
