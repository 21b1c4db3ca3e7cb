package guardotel_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
)

// kinds tells of all instruments that are made for a guard.
func kinds(t *testing.T, tell func(name, kind, unit string)) {
	t.Helper()
	_, err := guardotel.Observe(newGuard(t, guard.Config{}), guardotel.Options{MeterProvider: recording{tell: tell}})
	require.NoError(t, err)
}

// recording is a provider that tells of the instruments that it makes.
type recording struct {
	noop.MeterProvider

	tell func(name, kind, unit string)
}

func (r recording) Meter(string, ...metric.MeterOption) metric.Meter {
	return recordingMeter{tell: r.tell}
}

type recordingMeter struct {
	noop.Meter

	tell func(name, kind, unit string)
}

func (r recordingMeter) Int64ObservableCounter(name string, o ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	r.tell(name, "counter", metric.NewInt64ObservableCounterConfig(o...).Unit())
	return noop.Int64ObservableCounter{}, nil
}

func (r recordingMeter) Int64ObservableUpDownCounter(name string, o ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	r.tell(name, "up-down counter", metric.NewInt64ObservableUpDownCounterConfig(o...).Unit())
	return noop.Int64ObservableUpDownCounter{}, nil
}

func (r recordingMeter) Float64ObservableUpDownCounter(name string, o ...metric.Float64ObservableUpDownCounterOption) (metric.Float64ObservableUpDownCounter, error) {
	r.tell(name, "up-down counter", metric.NewFloat64ObservableUpDownCounterConfig(o...).Unit())
	return noop.Float64ObservableUpDownCounter{}, nil
}

func (r recordingMeter) Float64ObservableGauge(name string, o ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	r.tell(name, "gauge", metric.NewFloat64ObservableGaugeConfig(o...).Unit())
	return noop.Float64ObservableGauge{}, nil
}

// The README tells of each metric, of its kind and unit, and of no other.
func TestReadmeListsAllMetrics(t *testing.T) {
	var made []string
	kinds(t, func(name, kind, unit string) { made = append(made, name+" "+kind+" "+unit) })
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(guard\\.[a-z_.]+)` \\| (counter|gauge|up-down counter) \\| (\\S+) \\|").FindAllStringSubmatch(string(readme), -1) {
		listed = append(listed, row[1]+" "+row[2]+" "+row[3])
		// A table that is of the guard and of routes says so once.
		if !strings.HasPrefix(row[1], "guard.dependency.") && !slices.Contains([]string{"guard.phase", "guard.health", "guard.shadow_mode"}, row[1]) {
			listed = append(listed, strings.Replace(row[1], "guard.", "guard.route.", 1)+" "+row[2]+" "+row[3])
		}
	}
	require.ElementsMatch(t, made, listed)
}

// Units are those of UCUM, as OpenTelemetry has them, with what is counted in
// braces and in the singular; names are lower case, and no name is a namespace too.
func TestNamesAndUnits(t *testing.T) {
	var names []string
	kinds(t, func(name, kind, unit string) {
		names = append(names, name)
		require.Regexp(t, `^guard(\.[a-z]+(_[a-z]+)*)+$`, name)
		require.NotRegexp(t, `total|_count$`, name)
		require.Regexp(t, `^(1|s|\{(request|response|call|client|token)\}|\{token\}/s)$`, unit, name)
		if kind == "counter" {
			require.Regexp(t, `^\{(request|response|call)\}$`, unit, name)
		}
	})
	for _, a := range names {
		for _, b := range names {
			require.False(t, strings.HasPrefix(a, b+"."), "%s is the namespace of %s", b, a)
		}
	}
}

// What programs link is the API of OpenTelemetry, and no SDK or exporter.
func TestOnlyTheAPI(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard", ".").Output()
	require.NoError(t, err)
	modules := map[string]bool{}
	for list := json.NewDecoder(strings.NewReader(string(out))); list.More(); {
		var p struct {
			ImportPath string
			Standard   bool
		}
		require.NoError(t, list.Decode(&p))
		require.NotContains(t, p.ImportPath, "go.opentelemetry.io/otel/sdk")
		require.NotContains(t, p.ImportPath, "go.opentelemetry.io/otel/exporters")
		if parts := strings.SplitN(p.ImportPath, "/", 4); !p.Standard && strings.Contains(parts[0], ".") {
			modules[strings.Join(parts[:min(len(parts), 3)], "/")] = true
		}
	}
	require.Contains(t, modules, "go.opentelemetry.io/otel/metric")
	require.NotContains(t, modules, "github.com/stretchr/testify")
}
