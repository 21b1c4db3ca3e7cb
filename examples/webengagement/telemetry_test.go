package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	metricservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/guard"
)

// A collector takes what comes over OTLP/HTTP.
type collector struct {
	*httptest.Server

	mu      sync.Mutex // guards the fields below
	spans   []*trace.ResourceSpans
	metrics []*metrics.ResourceMetrics
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	take := func(request proto.Message, keep func()) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type"))
			c.mu.Lock()
			defer c.mu.Unlock()
			assert.NoError(t, proto.Unmarshal(body, request))
			keep()
			w.Header().Set("Content-Type", "application/x-protobuf") // and nothing is a message, too
		}
	}
	var ofTraces traceservice.ExportTraceServiceRequest
	var ofMetrics metricservice.ExportMetricsServiceRequest
	mux := http.NewServeMux()
	mux.Handle("POST /v1/traces", take(&ofTraces, func() { c.spans = append(c.spans, ofTraces.GetResourceSpans()...) }))
	mux.Handle("POST /v1/metrics", take(&ofMetrics, func() { c.metrics = append(c.metrics, ofMetrics.GetResourceMetrics()...) }))
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// texts are attributes, as text.
func texts(attributes []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			m[a.GetKey()] = v.StringValue
		case *common.AnyValue_BoolValue:
			m[a.GetKey()] = map[bool]string{false: "no", true: "yes"}[v.BoolValue]
		}
	}
	return m
}

// sums returns all metrics by name: those that are no sums as nil.
func (c *collector) sums() map[string]*metrics.Sum {
	all := map[string]*metrics.Sum{}
	for _, r := range c.metrics {
		for _, scope := range r.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				all[m.GetName()] = m.GetSum()
			}
		}
	}
	return all
}

// TestTelemetry looks at what a collector is sent. Spans go each 5 seconds and metrics
// each minute, so what is there is what was sent in the end.
func TestTelemetry(t *testing.T) {
	c := newCollector(t)
	t.Setenv(otlpEndpoint, c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	const parent = "0af7651916cd43dd8448eb211c80319c"
	var lines lockedBuffer
	t.Run("program", func(t *testing.T) { // which ends it
		r := newRig(t, func(c *config) {
			c.otlp, c.client = true, guard.Limit{Rate: 1e-6, Burst: 1}
			c.logger = slog.New(slog.NewTextHandler(&lines, nil))
		})
		otel.Handle(errors.New("what the SDK has to say"))
		for _, want := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.api+"/version", http.NoBody)
			require.NoError(t, err)
			q.Header.Set("Traceparent", "00-"+parent+"-b7ad6b7169203331-01")
			q.Host = "made-up.example" // of which there can be any number
			resp, err := r.client.Do(q)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode)
		}
	})
	assert.Contains(t, lines.String(), `OpenTelemetry failed" error="what the SDK has to say"`)
	c.mu.Lock()
	defer c.mu.Unlock()

	require.Len(t, c.spans, 1)
	resource := texts(c.spans[0].GetResource().GetAttributes())
	assert.Equal(t, "webengagement", resource["service.name"])
	assert.Equal(t, "test", resource["deployment.environment.name"])
	spans := c.spans[0].GetScopeSpans()[0].GetSpans()
	require.Len(t, spans, 2)
	for _, span := range spans {
		assert.Equal(t, trace.Span_SPAN_KIND_SERVER, span.GetKind())
		assert.Equal(t, "127.0.0.1", texts(span.GetAttributes())["server.address"])
		assert.Equal(t, parent, hex.EncodeToString(span.GetTraceId()))
	}
	assert.Empty(t, spans[0].GetEvents())
	assert.Equal(t, "GET /version", spans[0].GetName())
	require.Len(t, spans[1].GetEvents(), 1)
	event := spans[1].GetEvents()[0]
	assert.Equal(t, "guard.refused", event.GetName())
	assert.Equal(t, map[string]string{"guard.reason": "client", "guard.limit": "client", "guard.shadow": "no"}, texts(event.GetAttributes()))
	assert.Equal(t, "client", texts(spans[1].GetAttributes())["guard.refused.reason"])

	sums := c.sums()
	require.Contains(t, sums, "guard.refusals")
	assert.True(t, sums["guard.refusals"].GetIsMonotonic())
	found := 0
	for _, p := range sums["guard.refusals"].GetDataPoints() {
		if texts(p.GetAttributes())["guard.reason"] == "client" {
			assert.EqualValues(t, 1, p.GetAsInt())
			found++
		}
	}
	assert.Equal(t, 1, found)
	assert.Contains(t, sums, "guard.dependency.breaker.state")
	assert.Contains(t, sums, "http.server.request.duration")
}

// A collector that is away, hangs or is busy keeps nothing from being served, nor the
// program from ending; TestMain finds what would be left of it.
func TestTelemetryCollectorAway(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	var waiting atomic.Int64
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		defer waiting.Add(-1)
		_, _ = io.Copy(io.Discard, r.Body) // or the server would not see that the client has gone
		<-r.Context().Done()
	}))
	defer hangs.Close()
	defer hangs.CloseClientConnections()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000") // ten minutes: who hangs then, hangs
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "600000")
	for name, url := range map[string]string{"away": away.URL, "hangs": hangs.URL, "busy": busy.URL} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(otlpEndpoint, url)
			var lines lockedBuffer
			t.Run("program", func(t *testing.T) {
				var ends time.Time
				t.Cleanup(func() { assert.Less(t, time.Since(ends), patience) })
				r := newRig(t, func(c *config) {
					c.otlp, c.flush = true, 100*time.Millisecond
					c.logger = slog.New(slog.NewTextHandler(&lines, nil))
				})
				require.Equal(t, http.StatusOK, r.send(request{path: "/version"}).StatusCode)
				ends = time.Now()
			})
			assert.Contains(t, lines.String(), "OpenTelemetry failed")
			eventually(t, func() bool { return waiting.Load() == 0 }, "what was being sent is cut off")
		})
	}
}

// A lockedBuffer can be written to while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Without the variable nothing of it runs; with one that is wrong, nothing at all does.
func TestTelemetryVariable(t *testing.T) {
	r := newRig(t)
	require.Nil(t, r.telemetry)
	require.Nil(t, r.server.guard.Config().Hooks.Refused)
	ended, cancel := context.WithCancel(context.Background())
	cancel() // or it would serve if it took the variable for right
	for _, wrong := range []string{"127.0.0.1:4318", "localhost:4318", "http://", "http://%zz", "grpc://127.0.0.1:4317"} {
		t.Setenv(otlpEndpoint, wrong)
		err := run(ended, []string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-drain", "0s"}, io.Discard)
		require.ErrorContains(t, err, otlpEndpoint+` is "`+wrong+`"`)
	}
}

// Errors are logged once a second at the most, and those left out are counted.
func TestTelemetryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		e := &exportErrors{logger: slog.New(slog.NewTextHandler(&lines, nil))}
		for range 25 {
			e.Handle(nil)
			e.Handle(errors.New("refused"))
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 3, strings.Count(lines.String(), "error=refused"), lines.String())
		require.Equal(t, 2, strings.Count(lines.String(), "not_logged_before=9"))
	})
}
