package guard_test

import (
	"encoding/json"
	"encoding/xml"
	"html"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// requireHeader requires what every error's header says, each field once.
func requireHeader(tb testing.TB, w *httptest.ResponseRecorder, format string) {
	tb.Helper()
	h := w.Header()
	require.Equal(tb, []string{format}, h["Content-Type"])
	require.Equal(tb, []string{"no-store"}, h["Cache-Control"])
	require.Equal(tb, []string{"nosniff"}, h["X-Content-Type-Options"])
	require.Equal(tb, []string{"Accept"}, h["Vary"])
	require.Equal(tb, []string{"id-1"}, h["X-Request-Id"])
	require.Len(tb, h["Content-Length"], 1)
}

// members are what a body says.
type members struct {
	Type       string `json:"type" xml:"type"`
	Title      string `json:"title" xml:"title"`
	Status     int    `json:"status" xml:"status"`
	Detail     string `json:"detail" xml:"detail"`
	Instance   string `json:"instance" xml:"instance"`
	Code       string `json:"code" xml:"code"`
	RetryAfter int64  `json:"retryAfter" xml:"retryAfter"`
	RequestID  string `json:"requestId" xml:"requestId"`
}

// readJSON requires a well-formed body and returns what it says.
func readJSON(tb testing.TB, body string) members {
	tb.Helper()
	var m members
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	require.NoError(tb, d.Decode(&m), body)
	_, err := d.Token()
	require.ErrorIs(tb, err, io.EOF, "nothing comes behind: %s", body)
	require.True(tb, utf8.ValidString(body))
	require.NotContains(tb, body, "<", "it is harmless even where it is taken for HTML")
	return m
}

// readXML requires a well-formed body and returns what it says.
func readXML(tb testing.TB, body string) members {
	tb.Helper()
	require.True(tb, strings.HasPrefix(body, `<?xml version="1.0" encoding="UTF-8"?>`), body)
	var doc struct {
		members

		XMLName xml.Name
		Others  []struct{ XMLName xml.Name } `xml:",any"`
	}
	d := xml.NewDecoder(strings.NewReader(body))
	require.NoError(tb, d.Decode(&doc), body)
	require.Equal(tb, xml.Name{Space: "urn:ietf:rfc:7807", Local: "problem"}, doc.XMLName)
	require.Empty(tb, doc.Others, body)
	end, err := d.Token()
	require.NoError(tb, err)
	require.Equal(tb, xml.CharData("\n"), end)
	_, err = d.Token()
	require.ErrorIs(tb, err, io.EOF, "nothing comes behind: %s", body)
	return doc.members
}

// requirePrintable requires that nothing in a text can act on a terminal or
// change the order of what is read.
func requirePrintable(tb testing.TB, body string) {
	tb.Helper()
	require.True(tb, utf8.ValidString(body))
	for _, c := range body {
		if c != '\n' && c != '\t' {
			require.False(tb, unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp), "%U in %q", c, body)
			require.False(tb, unicode.Is(unicode.Bidi_Control, c) && unicode.In(c, unicode.Cf) && c >= 0x202a, "%U in %q", c, body)
		}
	}
}

var (
	htmlTag  = regexp.MustCompile(`<[^>]*>`)
	htmlText = regexp.MustCompile(`(?s)<(h1|p|dd)>(.*?)</`)
)

// requireHTML requires a page that has the same tags as one that says nothing
// special, and returns the texts of its elements.
func requireHTML(tb testing.TB, g *guard.Guard, body string, e guard.Error) []string {
	tb.Helper()
	requirePrintable(tb, body)
	plain := guard.Error{Status: e.Status, Code: "code", RetryAfter: e.RetryAfter}
	if e.Detail != "" {
		plain.Detail = "detail"
	}
	w := httptest.NewRecorder()
	g.WriteError(w, problemRequest(http.MethodGet, "/", asHTML), &plain)
	require.Equal(tb, htmlTag.FindAllString(w.Body.String(), -1), htmlTag.FindAllString(body, -1))
	outside := htmlTag.ReplaceAllString(body, "")
	require.NotContains(tb, outside, "<")
	require.Equal(tb, strings.Count(htmlTag.ReplaceAllString(w.Body.String(), ""), `"`), strings.Count(outside, `"`))
	var texts []string
	for _, m := range htmlText.FindAllStringSubmatch(body, -1) {
		texts = append(texts, html.UnescapeString(m[2]))
	}
	return texts
}

// replaceRunes replaces what is not wanted, and every byte that is no UTF-8, by
// U+FFFD.
func replaceRunes(s string, wanted func(rune) bool) string {
	var b strings.Builder
	for _, c := range s { // of an invalid byte, c is U+FFFD
		if !wanted(c) {
			c = utf8.RuneError
		}
		b.WriteRune(c)
	}
	return b.String()
}

func anyRune(rune) bool { return true }

// inXML is the production Char of XML 1.0.
func inXML(c rune) bool {
	return c == '\t' || c == '\n' || c == '\r' || c >= 0x20 && c <= 0xd7ff || c >= 0xe000 && c <= 0xfffd || c >= 0x10000
}

func inText(c rune) bool {
	return c == '\t' || c == '\n' || !unicode.IsControl(c) && !strings.ContainsRune("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", c)
}

// requireProblem requires that an error is told right in every format.
func requireProblem(tb testing.TB, g *guard.Guard, path string, e guard.Error) {
	tb.Helper()
	retry := int64(0)
	if e.RetryAfter > 0 {
		retry = min((int64(e.RetryAfter)-1)/int64(time.Second)+1, math.MaxInt32)
	}
	title := http.StatusText(e.Status)
	if title == "" {
		title = "Error " + strconv.Itoa(e.Status)
	}
	instance := (&url.URL{Path: path}).EscapedPath()
	if len(instance) > 1024 {
		instance = ""
	}
	want := func(wanted func(rune) bool) members {
		return members{
			Type: "about:blank", Title: title, Status: e.Status, Instance: instance, RetryAfter: retry, RequestID: "id-1",
			Detail: replaceRunes(e.Detail, wanted), Code: replaceRunes(e.Code, wanted),
		}
	}
	for _, format := range everyFormat {
		w := problemFor(tb, g, format, path, &e)
		require.Equal(tb, e.Status, w.Code)
		if retry > 0 {
			require.Equal(tb, []string{strconv.FormatInt(retry, 10)}, w.Header()["Retry-After"])
		} else {
			require.NotContains(tb, w.Header(), "Retry-After")
		}
		body := w.Body.String()
		want := want(map[string]func(rune) bool{asJSON: anyRune, asXML: inXML, asText: inText, asHTML: inText}[format])
		switch format {
		case asJSON:
			require.Equal(tb, want, readJSON(tb, body))
		case asXML:
			require.Equal(tb, want, readXML(tb, body))
		case asText:
			requirePrintable(tb, body)
			text := strconv.Itoa(e.Status) + " " + title + "\n"
			if e.Detail != "" {
				text += want.Detail + "\n"
			}
			text += "\ncode: " + want.Code + "\n"
			if instance != "" {
				text += "instance: " + instance + "\n"
			}
			if retry > 0 {
				text += "retry after: " + strconv.FormatInt(retry, 10) + " s\n"
			}
			require.Equal(tb, text+"request id: id-1\n", body)
		case asHTML:
			texts := []string{strconv.Itoa(e.Status) + " " + title}
			if e.Detail != "" {
				texts = append(texts, want.Detail)
			}
			if retry > 0 {
				texts = append(texts, strconv.FormatInt(retry, 10)+" s")
			}
			require.Equal(tb, append(texts, want.Code, "id-1"), requireHTML(tb, g, body, e))
		}
	}
}

var hostileTexts = map[string]string{
	"nothing special":     "The parameter visit is missing.",
	"invalid UTF-8":       "a\xff\xfe\xc3(\xe2\x82b\xf0\x9f",
	"surrogate":           "\xed\xa0\x80\xed\xb0\x80",
	"U+FFFD itself":       "a\ufffdb",
	"NUL":                 "a\x00b",
	"control characters":  "\x01\x02\x07\x08\x0b\x0c\x0e\x1b[31mred\x1f\x7f",
	"C1 controls":         "\u0080\u0085\u009b31m\u009f",
	"line breaks":         "a\nb\r\nc\rd\n",
	"tabs":                "\ta\t",
	"a script":            "</p></h1></title><script>alert(1)</script>",
	"a comment":           "<!-- --> --> <![CDATA[ ]]>",
	"the end of CDATA":    "]]>",
	"less than":           "a < b",
	"more than":           "a > b",
	"ampersand":           "a & b",
	"attributes":          `" onload="alert(1)" x='`,
	"entities":            "&amp; &lt; &#60; &quot; &nbsp; &unknown; &",
	"an XML declaration":  `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;`,
	"the end of a string": `","admin":true,"x":"\`,
	"a backslash":         `C:\temp`,
	"backslashes":         `\ \\ \" \u0000 \n`,
	"line separators":     "a\u2028b\u2029c",
	"reordering":          "a\u202eb\u202cc\u2066d\u2069e\u200f\u061cf",
	"noncharacters":       "\ufffe\uffff\ufdd0\U0001fffe\U0010ffff",
	"byte order mark":     "\ufeffa",
	"other scripts":       "żółć 日本語 🎉 e\u0301",
	"percent":             "%s %d %!x(MISSING)",
	"very long":           strings.Repeat("é<&\"\x00", 1<<13),
	"one byte of each": func() string {
		var b []byte
		for c := range 256 {
			b = append(b, byte(c))
		}
		return string(b)
	}(),
}

func TestProblemIsWellFormedWhateverTheDetail(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for name, text := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, g, "/", guard.Error{Status: http.StatusBadRequest, Code: "bad-request", Detail: text})
		})
	}
}

func TestProblemIsWellFormedWhateverTheCode(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for name, text := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, g, "/", guard.Error{Status: http.StatusConflict, Code: text, RetryAfter: time.Minute})
		})
	}
}

func TestProblemIsWellFormedWhateverThePath(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for name, text := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			requireProblem(t, g, "/"+text, guard.Error{Status: http.StatusNotFound, Code: "not-found"})
		})
	}
}

func TestProblemIsWellFormedWhateverTheSupport(t *testing.T) {
	for name, text := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, guard.Config{Support: text})
			for _, format := range everyFormat {
				body := problemFor(t, g, format, "/", io.ErrUnexpectedEOF).Body.String()
				const before, after = "Please forward the logs of this request to ", "."
				switch format {
				case asJSON:
					assert.Contains(t, readJSON(t, body).Detail, before+replaceRunes(text, anyRune)+after)
				case asXML:
					assert.Contains(t, readXML(t, body).Detail, before+replaceRunes(text, inXML)+after)
				case asText:
					requirePrintable(t, body)
					assert.Contains(t, body, before+replaceRunes(text, inText)+after)
				case asHTML:
					texts := requireHTML(t, g, body, guard.Error{Status: http.StatusInternalServerError, Detail: "x"})
					assert.Contains(t, texts[1], before+replaceRunes(text, inText)+after)
				}
			}
		})
	}
}
