package guardotel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/guard"
)

// ScopeName is the name of the instrumentation scope of the metrics.
const ScopeName = "example.com/guard/adapters/guardotel"

// Options say how a guard is observed. The zero value is a good start.
type Options struct {
	// MeterProvider makes the instruments; nil means the global one, which may be
	// set later.
	MeterProvider metric.MeterProvider
	// Attributes are added to every measurement. Two guards can be observed with
	// one provider if these differ. nil means none. Keys that are empty, or begin
	// with "guard." and so may be ours, are errors.
	Attributes []attribute.KeyValue
}

// Observe makes the guard's metrics, which are observed whenever the provider
// collects, until Unregister is called on what it returns: that may be done more
// than once. A guard that is closed is observed on. The error names the option that is
// invalid, or is the provider's; a nil guard is an error, too. The options are copied.
//
// What only time has changed about a breaker is told when somebody looks, which a
// collection does: hooks then run within it. One that makes an instrument, collects or
// unregisters there waits for ever, with the SDK, for the collection to end.
func Observe(g *guard.Guard, o Options) (metric.Registration, error) {
	if g == nil {
		return nil, errors.New("guardotel: the guard is nil")
	}
	for i, a := range o.Attributes {
		if !a.Valid() || strings.HasPrefix(string(a.Key), "guard.") {
			return nil, fmt.Errorf(`guardotel: Options.Attributes[%d] is %q, want a key that is not empty and does not begin with "guard."`, i, a.Key)
		}
	}
	provider := o.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	b := builder{meter: provider.Meter(ScopeName)}
	m := newMetrics(&b)
	if b.err != nil {
		return nil, fmt.Errorf("guardotel: %w", b.err)
	}
	own := slices.Clone(o.Attributes)
	registration, err := b.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		s := g.Snapshot()
		m.observe(to, &s, own)
		return nil
	}, b.all...)
	if err != nil {
		return nil, fmt.Errorf("guardotel: %w", err)
	}
	return registration, nil
}

// metrics are all instruments.
type metrics struct {
	phase, health, shadow gauge
	requests, routes      trafficMetrics
	dependencies          dependencyMetrics
}

func newMetrics(b *builder) *metrics {
	return &metrics{
		phase:        b.gauge("guard.phase", "1", "1 for what the guard does with requests: serving, draining or refusing; 0 for the others"),
		health:       b.gauge("guard.health", "1", "1 for what readiness says: pass, warn or fail; 0 for the others"),
		shadow:       b.gauge("guard.shadow_mode", "1", "1 if refusals are counted but nothing is refused, else 0"),
		requests:     newTrafficMetrics(b, "guard."),
		routes:       newTrafficMetrics(b, "guard.route."),
		dependencies: newDependencyMetrics(b),
	}
}

func (m *metrics) observe(to metric.Observer, s *guard.Snapshot, own []attribute.KeyValue) {
	all := observer{to: to, of: own}
	all.states(m.phase, "guard.state", s.Phase, "serving", "draining", "refusing")
	all.states(m.health, "guard.state", s.Health.String(),
		guard.HealthPass.String(), guard.HealthWarn.String(), guard.HealthFail.String())
	all.gauge(m.shadow, truth(s.Shadow))
	m.requests.observe(all, &s.Requests)
	for i := range s.Routes {
		r := &s.Routes[i]
		m.routes.observe(all.with("guard.route", r.Name), &r.Traffic)
	}
	for i := range s.Dependencies {
		d := &s.Dependencies[i]
		m.dependencies.observe(all.with("guard.dependency", d.Name), d)
	}
}
