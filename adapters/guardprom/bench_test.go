package guardprom_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

// A scrape of a large server: 100 routes and 50 dependencies, each with a queue and
// the routes with limits.
func BenchmarkScrape(b *testing.B) {
	g := newGuard(b, guard.Config{})
	queue := guard.Concurrency{Max: 10, MaxWait: time.Second}
	for i := range 100 {
		_, err := g.Route(fmt.Sprintf("route-%d", i), guard.RouteConfig{
			Concurrency: queue, Limit: guard.Limit{Rate: 100},
			Clients: []guard.ClientLimit{{Limit: guard.Limit{Rate: 10}, MaxKeys: 10}},
		})
		require.NoError(b, err)
	}
	for i := range 50 {
		_, err := g.Dependency(fmt.Sprintf("dependency-%d", i), guard.DependencyConfig{Concurrency: queue, SlowCall: time.Second})
		require.NoError(b, err)
	}
	for name, o := range map[string]guardprom.Options{"classic": {}, "native": {NativeHistograms: true}} {
		b.Run(name, func(b *testing.B) {
			c, err := guardprom.New(g, o)
			require.NoError(b, err)
			reg := prometheus.NewRegistry()
			reg.MustRegister(c)
			h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{DisableCompression: true})
			r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
			if o.NativeHistograms {
				r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
			}
			b.ReportAllocs()
			var size int64
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				n, err := io.Copy(io.Discard, w.Body)
				require.NoError(b, err)
				size = n
			}
			b.ReportMetric(float64(len(values(b, reg))), "series")
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
