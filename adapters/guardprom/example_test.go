package guardprom_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

// A server whose guard is scraped: here once, after three requests of which two
// were let in.
func Example() {
	g, err := guard.New(guard.Config{
		Limit:  guard.Limit{Rate: 0.001, Burst: 2},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	collector, err := guardprom.New(g, guardprom.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)

	app := http.NewServeMux()
	app.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	mux := http.NewServeMux()
	mux.Handle("/", g.Mux(app))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{})) // outside of the guard

	for range 3 {
		mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	}
	scrape := httptest.NewRecorder()
	mux.ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	for lines := bufio.NewScanner(scrape.Body); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "guard_phase") || strings.HasPrefix(line, "guard_requests_refused_total") ||
			strings.HasPrefix(line, `guard_requests_total{outcome="served"}`) {
			fmt.Println(line)
		}
	}
	// Output:
	// guard_phase{state="draining"} 0
	// guard_phase{state="refusing"} 0
	// guard_phase{state="serving"} 1
	// guard_requests_refused_total{reason="client"} 0
	// guard_requests_refused_total{reason="dependency"} 0
	// guard_requests_refused_total{reason="draining"} 0
	// guard_requests_refused_total{reason="limited"} 1
	// guard_requests_refused_total{reason="overloaded"} 0
	// guard_requests_refused_total{reason="saturated"} 0
	// guard_requests_total{outcome="served"} 2
}

// Two guards of one process, told apart by a label of their own.
func ExampleOptions_constLabels() {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"admin", "public"} {
		g, err := guard.New(guard.Config{Shadow: name == "public"})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer g.Close()
		collector, err := guardprom.New(g, guardprom.Options{ConstLabels: prometheus.Labels{"guard": name}})
		if err != nil {
			fmt.Println(err)
			return
		}
		registry.MustRegister(collector)
	}
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "guard_shadow_mode" {
				fmt.Println(f.GetName(), m.GetLabel()[0].GetValue(), m.GetGauge().GetValue())
			}
		}
	}
	// Output:
	// guard_shadow_mode admin 0
	// guard_shadow_mode public 1
}

// Buckets around what is promised: here, half a second.
func ExampleOptions_buckets() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	_, err = guardprom.New(g, guardprom.Options{Buckets: []float64{0.1, 0.25, 0.5, 0.5}})
	fmt.Println(err)
	// Output: guardprom: Options.Buckets[3] is 0.5, want more than 0.5 before it
}
