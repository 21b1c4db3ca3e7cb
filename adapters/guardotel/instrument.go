package guardotel

import (
	"errors"
	"math"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The kinds of instruments: a counter only grows, an amount (or a level, where it is
// no whole number) can be summed up over instances, a gauge cannot.
type (
	counter = metric.Int64ObservableCounter
	amount  = metric.Int64ObservableUpDownCounter
	level   = metric.Float64ObservableUpDownCounter
	gauge   = metric.Float64ObservableGauge
)

// A builder makes instruments, and remembers them and what went wrong.
type builder struct {
	meter metric.Meter
	all   []metric.Observable
	err   error
}

func (b *builder) made(i metric.Observable, err error) {
	b.all = append(b.all, i)
	b.err = errors.Join(b.err, err)
}

func (b *builder) counter(name, unit, help string) counter {
	i, err := b.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.made(i, err)
	return i
}

func (b *builder) amount(name, unit, help string) amount {
	i, err := b.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.made(i, err)
	return i
}

func (b *builder) level(name, unit, help string) level {
	i, err := b.meter.Float64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.made(i, err)
	return i
}

func (b *builder) gauge(name, unit, help string) gauge {
	i, err := b.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
	b.made(i, err)
	return i
}

// An observer observes what has certain attributes.
type observer struct {
	to metric.Observer
	of []attribute.KeyValue
}

// with returns an observer with one attribute more.
func (o observer) with(key, value string) observer {
	return observer{to: o.to, of: slices.Concat(o.of, []attribute.KeyValue{attribute.String(key, text(value))})}
}

func (o observer) counter(i counter, n uint64) {
	o.to.ObserveInt64(i, int64(min(n, math.MaxInt64)), metric.WithAttributes(o.of...))
}

func (o observer) amount(i amount, n int64) { o.to.ObserveInt64(i, n, metric.WithAttributes(o.of...)) }

func (o observer) level(i level, value float64) {
	o.to.ObserveFloat64(i, value, metric.WithAttributes(o.of...))
}

func (o observer) gauge(i gauge, value float64) {
	o.to.ObserveFloat64(i, value, metric.WithAttributes(o.of...))
}

// A count is one of several that differ by the value of an attribute.
type count struct {
	value string
	n     uint64
}

func (o observer) counters(i counter, key string, counts ...count) {
	for _, c := range counts {
		o.with(key, c.value).counter(i, c.n)
	}
}

// states shows one state of several: 1 for that which is, 0 for the others.
func (o observer) states(i gauge, key, is string, all ...string) {
	for _, state := range all {
		o.with(key, state).gauge(i, truth(state == is))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// share returns which part of all n are.
func share(n, all int64) float64 { return float64(n) / float64(max(all, 1)) }
