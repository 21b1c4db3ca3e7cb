package guardprom

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/guard"
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

// A sink is where the metrics of one scrape go.
type sink struct {
	ch    chan<- prometheus.Metric
	since time.Time // the counters count from here
}

func (s sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (s sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d, prometheus.CounterValue, float64(value), s.since, labels...)
}

// A count is one of several that differ by the value of the last label.
type count struct {
	label string
	n     uint64
}

func (s sink) counters(d *prometheus.Desc, of []string, counts ...count) {
	for _, c := range counts {
		s.counter(d, c.n, with(of, c.label)...)
	}
}

// stateSet shows one state of several: 1 for that which is, 0 for the others.
func (s sink) stateSet(d *prometheus.Desc, is string, all []string, of ...string) {
	for _, state := range all {
		s.gauge(d, truth(state == is), with(of, state)...)
	}
}

// with returns the labels and one more, in a slice of its own.
func with(labels []string, more string) []string { return slices.Concat(labels, []string{more}) }

// label returns a name as the value of a label. One that is not UTF-8 would fail
// the whole scrape, so it is quoted; and so is one that looks as if it were, or the
// two could be the same.
func label(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, `"`) {
		return name
	}
	return strconv.Quote(name)
}

// clientLabels returns the labels of limits per client, whose names may be the same:
// the second and later ones are numbered.
func clientLabels(clients []guard.ClientSnapshot) []string {
	labels := make([]string, 0, len(clients))
	for i := range clients {
		first := label(clients[i].Name)
		l := first
		for n := 2; slices.Contains(labels, l); n++ {
			l = first + " " + strconv.Itoa(n)
		}
		labels = append(labels, l)
	}
	return labels
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(d time.Duration) float64 { return float64(d) / 1e9 }

// unix returns an instant as Unix time.
func unix(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// share returns which part of all n are.
func share(n, all int64) float64 { return float64(n) / float64(max(all, 1)) }
