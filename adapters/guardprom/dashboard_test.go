package guardprom_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A dashboard is what Grafana reads of the file, as far as it matters here.
type dashboard struct {
	ID            *int
	UID           string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Datasource source
		}
	}
	Panels []panel
}

type source struct{ Type, UID string }

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ H, W, X, Y int }
	Options                  map[string]any
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		RefID, Expr, LegendFormat string
		Datasource                source
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("grafana", "dashboard.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}

// The dashboard is of the form that Grafana has had since 10.0.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	require.Nil(t, d.ID, "the database of the Grafana that imports it gives it one")
	require.Regexp(t, `^[a-z-]{8,40}$`, d.UID)
	require.Equal(t, 38, d.SchemaVersion, "of 10.0: later ones bring it up to theirs")

	// Whose Prometheus it is, is a variable.
	chosen := source{Type: "prometheus", UID: "${datasource}"}
	variables := map[string]bool{"__rate_interval": true}
	for i, v := range d.Templating.List {
		variables[v.Name] = true
		if i == 0 {
			require.Equal(t, "datasource", v.Type)
			require.Equal(t, "datasource", v.Name)
			continue
		}
		require.Equal(t, "query", v.Type)
		require.Equal(t, chosen, v.Datasource)
	}

	ids := map[int]bool{}
	covered := map[[2]int]string{}
	for _, p := range d.Panels {
		require.NotZero(t, p.ID, p.Title)
		require.False(t, ids[p.ID], "%d twice", p.ID)
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Less(t, at[0], 24, p.Title)
				require.Empty(t, covered[at], "is where %s is", p.Title)
				covered[at] = p.Title
			}
		}
		require.NotEmpty(t, p.Title)
		if p.Type == "row" {
			require.Empty(t, p.Targets)
			continue
		}
		require.Contains(t, []string{"stat", "timeseries", "state-timeline"}, p.Type)
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Options, p.Title)
		require.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
		require.Equal(t, chosen, p.Datasource, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		refs := map[string]bool{}
		for _, target := range p.Targets {
			require.Equal(t, chosen, target.Datasource, p.Title)
			require.False(t, refs[target.RefID], "%s: %s twice", p.Title, target.RefID)
			refs[target.RefID] = true
			// Series that are told apart by a label need a name by it.
			if p.Type != "stat" {
				require.NotEmpty(t, target.LegendFormat, p.Title)
			}
			for _, by := range regexp.MustCompile(`^(?:sum|max|min) by \(([^)]*)\)`).FindAllStringSubmatch(target.Expr, -1) {
				for label := range strings.SplitSeq(by[1], ", ") {
					require.Contains(t, target.LegendFormat, "{{"+label+"}}", p.Title)
				}
			}
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				require.True(t, variables[used[1]], "%s: $%s", p.Title, used[1])
			}
			require.Equal(t, strings.Count(target.Expr, "guard_"), strings.Count(target.Expr, `{job=~"$job",instance=~"$instance"`), p.Title)
		}
	}
}

// exprs returns the queries, with the variables set.
func (d *dashboard) exprs(t *testing.T) (exprs []string) {
	t.Helper()
	set := strings.NewReplacer("$job", "classic", "$instance", ".*", "$__rate_interval", "1m")
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr := set.Replace(target.Expr)
			require.NotContains(t, expr, "$")
			exprs = append(exprs, expr)
		}
	}
	return exprs
}
