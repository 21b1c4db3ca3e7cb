package guard_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// What docs/runbook.md says must be what the code has: each of these tests takes the
// words from where they are written, and looks for them in the runbook.

const runbook = "docs/runbook.md"

// source reads a file of the repository. Where there is only a part of it, as in the
// module cache, the test is skipped.
func source(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat("adapters/guardprom/go.mod"); err != nil {
		t.Skip("needs the whole repository: ", err)
	}
	b, err := os.ReadFile(filepath.FromSlash(path))
	require.NoError(t, err)
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// inspect calls f for each node of the package's files, tests left out, with the
// node that it is in.
func inspect(t *testing.T, f func(node, in ast.Node)) {
	t.Helper()
	source(t, "go.mod")
	paths, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		var within []ast.Node
		ast.Inspect(file, func(n ast.Node) bool {
			if n == nil {
				within = within[:len(within)-1]
				return true
			}
			if len(within) > 0 {
				f(n, within[len(within)-1])
			}
			within = append(within, n)
			return true
		})
	}
}

// text returns the value of a string literal, or "".
func text(n ast.Node) string {
	lit, ok := n.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// callee returns the name of the function that a node calls, such as slog.String: of
// a method, with a dot in front alone.
func callee(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		if x, ok := fun.X.(*ast.Ident); ok && slices.Contains([]string{"slog", "errors", "fmt"}, x.Name) {
			return x.Name + "." + fun.Sel.Name
		}
		return "." + fun.Sel.Name
	}
	return ""
}

// quoted returns each thing that stands in backquotes in a text, once.
func quoted(doc string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(doc, -1) {
		all[m[1]] = true
	}
	return all
}

// TestDocsLogLines takes each text of the package that begins as lines of the log do
// and is not that of an error, and wants a section for it; and the other way round.
func TestDocsLogLines(t *testing.T) {
	var messages []string
	inspect(t, func(n, in ast.Node) {
		s := text(n)
		if !strings.HasPrefix(s, "guard: ") {
			return
		}
		switch in.(type) {
		case *ast.ReturnStmt, *ast.BinaryExpr: // what an Error method says, or the beginning of it
			return
		}
		if !slices.Contains([]string{"errors.New", "fmt.Errorf", "fmt.Sprintf"}, callee(in)) {
			messages = append(messages, s)
		}
	})
	require.Greater(t, len(messages), 9, "the log has more lines than that")
	var sections []string
	for _, m := range regexp.MustCompile("(?m)^### `(guard: .*)`$").FindAllStringSubmatch(source(t, runbook), -1) {
		sections = append(sections, m[1])
	}
	slices.Sort(messages)
	require.ElementsMatch(t, slices.Compact(messages), sections)
}

func TestDocsLogKeys(t *testing.T) {
	_, chapter, found := strings.Cut(source(t, runbook), "\n## The log\n")
	require.True(t, found)
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	documented := quoted(chapter)
	keys := map[string]bool{}
	inspect(t, func(n, in ast.Node) {
		if strings.HasPrefix(callee(in), "slog.") && text(n) != "" && n == in.(*ast.CallExpr).Args[0] {
			keys[text(n)] = true
		}
		v, ok := in.(*ast.ValueSpec)
		if list, isList := n.(*ast.CompositeLit); ok && isList && v.Names[0].Name == "refusalNames" {
			for _, name := range list.Elts {
				keys[text(name)] = true
			}
		}
	})
	require.Greater(t, len(keys), 40, "the log has more keys than that")
	for key := range keys {
		require.True(t, documented[key], "the log has the key %q, and %s does not", key, runbook)
	}
}

// TestDocsReasons wants each reason for which a breaker changes its state, or a
// self-tuned bound its limit.
func TestDocsReasons(t *testing.T) {
	documented := quoted(source(t, runbook))
	moves, changes := 0, 0
	inspect(t, func(n, in ast.Node) {
		s := text(n)
		if s == "" {
			return
		}
		switch in := in.(type) {
		case *ast.ValueSpec:
			if !strings.HasPrefix(in.Names[0].Name, "moved") {
				return
			}
			moves++
		case *ast.AssignStmt:
			to, ok := in.Lhs[0].(*ast.SelectorExpr)
			if !ok || to.Sel.Name != "why" {
				return
			}
			changes++
		case *ast.CallExpr:
			if !slices.Contains([]string{".enter", ".reopen", ".halfOpen", ".note"}, callee(in)) {
				return
			}
			changes++
		default:
			return
		}
		require.True(t, documented[s], "%q is a reason that %s does not have", s, runbook)
	})
	require.Greater(t, moves, 9)
	require.Greater(t, changes, 11)
}

// TestDocsFields looks for each field of a Snapshot that docs name.
func TestDocsFields(t *testing.T) {
	field := regexp.MustCompile(`^(?:Snapshot\(\)\.)?((?:Requests|Routes|Dependencies)\b[\w.\[\]]*)$`)
	n := 0
	for _, path := range []string{runbook, "docs/sizing.md"} {
		for name := range quoted(source(t, path)) {
			m := field.FindStringSubmatch(name)
			if m == nil {
				continue
			}
			n++
			at := reflect.TypeFor[guard.Snapshot]()
			for part := range strings.SplitSeq(m[1], ".") {
				f, ok := at.FieldByName(strings.TrimSuffix(part, "[]"))
				require.True(t, ok, "%s: there is no %s in %s", path, part, name)
				if at = f.Type; at.Kind() == reflect.Slice {
					require.True(t, strings.HasSuffix(part, "[]"), "%s: %s of %s is a slice", path, part, name)
					at = at.Elem()
				}
			}
		}
	}
	require.Greater(t, n, 30)
}

func TestDocsAlertsAndMetrics(t *testing.T) {
	documented := quoted(source(t, runbook))
	alerts := regexp.MustCompile(`(?m)^\s*- alert: (\w+)$`).FindAllStringSubmatch(source(t, "adapters/guardprom/alerts/guard.yml"), -1)
	require.Greater(t, len(alerts), 9)
	for _, m := range alerts {
		require.True(t, documented[m[1]], "there is an alert %s, of which %s says nothing", m[1], runbook)
	}

	metrics := regexp.MustCompile("(?m)^\\| `(guard_\\w+)` ").FindAllStringSubmatch(source(t, "adapters/guardprom/README.md"), -1)
	require.Greater(t, len(metrics), 40)
	named := func(name string) bool {
		for word := range documented {
			if group := strings.HasSuffix(word, "_") && len(word) > len("guard_"); word == name || group && strings.HasPrefix(name, word) {
				return true
			}
		}
		return false
	}
	for _, m := range metrics {
		require.True(t, named(m[1]), "there is a metric %s, and %s names no group of it", m[1], runbook)
	}
	for word := range documented {
		if strings.HasPrefix(word, "guard_") {
			require.True(t, word == "guard_route_" || slices.ContainsFunc(metrics, func(m []string) bool {
				return m[1] == word || strings.HasSuffix(word, "_") && strings.HasPrefix(m[1], word)
			}), "%s names %s, which is no metric", runbook, word)
		}
	}
}

// TestDocsDashboardWords takes the words that the page has for states.
func TestDocsDashboardWords(t *testing.T) {
	doc := source(t, runbook)
	n := 0
	for path, word := range map[string]string{
		"dashboard/page/verdict.js": `(?:\bword: |\bnote: |headline = |^  \['\w+', )'([^']+)'`,
		"dashboard/page/main.js":    `^  \w+: '([^']+)',$`,
		"dashboard/events.go":       `(?:ev\.Text = \w+, |text = |return \w+, |server\([^()]*, )"([^"%]{4,})`,
	} {
		for _, m := range regexp.MustCompile(`(?m)`+word).FindAllStringSubmatch(source(t, path), -1) {
			n++
			require.Contains(t, doc, strings.TrimSpace(m[1]), "%s shows it", path)
		}
	}
	require.Greater(t, n, 30)
}
