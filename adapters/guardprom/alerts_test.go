package guardprom_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"example.com/guard/adapters/guardprom"
)

// An alert is one of the rules.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// readYAML reads a file of alerts.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("alerts", name))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	readYAML(t, "guard.yml", &file)
	require.Len(t, file.Groups, 1)
	return file.Groups[0].Rules
}

func TestAlertRules(t *testing.T) {
	path := program(t, "promtool")
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "guard.yml"}, {"test", "rules", "guard_test.yml"}} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Dir = "alerts"
		out, err := cmd.CombinedOutput()
		cancel()
		require.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), out)
	}
}

// Each alert says whom it wants, what it is and what to do, with labels that it has,
// and promtool is given a case in which it fires and one in which it does not.
func TestAlertsAreComplete(t *testing.T) {
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name string `yaml:"alertname"`
				Exp  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
			Exprs []struct {
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	readYAML(t, "guard_test.yml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	named := regexp.MustCompile(`alertname="(\w+)"`)
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			silent[c.Name] = silent[c.Name] || len(c.Exp) == 0
		}
		for _, e := range test.Exprs {
			for _, s := range e.Samples {
				fires[named.FindStringSubmatch(s.Labels)[1]] = true
			}
		}
	}
	by, used := regexp.MustCompile(`^\s*(?:sum|max) by \(([^)]*)\)`), regexp.MustCompile(`\$labels\.(\w+)`)
	names := map[string]bool{}
	for _, a := range readAlerts(t) {
		require.Regexp(t, `^Guard[A-Z]\w+$`, a.Alert)
		require.False(t, names[a.Alert], a.Alert)
		names[a.Alert] = true
		require.Contains(t, []string{"page", "ticket"}, a.Labels["severity"], a.Alert)
		require.NotEmpty(t, a.Annotations["summary"], a.Alert)
		require.Greater(t, len(a.Annotations["description"]), 40, a.Alert)
		has := "job, instance, dependency, limit, route" // of a rule that sums nothing up
		if labels := by.FindStringSubmatch(a.Expr); labels != nil {
			has = labels[1]
		}
		for _, l := range used.FindAllStringSubmatch(a.Annotations["summary"]+a.Annotations["description"], -1) {
			require.Contains(t, strings.Split(has, ", "), l[1], a.Alert)
		}
		require.True(t, fires[a.Alert], "%s fires in no case", a.Alert)
		require.True(t, silent[a.Alert], "%s is silent in no case", a.Alert)
	}
	for name := range silent {
		require.True(t, names[name], "there is no %s", name)
	}
}

// Without a Prometheus too: what the dashboard and the alerts name is there, with
// the labels by which they choose.
func TestQueriesNameMetricsThatExist(t *testing.T) {
	f := newFull(t)
	c, err := guardprom.New(f.Guard, guardprom.Options{})
	require.NoError(t, err)
	names := described(t, c)
	f.exercise(t)
	shown := values(t, register(t, f.Guard, guardprom.Options{}))

	board := readDashboard(t)
	all := board.exprs(t)
	for _, a := range readAlerts(t) {
		all = append(all, a.Expr)
		for _, text := range a.Annotations {
			all = append(all, text)
		}
	}
	var tests struct {
		Tests []struct {
			Series []struct{ Series string } `yaml:"input_series"`
		}
	}
	readYAML(t, "guard_test.yml", &tests)
	for _, test := range tests.Tests {
		for _, s := range test.Series {
			all = append(all, s.Series)
		}
	}
	require.Greater(t, len(all), 100)

	selected := regexp.MustCompile(`\b(guard_\w+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`(\w+)(=~?|!=)"([^"]*)"`)
	free := []string{"job", "instance", "route", "dependency", "limit"} // have whatever value
	for _, text := range all {
		for _, s := range selected.FindAllStringSubmatch(text, -1) {
			require.Contains(t, names, strings.TrimSuffix(s[1], "_bucket"), text)
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if slices.Contains(free, m[1]) || m[2] == "!=" {
					continue
				}
				for value := range strings.SplitSeq(m[3], "|") {
					require.True(t, hasSeries(shown, s[1], m[1]+`="`+value+`"`), "%s: there is no %s with %s=%q", text, s[1], m[1], value)
				}
			}
		}
	}
}

func hasSeries(shown map[string]float64, name, label string) bool {
	for s := range shown {
		if strings.HasPrefix(s, name+"{") && strings.Contains(s, label) {
			return true
		}
	}
	return false
}
