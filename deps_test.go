package guard_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The dependency budget of the root module: who imports the library builds
// these and the standard library, and nothing else.
var (
	budgetPackages = []string{"golang.org/x/time/rate", "github.com/sony/gobreaker/v2"}
	budgetModules  = []string{"golang.org/x/time", "github.com/sony/gobreaker/v2", "github.com/stretchr/testify"}

	// The init functions of these register handlers on http.DefaultServeMux, in
	// every program that only links them.
	bannedPackages = []string{"expvar", "net/http/pprof"}
)

// TestDependencyPackages asks what the packages of the root module (not their
// tests) are built from, however indirectly.
func TestDependencyPackages(t *testing.T) {
	module := strings.TrimSpace(goOutput(t, "list", "-m"))
	ours := func(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }
	inBudget := func(path string) bool {
		return slices.ContainsFunc(budgetPackages, func(b string) bool {
			return path == b || strings.HasPrefix(path, b+"/")
		})
	}

	type pkg struct {
		ImportPath string
		Standard   bool
		Imports    []string
	}
	var all []pkg
	importers := map[string][]string{}
	list := json.NewDecoder(strings.NewReader(goOutput(t, "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")))
	for {
		var p pkg
		err := list.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all = append(all, p)
		for _, path := range p.Imports {
			importers[path] = append(importers[path], p.ImportPath)
		}
	}

	require.True(t, slices.ContainsFunc(all, func(p pkg) bool { return p.ImportPath == module }),
		"go list does not name the package itself: it lists something else")
	for _, p := range all {
		if slices.Contains(bannedPackages, p.ImportPath) {
			t.Errorf("%s is banned, and imported by %s", p.ImportPath, strings.Join(importers[p.ImportPath], ", "))
		}
		if !p.Standard && !ours(p.ImportPath) && !inBudget(p.ImportPath) {
			t.Errorf("%s is not in the dependency budget, and imported by %s", p.ImportPath, strings.Join(importers[p.ImportPath], ", "))
		}
	}
}

// TestDependencyModules asks go.mod for what it requires directly.
func TestDependencyModules(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []struct{ Old struct{ Path string } }
	}
	require.NoError(t, json.Unmarshal([]byte(goOutput(t, "mod", "edit", "-json")), &mod))
	for _, r := range mod.Require {
		if !r.Indirect {
			require.Contains(t, budgetModules, r.Path, "go.mod requires a module outside the dependency budget")
		}
	}
	require.Empty(t, mod.Replace, "a replace is ignored where the module is a dependency: users would build something else")
}

// goOutput runs the go command in the package's directory and returns what it
// prints, with line feeds alone. Without a go command, as where a test binary
// was copied to another machine, the test is skipped.
func goOutput(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command: ", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoErrorf(t, err, "go %s: %s", strings.Join(args, " "), &stderr)
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}
