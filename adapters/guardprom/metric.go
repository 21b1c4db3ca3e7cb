package guardprom

import (
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// A builder makes descriptions, and remembers them.
type builder struct {
	constant prometheus.Labels
	all      []*prometheus.Desc
}

// desc describes the metric guard_name, with the labels of whatever it is of and
// its own.
func (b *builder) desc(name, help string, of []string, own ...string) *prometheus.Desc {
	d := prometheus.NewDesc("guard_"+name, help, slices.Concat(of, own), b.constant)
	b.all = append(b.all, d)
	return d
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, value uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// A count is one of several that differ by the value of the last label.
type count struct {
	label string
	n     uint64
}

func counters(ch chan<- prometheus.Metric, d *prometheus.Desc, of []string, counts ...count) {
	for _, c := range counts {
		counter(ch, d, c.n, with(of, c.label)...)
	}
}

// stateSet shows one state of several: 1 for that which is, 0 for the others.
func stateSet(ch chan<- prometheus.Metric, d *prometheus.Desc, is string, all []string, of ...string) {
	for _, state := range all {
		gauge(ch, d, truth(state == is), with(of, state)...)
	}
}

// with returns the labels and one more, in a slice of its own.
func with(labels []string, more string) []string { return slices.Concat(labels, []string{more}) }

// label returns a name as the value of a label. One that is not UTF-8 would fail
// the whole scrape.
func label(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strconv.Quote(name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

// share returns which part of all n are.
func share(n, all int64) float64 { return float64(n) / float64(max(all, 1)) }
