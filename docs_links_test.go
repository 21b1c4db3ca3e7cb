package guard_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	fence   = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *#*$`)
	inline  = regexp.MustCompile("`[^`\n]+`")
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
)

// prose returns a document without its code.
func prose(doc string) string {
	return inline.ReplaceAllString(fence.ReplaceAllString(doc, ""), "")
}

// anchors returns the ids that GitHub gives the headings of a document.
func anchors(doc string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(doc, ""), -1) {
		title := link.ReplaceAllString(m[1], "]")
		id := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-', c == '_', unicode.IsLetter(c), unicode.IsDigit(c):
				return unicode.ToLower(c)
			}
			return -1
		}, title)
		unique := id
		for i := 1; ids[unique]; i++ {
			unique = id + "-" + strconv.Itoa(i)
		}
		ids[unique] = true
	}
	return ids
}

func TestAnchors(t *testing.T) {
	doc := "# Load on 8 × 20 ms\n\n## `guard: x y`\n## A [link](b.md), and\n```\n# not this\n```\n## Same\n## Same\n"
	require.Equal(t, map[string]bool{"load-on-8--20-ms": true, "guard-x-y": true, "a-link-and": true, "same": true, "same-1": true}, anchors(doc))
}

// TestDocsLinks follows the links of every document to files, directories and
// headings of the repository.
func TestDocsLinks(t *testing.T) {
	source(t, "README.md")
	followed := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		path = filepath.ToSlash(path)
		for _, m := range link.FindAllStringSubmatch(prose(source(t, path)), -1) {
			to, err := url.Parse(m[1])
			require.NoError(t, err, "%s links to %s", path, m[1])
			if to.IsAbs() {
				continue
			}
			followed++
			target := path
			if to.Path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), to.Path))
			}
			_, err = os.Stat(target)
			require.NoError(t, err, "%s links to %s", path, m[1])
			if to.Fragment != "" {
				require.True(t, anchors(source(t, target))[to.Fragment], "%s links to %s, where no heading is called so", path, m[1])
			}
		}
		return nil
	}))
	require.Greater(t, followed, 100)
}

// TestDocsSnippets looks in the examples of this package, which are compiled and run,
// for the code that docs/migrating.md shows as that of this package.
func TestDocsSnippets(t *testing.T) {
	doc := source(t, "docs/migrating.md")
	plain := func(code string) string { return strings.Join(strings.Fields(code), " ") }
	examples, err := filepath.Glob("example_*_test.go")
	require.NoError(t, err)
	var code strings.Builder
	for _, path := range examples {
		code.WriteString(plain(source(t, path)) + "\n")
	}
	count := map[string]int{}
	for _, m := range fence.FindAllStringSubmatch(doc, -1) {
		count[m[1]]++
		if m[1] == "go after" {
			require.Contains(t, code.String(), plain(m[2]), "no example has this")
		}
	}
	require.Equal(t, map[string]int{"go before": count["go after"], "go after": count["go after"]}, count, "each block is before or after, and as many are")
	require.Greater(t, count["go after"], 5)
}
