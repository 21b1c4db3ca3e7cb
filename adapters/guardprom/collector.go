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
	started float64 // Unix time, in seconds
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
	c.started = seconds(time.Duration(s.Time.Add(-s.Uptime).UnixNano()))
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
	c.collectWhole(ch, &s)
	c.collectTraffic(ch, &c.requests, &s.Requests)
	for i := range s.Routes {
		r := &s.Routes[i]
		name := label(r.Name)
		gauge(ch, c.routes.cost, float64(r.Cost), name)
		c.collectTraffic(ch, &c.routes, &r.Traffic, name)
	}
	for i := range s.Dependencies {
		c.collectDependency(ch, &s.Dependencies[i])
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

func (c *Collector) collectWhole(ch chan<- prometheus.Metric, s *guard.Snapshot) {
	gauge(ch, c.whole.started, c.started)
	stateSet(ch, c.whole.phase, s.Phase, []string{"serving", "draining", "refusing"})
	stateSet(ch, c.whole.health, s.Health.String(), []string{
		guard.HealthPass.String(), guard.HealthWarn.String(), guard.HealthFail.String(),
	})
	gauge(ch, c.whole.shadow, truth(s.Shadow))
}
