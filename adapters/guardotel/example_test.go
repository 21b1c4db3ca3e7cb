package guardotel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// A refusal becomes an event of the span of the request, which otelhttp would have
// begun.
func ExampleHooks() {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())

	g, err := guard.New(guard.Config{
		Limit:  guard.Limit{Rate: 0.001, Burst: 1},
		Logger: slog.New(slog.DiscardHandler),
		Hooks:  guardotel.Hooks(guard.Hooks{}), // your own hooks go in here
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	hello := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))

	for range 2 {
		ctx, span := provider.Tracer("example").Start(context.Background(), "GET /")
		hello.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
		span.End()
	}
	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name, len(span.Events), "events")
		for _, e := range span.Events {
			fmt.Println(e.Name, e.Attributes[0].Key, e.Attributes[0].Value.AsString())
		}
	}
	// Output:
	// GET / 0 events
	// GET / 1 events
	// guard.refused guard.reason limited
}

// The numbers of a guard, collected once.
func ExampleObserve() {
	reader := sdkmetric.NewManualReader() // a program has one that exports
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer provider.Shutdown(context.Background())

	g, err := guard.New(guard.Config{Concurrency: guard.Concurrency{Max: 100}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	registration, err := guardotel.Observe(g, guardotel.Options{MeterProvider: provider})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registration.Unregister()

	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "guard.in_flight_limit" {
			fmt.Println(m.Name, sum.DataPoints[0].Value, m.Unit)
		}
	}
	// Output: guard.in_flight_limit 100 {request}
}
