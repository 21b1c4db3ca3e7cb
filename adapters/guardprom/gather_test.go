package guardprom_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardprom"
)

// values returns what is scraped, as name{label="value",…} with the labels in the
// order of their names; a histogram as its name with _count, _sum and _bucket.
func values(tb testing.TB, reg prometheus.Gatherer) map[string]float64 {
	tb.Helper()
	all := map[string]float64{}
	families, err := reg.Gather()
	require.NoError(tb, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				all[series(f.GetName(), m)] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[series(f.GetName(), m)] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				h := m.GetHistogram()
				all[series(f.GetName()+"_count", m)] = float64(h.GetSampleCount())
				all[series(f.GetName()+"_sum", m)] = h.GetSampleSum()
				for _, b := range h.GetBucket() {
					le := strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
					all[series(f.GetName()+"_bucket", m, `le="`+le+`"`)] = float64(b.GetCumulativeCount())
				}
			default:
				tb.Fatalf("%s is a %v", f.GetName(), f.GetType())
			}
		}
	}
	return all
}

func series(name string, m *dto.Metric, more ...string) string {
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+strconv.Quote(l.GetValue()))
	}
	if labels = append(labels, more...); len(labels) == 0 {
		return name
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}

var descName = regexp.MustCompile(`fqName: "(\w+)"`)

// described returns the names of all metrics.
func described(tb testing.TB, c *guardprom.Collector) []string {
	tb.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		c.Describe(ch)
	}()
	var names []string
	for d := range ch {
		name := descName.FindStringSubmatch(d.String())
		require.NotNil(tb, name, d.String())
		names = append(names, name[1])
	}
	return names
}
