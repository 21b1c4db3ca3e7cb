package guard_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// updateAPI is the environment variable that makes TestAPI rewrite its golden
// file; make api sets it.
const updateAPI = "GUARD_UPDATE_API"

// TestAPI compares the package's documentation, as go doc prints it, with
// testdata/api.txt. Nothing exported comes, goes or changes its meaning unless
// that file changes with it, where a review sees it.
func TestAPI(t *testing.T) {
	update := os.Getenv(updateAPI) != ""
	if testing.Short() && !update {
		t.Skip("runs go doc")
	}
	got := goOutput(t, "doc", "-all", ".")
	golden := filepath.Join("testdata", "api.txt")
	if update {
		require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		return
	}

	b, err := os.ReadFile(golden)
	require.NoErrorf(t, err, "the golden file of the exported API cannot be read; make api writes it")
	want := strings.ReplaceAll(string(b), "\r\n", "\n")
	if got != want {
		t.Errorf("the exported API is not that of %s (-) any more, but (+):\n%s\nif that is meant, make api rewrites the file",
			golden, diffLines(want, got))
	}
}

// diffLines returns the lines that only one of two texts has, those of before
// with "-" and those of after with "+" in front. Each run of them comes after the
// unindented line it is found under, which names the declaration.
func diffLines(before, after string) string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, old := range slices.Backward(a) {
		for j, now := range slices.Backward(b) {
			if old == now {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}

	var out strings.Builder
	under := ""
	line := func(sign, text string) {
		if under != "" {
			out.WriteString("  " + under + "\n")
			under = ""
		}
		out.WriteString(sign + " " + text + "\n")
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			if a[i] != "" && strings.TrimLeft(a[i], " \t)}") == a[i] {
				under = a[i]
			}
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			line("-", a[i])
			i++
		default:
			line("+", b[j])
			j++
		}
	}
	return out.String()
}

// The diff above is what a failing TestAPI shows, so it has to be right when it
// is needed.
func TestAPIDiff(t *testing.T) {
	require.Empty(t, diffLines("a\nb\n", "a\nb\n"))
	require.Equal(t, "- gone\n", diffLines("gone\nfunc A()\n", "func A()\n"))
	require.Equal(t, "  type Config struct {\n-     Rate int\n+     Rate float64\n+     Burst int\n  func B()\n- func C()\n",
		diffLines("type Config struct {\n    Rate int\n}\nfunc B()\nfunc C()\n",
			"type Config struct {\n    Rate float64\n    Burst int\n}\nfunc B()\n"))
}
