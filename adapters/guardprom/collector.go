package guardprom

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
)

// A Collector is a [prometheus.Collector] of a guard's metrics. Make one with
// [New]; the zero Collector is not usable. It is safe for concurrent use.
type Collector struct {
	guard   *guard.Guard
	started time.Time // when the guard was made
	buckets []bucketBound
	native  bool

	all          []*prometheus.Desc
	whole        wholeDescs
	requests     trafficDescs
	routes       trafficDescs
	dependencies dependencyDescs
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a Collector for g, to be registered with a registry. The error names
// the option that is invalid, and its value; a nil guard is an error, too. The
// options are copied.
func New(g *guard.Guard, o Options) (*Collector, error) {
	if g == nil {
		return nil, errors.New("guardprom: the guard is nil")
	}
	buckets, err := o.bounds()
	if err != nil {
		return nil, err
	}
	if err := o.checkLabels(); err != nil {
		return nil, err
	}
	c := &Collector{guard: g, buckets: buckets, native: o.NativeHistograms}
	b := builder{constant: o.ConstLabels}
	c.whole = newWholeDescs(&b)
	c.requests = newTrafficDescs(&b, "", nil)
	c.routes = newTrafficDescs(&b, "route_", []string{"route"})
	c.dependencies = newDependencyDescs(&b)
	c.all = b.all
	// A registry knows best what it takes: nothing is collected here.
	if err := prometheus.NewPedanticRegistry().Register(c); err != nil {
		return nil, fmt.Errorf("guardprom: Options.ConstLabels is %q: %w", o.ConstLabels, err)
	}
	s := g.Snapshot()
	// Taken once: the two clocks differ by some microseconds each time.
	c.started = s.Time.Add(-s.Uptime)
	return c, nil
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.all {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. It takes one snapshot, so that what
// is scraped together belongs together.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.guard.Snapshot()
	out := sink{ch: ch, since: c.started}
	c.collectWhole(out, &s)
	c.collectTraffic(out, &c.requests, &s.Requests)
	for i := range s.Routes {
		r := &s.Routes[i]
		name := label(r.Name)
		out.gauge(c.routes.cost, float64(r.Cost), name)
		c.collectTraffic(out, &c.routes, &r.Traffic, name)
	}
	for i := range s.Dependencies {
		c.collectDependency(out, &s.Dependencies[i])
	}
}

// wholeDescs are what there is once for a guard.
type wholeDescs struct {
	started, phase, health, shadow *prometheus.Desc
}

func newWholeDescs(b *builder) wholeDescs {
	return wholeDescs{
		started: b.desc("start_time_seconds", "When the guard was made, as Unix time.", nil),
		phase:   b.desc("phase", "1 for what the guard does with requests: serving, draining or refusing; 0 for the others.", nil, "state"),
		health:  b.desc("health", "1 for what readiness says: pass, warn or fail; 0 for the others.", nil, "state"),
		shadow:  b.desc("shadow_mode", "1 if refusals are counted but nothing is refused, else 0.", nil),
	}
}

func (c *Collector) collectWhole(out sink, s *guard.Snapshot) {
	out.gauge(c.whole.started, unix(c.started))
	out.stateSet(c.whole.phase, s.Phase, []string{"serving", "draining", "refusing"})
	out.stateSet(c.whole.health, s.Health.String(), []string{
		guard.HealthPass.String(), guard.HealthWarn.String(), guard.HealthFail.String(),
	})
	out.gauge(c.whole.shadow, truth(s.Shadow))
}
