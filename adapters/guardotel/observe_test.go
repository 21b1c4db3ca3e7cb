package guardotel_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// newReader returns a provider and its reader, which end with the test.
func newReader(t *testing.T) (*sdkmetric.MeterProvider, *sdkmetric.ManualReader) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	return provider, reader
}

// values returns what is collected, as name{key=value,…} in the order of the keys.
func values(t *testing.T, reader sdkmetric.Reader) map[string]float64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &data))
	all := map[string]float64{}
	put := func(name string, set attribute.Set, v float64) {
		name += "{" + set.Encoded(attribute.DefaultEncoder()) + "}"
		require.NotContains(t, all, name)
		require.True(t, utf8.ValidString(name), name)
		all[name] = v
	}
	for _, scope := range data.ScopeMetrics {
		require.Equal(t, guardotel.ScopeName, scope.Scope.Name)
		for _, m := range scope.Metrics {
			require.NotEmpty(t, m.Description, m.Name)
			require.NotEmpty(t, m.Unit, m.Name)
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				require.Equal(t, metricdata.CumulativeTemporality, d.Temporality)
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Sum[float64]:
				require.False(t, d.IsMonotonic, m.Name)
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					put(m.Name, p.Attributes, p.Value)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, m.Data)
			}
		}
	}
	return all
}

func TestObserve(t *testing.T) {
	provider, reader := newReader(t)
	f := newFull(t, guard.Hooks{})
	registration, err := guardotel.Observe(f.Guard, guardotel.Options{MeterProvider: provider})
	require.NoError(t, err)
	f.exercise(t)
	got := values(t, reader)
	for name, want := range map[string]float64{
		`guard.phase{guard.state=serving}`:                                         1,
		`guard.phase{guard.state=draining}`:                                        0,
		`guard.health{guard.state=fail}`:                                           1,
		`guard.shadow_mode{}`:                                                      0,
		`guard.requests{guard.outcome=served}`:                                     3,
		`guard.requests{guard.outcome=failed}`:                                     2,
		`guard.refusals{guard.reason=client}`:                                      1,
		`guard.refusals{guard.reason=dependency}`:                                  1,
		`guard.responses{guard.status_class=5xx}`:                                  4,
		`guard.in_flight{}`:                                                        0,
		`guard.bound.self_tuned{}`:                                                 1,
		`guard.bound.shed{guard.priority=critical}`:                                0,
		`guard.limit.rate{}`:                                                       1000,
		`guard.limit.burst{}`:                                                      500,
		`guard.client_limit.keys{guard.limit=key}`:                                 2,
		`guard.client_limit.keys_limit{guard.limit=key}`:                           100,
		`guard.client_limit.refusals{guard.limit=key}`:                             1,
		`guard.route.requests{guard.outcome=served,guard.route=pages}`:             3,
		`guard.route.in_flight_limit{guard.route=pages}`:                           7,
		`guard.route.client_limit.keys{guard.limit=client,guard.route=visits}`:     1,
		`guard.dependency.breaker.state{guard.dependency=db,guard.state=open}`:     1,
		`guard.dependency.breaker.state{guard.dependency=mail,guard.state=closed}`: 1,
		`guard.dependency.breaker.mode{guard.dependency=db,guard.mode=auto}`:       1,
		`guard.dependency.calls{guard.dependency=db,guard.outcome=failed}`:         2,
		`guard.dependency.refusals{guard.dependency=db,guard.reason=open}`:         1,
		`guard.dependency.required{guard.dependency=db}`:                           1,
		`guard.dependency.in_flight_limit{guard.dependency=mail}`:                  3,
		`guard.dependency.window.failure_ratio_limit{guard.dependency=db}`:         0.5,
		`guard.dependency.window.slow_ratio_limit{guard.dependency=db}`:            0.8,
		`guard.dependency.pause{guard.dependency=db}`:                              0,
	} {
		require.Contains(t, got, name)
		require.Equal(t, want, got[name], name)
	}
	require.InDelta(t, 3600, got[`guard.dependency.breaker.next_probe{guard.dependency=db}`], 600)
	for name := range got {
		require.NotContains(t, name, "alice")
	}
	require.NotContains(t, got, `guard.route.limit.tokens{guard.route=pages}`)
	require.NotContains(t, got, `guard.dependency.bound.waiting{guard.dependency=mail}`)
	require.NotContains(t, got, `guard.dependency.window.slow_ratio{guard.dependency=mail}`)

	require.NoError(t, registration.Unregister())
	require.NoError(t, registration.Unregister(), "again")
	require.Empty(t, values(t, reader))
}

// What is counted only grows, whatever is tuned, and also when the guard is closed.
func TestObserveCountersOnlyGrow(t *testing.T) {
	provider, reader := newReader(t)
	f := newFull(t, guard.Hooks{})
	_, err := guardotel.Observe(f.Guard, guardotel.Options{MeterProvider: provider})
	require.NoError(t, err)
	counters := map[string]bool{}
	kinds(t, func(name, kind, _ string) { counters[name] = kind == "counter" })
	tune := func(change func(*guard.Config)) func() {
		return func() { require.NoError(t, f.Tune(change)) }
	}
	bound := f.Config().Concurrency
	before := map[string]float64{}
	for _, step := range []func(){
		func() { f.exercise(t) },
		tune(func(c *guard.Config) { c.Concurrency = guard.Concurrency{} }),
		func() { f.get(t.Context(), "/pages", "carol") },
		tune(func(c *guard.Config) { c.Limit, c.Clients[0].Limit = guard.Limit{}, guard.Limit{} }),
		func() { f.db.Force(guard.ModeOpen); f.get(t.Context(), "/visits", "carol") },
		tune(func(c *guard.Config) { c.Concurrency = bound }),
		func() { f.get(t.Context(), "/visits", "carol") },
		func() { require.NoError(t, f.Close()) },
		func() { f.get(t.Context(), "/pages", "carol") },
	} {
		step()
		now := values(t, reader)
		require.NotEmpty(t, now)
		for name, n := range now {
			if metric, _, _ := strings.Cut(name, "{"); counters[metric] {
				require.GreaterOrEqual(t, n, before[name], name)
				before[name] = n
			}
		}
	}
	require.Equal(t, 5.0, before[`guard.requests{guard.outcome=served}`], "one of them after Close")
}

// Guards are observed, tuned, refuse and change at once: for the race detector.
func TestObserveConcurrently(t *testing.T) {
	provider, reader := newReader(t)
	f := newFull(t, guardotel.Hooks(guard.Hooks{}))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 50 {
				registration, err := guardotel.Observe(f.Guard, guardotel.Options{MeterProvider: provider})
				assert.NoError(t, err)
				var data metricdata.ResourceMetrics
				assert.NoError(t, reader.Collect(context.Background(), &data))
				assert.NoError(t, registration.Unregister())
			}
		})
		all.Go(func() {
			for range 50 {
				f.get(context.Background(), "/visits", "dave")
				f.db.Force(guard.ModeAuto)
				assert.NoError(t, f.Tune(func(*guard.Config) {}))
			}
		})
	}
	all.Wait()
}

func TestObserveTwoGuards(t *testing.T) {
	provider, reader := newReader(t)
	for _, name := range []string{"admin", "public"} {
		f := newFull(t, guard.Hooks{})
		own := []attribute.KeyValue{attribute.String("server", name)}
		_, err := guardotel.Observe(f.Guard, guardotel.Options{MeterProvider: provider, Attributes: own})
		require.NoError(t, err)
		own[0] = attribute.String("server", "changed later") // the options were copied
		if name == "public" {
			f.exercise(t)
		}
	}
	got := values(t, reader)
	require.Equal(t, 3.0, got[`guard.requests{guard.outcome=served,server=public}`])
	require.Equal(t, 0.0, got[`guard.requests{guard.outcome=served,server=admin}`])
	require.Contains(t, got, `guard.requests{guard.outcome=served,server=admin}`)
}

// later is true until a global provider has been set: what was made before is only
// handed over to the first.
var later = true

// Without a provider it is the global one, also if that is set later.
func TestObserveGlobalProvider(t *testing.T) {
	t.Cleanup(func() { otel.SetMeterProvider(noop.NewMeterProvider()) })
	provider, reader := newReader(t)
	if !later {
		otel.SetMeterProvider(provider)
	}
	f := newFull(t, guard.Hooks{})
	registration, err := guardotel.Observe(f.Guard, guardotel.Options{})
	require.NoError(t, err)
	if later {
		otel.SetMeterProvider(provider)
		later = false
	}
	require.Contains(t, values(t, reader), `guard.in_flight{}`)
	require.NoError(t, registration.Unregister())
	require.Empty(t, values(t, reader))
}

func TestObserveNames(t *testing.T) {
	provider, reader := newReader(t)
	g := newGuard(t, guard.Config{Clients: []guard.ClientLimit{{Name: "\xff", Limit: guard.Limit{Rate: 1}}}})
	_, err := g.Dependency("\xfe", guard.DependencyConfig{})
	require.NoError(t, err)
	_, err = guardotel.Observe(g, guardotel.Options{MeterProvider: provider})
	require.NoError(t, err)
	got := 0
	for name := range values(t, reader) { // which looks for what is not UTF-8
		if strings.Contains(name, `xff`) || strings.Contains(name, `xfe`) {
			got++
		}
	}
	require.Positive(t, got)
}

func TestObserveErrors(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for want, o := range map[string]guardotel.Options{
		`Options.Attributes[1] is "guard.route"`: {Attributes: []attribute.KeyValue{attribute.Int("a", 1), attribute.String("guard.route", "x")}},
		`Options.Attributes[0] is ""`:            {Attributes: []attribute.KeyValue{{}}},
		"no instrument":                          {MeterProvider: failing{}},
		"no callback":                            {MeterProvider: failing{callback: true}},
	} {
		registration, err := guardotel.Observe(g, o)
		require.ErrorContains(t, err, "guardotel: "+want)
		require.Nil(t, registration)
	}
	_, err := guardotel.Observe(nil, guardotel.Options{})
	require.ErrorContains(t, err, "the guard is nil")
}

// failing is a provider that makes no counters, or takes no callback.
type failing struct {
	noop.MeterProvider
	callback bool
}

func (f failing) Meter(string, ...metric.MeterOption) metric.Meter {
	return failingMeter{callback: f.callback}
}

type failingMeter struct {
	noop.Meter
	callback bool
}

func (f failingMeter) Int64ObservableCounter(string, ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	if f.callback {
		return noop.Int64ObservableCounter{}, nil
	}
	return nil, errors.New("no instrument")
}

func (failingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return nil, errors.New("no callback")
}
