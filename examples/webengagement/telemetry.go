package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// otlpEndpoint is the standard environment variable for the URL of an OpenTelemetry
// collector. Nothing is traced or exported without it. The exporters and the SDK read
// it themselves, and the other OTEL_ variables, too.
const otlpEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// telemetry exports spans of the API's requests, and metrics of its guard, over
// OTLP/HTTP. A nil one does nothing.
type telemetry struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	spans   sdktrace.SpanExporter // of traces
	addr    string
	flush   time.Duration
	errors  *exportErrors
}

// openTelemetry makes the exporters. The collector need not be up.
func openTelemetry(c *config) (*telemetry, error) {
	u, err := url.Parse(os.Getenv(otlpEndpoint)) // of what is none, the exporters would make localhost
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s is %q, want a URL like http://127.0.0.1:4318", otlpEndpoint, os.Getenv(otlpEndpoint))
	}
	ctx := context.Background() // for the exporters' start, which connects to nothing
	self, err1 := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "webengagement")),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	spans, err2 := otlptracehttp.New(ctx)
	numbers, err3 := otlpmetrichttp.New(ctx)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	t := &telemetry{
		traces: sdktrace.NewTracerProvider(sdktrace.WithResource(self), sdktrace.WithBatcher(spans)),
		metrics: sdkmetric.NewMeterProvider(sdkmetric.WithResource(self),
			sdkmetric.WithReader(sdkmetric.NewPeriodicReader(numbers))),
		spans: spans, addr: c.addr, flush: c.flush, errors: &exportErrors{logger: c.logger},
	}
	otel.SetErrorHandler(t.errors) // all else is handed on, and not global
	return t, nil
}

// observe exports what the guard counts.
func (t *telemetry) observe(g *guard.Guard) error {
	if t == nil {
		return nil
	}
	_, err := guardotel.Observe(g, guardotel.Options{MeterProvider: t.metrics}) // until close
	return err
}

// handler puts a span around each request, to which the guard's hooks add.
func (t *telemetry) handler(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return otelhttp.NewHandler(h, "webengagement",
		otelhttp.WithTracerProvider(t.traces), otelhttp.WithMeterProvider(t.metrics),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithServerName(t.addr)) // or it would be what the client puts into Host, any number of them
}

// close sends what has not been sent yet, but tries no longer than flush. A collector
// that is away keeps nobody from ending.
func (t *telemetry) close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.flush)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() {
		err := t.traces.Shutdown(ctx)
		if ctx.Err() != nil {
			err = errors.Join(err, t.spans.Shutdown(ctx)) // cuts off what it still sends
		}
		t.errors.Handle(err)
	})
	both.Go(func() { t.errors.Handle(t.metrics.Shutdown(ctx)) })
	both.Wait()
}

// exportErrors logs that something could not be exported, once a second at the most.
type exportErrors struct {
	logger *slog.Logger // nil: slog.Default()

	mu     sync.Mutex // guards the fields below
	next   time.Time  // when to log again
	unsaid int        // errors since the last that was logged
}

// Handle implements [otel.ErrorHandler].
func (e *exportErrors) Handle(err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	now := time.Now()
	if now.Before(e.next) {
		e.unsaid++
		e.mu.Unlock()
		return
	}
	unsaid := e.unsaid
	e.next, e.unsaid = now.Add(time.Second), 0
	e.mu.Unlock()
	logger := e.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Warn("OpenTelemetry failed", slog.Any("error", err), slog.Int("not_logged_before", unsaid))
}
