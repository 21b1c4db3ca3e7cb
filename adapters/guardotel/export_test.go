package guardotel

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"example.com/guard"
)

// ObserveSnapshot is Observe for a snapshot that a test has made up.
func ObserveSnapshot(provider metric.MeterProvider, s *guard.Snapshot) error {
	b := builder{meter: provider.Meter(ScopeName)}
	m := newMetrics(&b)
	if b.err != nil {
		return b.err
	}
	_, err := b.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		m.observe(to, s, nil)
		return nil
	}, b.all...)
	return err
}
