package guard

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A Snapshot is what is the case at one time. Its counts are exact, and since
// the start; of a flood, a sample is timed. Durations are in nanoseconds in JSON. It is made of plain values, and
// changes no more.
type Snapshot struct {
	Time         time.Time            `json:"time"`
	Uptime       time.Duration        `json:"uptime"` // of the guard
	Phase        string               `json:"phase"`  // serving, draining or refusing
	Health       Health               `json:"health"` // what Ready says
	Shadow       bool                 `json:"shadow"` // refusals are counted, but nothing is refused
	Requests     Traffic              `json:"requests"`
	Routes       []RouteSnapshot      `json:"routes"`
	Dependencies []DependencySnapshot `json:"dependencies"`
}

// Traffic tells of the requests of a guard or a route, exempt ones left out.
type Traffic struct {
	Limit       BucketSnapshot   `json:"limit"`
	Clients     []ClientSnapshot `json:"clients"`
	InFlight    int64            `json:"inFlight"`
	MaxInFlight int              `json:"maxInFlight"` // 0: no bound
	Bound       BoundSnapshot    `json:"bound"`
	Counts      RequestCounts    `json:"counts"`
	Latency     Latency          `json:"latency"` // of who was served, failed or panicked; of more than 1,000 a second, of these
}

// A RouteSnapshot tells of a route.
type RouteSnapshot struct {
	Name  string   `json:"name"`
	Cost  int      `json:"cost"`
	Needs []string `json:"needs,omitempty"` // names of dependencies
	Traffic
}

// A BucketSnapshot tells of a token bucket.
type BucketSnapshot struct {
	Unlimited bool    `json:"unlimited"` // there is no limit, and all else is 0
	Rate      float64 `json:"rate"`      // tokens per second
	Burst     int     `json:"burst"`
	Tokens    float64 `json:"tokens"` // that are there; 0 for a limit per client
}

// A ClientSnapshot tells of a limit per client.
type ClientSnapshot struct {
	Name    string         `json:"name"`
	Limit   BucketSnapshot `json:"limit"` // of each client
	Keys    int            `json:"keys"`  // clients that are told apart now
	MaxKeys int            `json:"maxKeys"`
	Refused uint64         `json:"refused"` // requests, by this limit
}

// RequestCounts tell what became of requests: see [RequestOutcome].
type RequestCounts struct {
	Served    uint64        `json:"served"`
	Failed    uint64        `json:"failed"`
	Panicked  uint64        `json:"panicked"`
	Aborted   uint64        `json:"aborted"`
	Canceled  uint64        `json:"canceled"`
	Hijacked  uint64        `json:"hijacked"`
	Refused   RefusalCounts `json:"refused"`
	Status3xx uint64        `json:"status3xx"` // of all the above, what was answered with 300 to 399
	Status4xx uint64        `json:"status4xx"`
	Status5xx uint64        `json:"status5xx"`
}

// RefusalCounts tells why requests were refused, or would have been but for
// shadow mode.
type RefusalCounts struct {
	Limited    uint64 `json:"limited"`    // by a limit that all share, or the route's
	Client     uint64 `json:"client"`     // by a limit per client
	Overloaded uint64 `json:"overloaded"` // by the bound on requests in flight
	Draining   uint64 `json:"draining"`
	Dependency uint64 `json:"dependency"` // by a breaker that is open, or a pause
	Saturated  uint64 `json:"saturated"`  // by the bound on calls to a dependency
}

// Total returns how many were refused.
func (c RefusalCounts) Total() uint64 {
	return c.Limited + c.Client + c.Overloaded + c.Draining + c.Dependency + c.Saturated
}

// A DependencySnapshot tells of a dependency.
type DependencySnapshot struct {
	Name        string         `json:"name"`
	State       State          `json:"state"`
	Mode        Mode           `json:"mode"`
	Since       time.Time      `json:"since"`               // of the state
	NextProbe   time.Duration  `json:"nextProbe,omitempty"` // until the breaker will be half-open
	PausedFor   time.Duration  `json:"pausedFor,omitempty"` // until a pause is over
	Required    bool           `json:"required"`
	InFlight    int64          `json:"inFlight"`
	MaxInFlight int            `json:"maxInFlight"` // 0: no bound
	Bound       BoundSnapshot  `json:"bound"`
	Counts      CallCounts     `json:"counts"`
	Window      WindowSnapshot `json:"window"`
	LastFailure string         `json:"lastFailure,omitempty"` // timeout, panic, status 503, or the Go type of the error, never its text
	FailedAt    time.Time      `json:"failedAt,omitzero"`     // when that was
	Latency     Latency        `json:"latency"`               // of calls that were not ignored; without Timeout and SlowCall, of 10,000 in a Window at the most
}

// CallCounts tell what became of calls: see [Outcome].
type CallCounts struct {
	Succeeded uint64 `json:"succeeded"`
	Failed    uint64 `json:"failed"`
	Answered  uint64 `json:"answered"`
	Ignored   uint64 `json:"ignored"`
	Slow      uint64 `json:"slow"`      // of all the above
	Open      uint64 `json:"open"`      // refused by the breaker
	Throttled uint64 `json:"throttled"` // refused by a pause
	Saturated uint64 `json:"saturated"` // refused by the bound on calls at once
}

// A WindowSnapshot tells what the breaker goes by, and from where on it trips.
// While it is not closed, nothing is counted.
type WindowSnapshot struct {
	Length      time.Duration `json:"length"`
	Calls       int64         `json:"calls"`
	Failed      int64         `json:"failed"`
	Slow        int64         `json:"slow"`
	Streak      int64         `json:"streak"` // failures in a row
	MinCalls    int           `json:"minCalls"`
	FailureRate float64       `json:"failureRate"`
	SlowCall    time.Duration `json:"slowCall,omitempty"` // 0: no call is slow
	SlowRate    float64       `json:"slowRate"`
}

// Snapshot tells what is the case. It costs some microseconds, and more the more
// routes and dependencies there are, but no lock is held for long.
func (g *Guard) Snapshot() Snapshot {
	t := g.tuned.Load()
	s := Snapshot{
		Time:         time.Now(),
		Uptime:       time.Duration(g.now()),
		Phase:        phaseName(g.phase.Load()),
		Health:       g.report().Status,
		Shadow:       t.config.Shadow,
		Requests:     g.traffic.snapshot(&t.buckets, &g.flight),
		Routes:       []RouteSnapshot{},
		Dependencies: []DependencySnapshot{},
	}
	for _, rt := range g.allRoutes() {
		own := rt.tuned.Load()
		r := RouteSnapshot{Name: rt.name, Cost: own.cost, Traffic: rt.traffic.snapshot(&own.buckets, &rt.flight)}
		for _, d := range own.config.Needs {
			r.Needs = append(r.Needs, d.name)
		}
		s.Routes = append(s.Routes, r)
	}
	for _, d := range g.Dependencies() {
		s.Dependencies = append(s.Dependencies, d.snapshot())
	}
	return s
}

func (t *traffic) snapshot(b *buckets, f *flight) Traffic {
	s := Traffic{Limit: snapshotLimit(b.limit), Clients: []ClientSnapshot{}, Latency: t.latency.snapshot()}
	s.InFlight, s.MaxInFlight, s.Bound = f.snapshot(b.places)
	if !s.Limit.Unlimited {
		s.Limit.Tokens = min(b.limiter.Tokens(), float64(s.Limit.Burst)) // which may have lost its limit by now
	}
	for _, c := range b.clients {
		s.Clients = append(s.Clients, ClientSnapshot{
			Name: c.name, Limit: snapshotLimit(c.limit), Keys: c.keyed.Len(), MaxKeys: int(c.keyed.max), Refused: c.refused.Load(),
		})
	}
	of := func(o RequestOutcome) uint64 { return t.outcomes[o].Load() }
	c := &s.Counts
	c.Served, c.Failed, c.Panicked = of(RequestServed), of(RequestFailed), of(RequestPanicked)
	c.Aborted, c.Canceled, c.Hijacked = of(RequestAborted), of(RequestCanceled), of(RequestHijacked)
	c.Status3xx, c.Status4xx, c.Status5xx = t.status[3].Load(), t.status[4].Load(), t.status[5].Load()
	c.Refused = RefusalCounts{
		Limited:    t.refused[refusedLimited].Load(),
		Client:     t.refused[refusedClient].Load(),
		Overloaded: t.refused[refusedOverloaded].Load(),
		Draining:   t.refused[refusedDraining].Load(),
		Dependency: t.refused[refusedDependency].Load(),
		Saturated:  t.refused[refusedSaturated].Load(),
	}
	return s
}

func snapshotLimit(l Limit) BucketSnapshot {
	if l.Rate == rate.Inf {
		return BucketSnapshot{Unlimited: true}
	}
	return BucketSnapshot{Rate: float64(l.Rate), Burst: l.Burst}
}

func (d *Dependency) snapshot() DependencySnapshot {
	t := d.tuned.Load()
	s := DependencySnapshot{
		Name: d.name, State: d.State(), Required: t.Required,
		InFlight: d.calls.inside(), MaxInFlight: t.Concurrency.Max, Latency: d.latency.snapshot(),
		Window: WindowSnapshot{
			MinCalls: t.MinCalls, FailureRate: t.FailureRate, SlowCall: t.SlowCall, SlowRate: t.SlowRate, Length: t.Window,
		},
	}
	if t.Concurrency.queued() {
		s.Bound, _ = d.bound.look()
		s.MaxInFlight = s.Bound.Limit
	}
	of := func(n *atomic.Int64) uint64 { return uint64(n.Load()) } //nolint:gosec // never negative
	s.Counts = CallCounts{
		Succeeded: of(&d.calls.ended[OutcomeSucceeded]), Failed: of(&d.calls.ended[OutcomeFailed]),
		Answered: of(&d.calls.ended[OutcomeAnswered]), Ignored: of(&d.calls.ended[OutcomeIgnored]),
		Slow: of(&d.calls.slow),
		Open: of(&d.calls.open), Throttled: of(&d.calls.throttled), Saturated: of(&d.calls.saturated),
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	now, ph := d.now(), d.phase.Load()
	s.State, s.Mode, s.Since = d.visible(now), ph.mode, d.at(d.toldAt)
	if ph.state == StateOpen && ph.until != forever {
		s.NextProbe = max(time.Duration(ph.until-now), 0)
	}
	if p := d.pause.Load(); p != nil && ph.mode == ModeAuto {
		s.PausedFor = max(time.Duration(p.until-now), 0)
	}
	if ph.state == StateClosed {
		tally := ph.window.sum(now)
		s.Window.Calls, s.Window.Failed, s.Window.Slow, s.Window.Streak = tally.calls, tally.failed, tally.slow, ph.streak.Load()
		s.Window.Length = time.Duration(ph.span())
	}
	if s.LastFailure = d.blame; d.blame != "" {
		s.FailedAt = d.at(d.blamed)
	}
	return s
}
