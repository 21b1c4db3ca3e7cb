package guard_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

const freshID = `^[A-Za-z0-9._-]{16,128}$`

func TestRequestIDKept(t *testing.T) {
	for name, id := range map[string]string{
		"one character":     "x",
		"every character":   "ABCXYZabcxyz0189._-",
		"a UUID":            "0b1f2d3c-4a5b-6c7d-8e9f-001122334455",
		"only punctuation":  "...",
		"as long as may be": strings.Repeat("a", 128),
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("X-Request-Id", id)
			assert.Equal(t, id, guard.RequestID(r))
			assert.Equal(t, []string{id}, r.Header["X-Request-Id"])
		})
	}
}

func TestRequestIDReplaced(t *testing.T) {
	for name, id := range map[string]string{
		"empty":                   "",
		"too long":                strings.Repeat("a", 129),
		"line feed at the end":    "abc\n",
		"line feed":               "abc\nlevel=ERROR",
		"carriage return":         "abc\r\nX-Evil: 1",
		"space":                   "a b",
		"NUL":                     "a\x00b",
		"quotation mark":          `a"b`,
		"less than":               "<script>",
		"comma":                   "a,b",
		"slash":                   "a/b",
		"at, before the letters":  "@",
		"bracket, after capitals": "[",
		"backquote":               "`",
		"brace, after letters":    "{",
		"colon, after digits":     ":",
		"letter of another kind":  "é",
		"letters that fold to k":  "\u212a",
		"invalid UTF-8":           "a\xffb",
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header["X-Request-Id"] = []string{id}
			got := guard.RequestID(r)
			assert.NotEqual(t, id, got)
			assert.Regexp(t, freshID, got)
			assert.Equal(t, []string{got}, r.Header["X-Request-Id"], "it goes along when the request is passed on")
		})
	}
}

func TestRequestIDIsTheFirst(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header["X-Request-Id"] = []string{"first", "second"}
	assert.Equal(t, "first", guard.RequestID(r))

	r.Header["X-Request-Id"] = []string{"not valid", "second"}
	got := guard.RequestID(r)
	assert.Regexp(t, freshID, got)
	assert.Equal(t, []string{got}, r.Header["X-Request-Id"])
}

func TestRequestIDIsStable(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	id := guard.RequestID(r)
	assert.Regexp(t, freshID, id)
	assert.Equal(t, id, guard.RequestID(r))
	assert.Equal(t, id, guard.RequestID(r.WithContext(t.Context())))
	assert.Equal(t, id, guard.RequestID(r.Clone(t.Context())))
}

func TestRequestIDIsFresh(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		seen[guard.RequestID(&http.Request{})] = true
	}
	assert.Len(t, seen, 1000)
}

func TestRequestIDOfRequestWithoutHeader(t *testing.T) {
	r := &http.Request{}
	id := guard.RequestID(r)
	assert.Regexp(t, freshID, id)
	assert.Equal(t, id, guard.RequestID(r))
}

// The id that the client sees in the body is the one on the header, and the one
// that the handler got.
func TestRequestIDIsTheSameEverywhere(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for name, sent := range map[string]string{"kept": "abc-123", "replaced": "not valid", "fresh": ""} {
		t.Run(name, func(t *testing.T) {
			var handlers string
			h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				handlers = guard.RequestID(r)
				return guard.NotFound("none")
			})
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header.Set("X-Request-Id", sent)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)

			var body struct{ RequestID string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			assert.Equal(t, handlers, body.RequestID)
			assert.Equal(t, []string{handlers}, w.Header()["X-Request-Id"])
			if sent == "abc-123" {
				assert.Equal(t, sent, handlers)
			} else {
				assert.NotEqual(t, sent, handlers)
			}
		})
	}
}
