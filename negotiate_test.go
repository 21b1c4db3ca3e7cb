package guard_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// The formats of an error body, by their Content-Type.
const (
	asJSON = "application/problem+json"
	asXML  = "application/problem+xml"
	asText = "text/plain; charset=utf-8"
	asHTML = "text/html; charset=utf-8"
)

// formatFor returns the Content-Type of the error that a client gets who sends
// these lines of Accept.
func formatFor(tb testing.TB, g *guard.Guard, accept ...string) string {
	tb.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	if len(accept) > 0 {
		r.Header["Accept"] = accept
	}
	w := httptest.NewRecorder()
	g.WriteError(w, r, guard.NotFound("none"))
	require.Equal(tb, http.StatusNotFound, w.Code, "an error is never answered with 406")
	return w.Header().Get("Content-Type")
}

func TestNegotiate(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, test := range []struct {
		name   string
		accept []string
		want   string
	}{
		{"no header", nil, asJSON},
		{"empty header", []string{""}, asJSON},
		{"only blanks", []string{" \t "}, asJSON},
		{"only commas", []string{",", " , ,"}, asJSON},

		{"each format by its name: json", []string{"application/problem+json"}, asJSON},
		{"each format by its name: xml", []string{"application/problem+xml"}, asXML},
		{"each format by its name: text", []string{"text/plain"}, asText},
		{"each format by its name: html", []string{"text/html"}, asHTML},
		{"alias application/json", []string{"application/json, text/html;q=0.9"}, asJSON},
		{"alias application/xml", []string{"application/xml"}, asXML},
		{"alias text/xml", []string{"text/xml"}, asXML},
		{"the alias is less specific: q of the name", []string{"application/xml, application/problem+xml;q=0.1, text/html;q=0.5"}, asHTML},
		{"the alias is less specific: q of the alias", []string{"application/xml;q=0.1, application/problem+xml, text/html;q=0.5"}, asXML},
		{"the alias is more specific than a wildcard", []string{"application/json;q=0.1, application/*;q=0.9"}, asXML},

		{"order of preference among all", []string{"text/html, text/plain, application/problem+xml, application/problem+json"}, asJSON},
		{"order of preference without json", []string{"text/html, text/plain, application/problem+xml"}, asXML},
		{"order of preference of texts", []string{"text/html, text/plain"}, asText},
		{"equal q below 1", []string{"text/html;q=0.3, application/xml;q=0.3"}, asXML},
		{"any", []string{"*/*"}, asJSON},
		{"any application", []string{"application/*"}, asJSON},
		{"any text", []string{"text/*"}, asText},
		{"any text is not xml", []string{"text/*;q=0.5, application/problem+xml;q=0.4"}, asText},
		{"any image", []string{"image/*"}, asJSON},
		{"any image and html", []string{"image/*, text/html;q=0.1"}, asHTML},

		{"higher q", []string{"application/json;q=0.8, text/html;q=0.9"}, asHTML},
		{"lower q of the first", []string{"text/html;q=0.1, application/xml;q=0.2"}, asXML},
		{"no q is 1", []string{"application/json;q=0.999, text/plain"}, asText},
		{"three decimals count", []string{"application/json;q=0.123, text/plain;q=0.124"}, asText},
		{"two decimals are hundredths", []string{"application/json;q=0.9, text/plain;q=0.91"}, asText},
		{"two decimals are not thousandths", []string{"application/json;q=0.2, text/plain;q=0.19"}, asJSON},
		{"three decimals are thousandths", []string{"application/json;q=0.11, text/plain;q=0.109"}, asJSON},
		{"the smallest q is something", []string{"text/html;q=0.001"}, asHTML},
		{"q=1.000 is 1", []string{"text/html;q=1.000, text/plain;q=0.999"}, asHTML},
		{"q=1. is 1", []string{"text/html;q=1., text/plain;q=0.999"}, asHTML},
		{"q=0. is 0", []string{"text/html;q=0., text/*;q=0.1"}, asText},

		{"q=0 excludes", []string{"*/*, application/problem+json;q=0"}, asXML},
		{"q=0 excludes all but one", []string{"application/problem+json;q=0, application/problem+xml;q=0, text/plain;q=0, */*;q=0.1"}, asHTML},
		{"q=0.000 excludes", []string{"text/plain;q=0.000, text/*;q=0.1"}, asHTML},
		{"q=0 of a wildcard excludes what is not named", []string{"*/*;q=0, text/html;q=0.1"}, asHTML},
		{"q=0 of the alias excludes", []string{"application/json;q=0, */*;q=0.1"}, asXML},
		{"everything excluded: the default", []string{"*/*;q=0"}, asJSON},
		{"the default itself excluded", []string{"application/problem+json;q=0"}, asJSON},
		{"nothing usable", []string{"image/png, application/pdf;q=0.3"}, asJSON},

		{"the most specific range wins: type", []string{"*/*;q=0.9, text/*;q=0.1, application/*;q=0.2"}, asJSON},
		{"the most specific range wins: type against any", []string{"application/*;q=0.1, */*;q=0.2"}, asText},
		{"the most specific range wins: name", []string{"text/*;q=0.5, text/plain;q=0.1, application/*;q=0.2"}, asHTML},
		{"the most specific range wins: name, lower q", []string{"text/*, text/plain;q=0.9"}, asHTML},
		{"the most specific range wins, wherever it stands", []string{"text/plain;q=0.1, application/*;q=0.2, text/*;q=0.5"}, asHTML},
		{"the most specific range wins: parameters", []string{"text/html, text/html;charset=utf-8;q=0.1, text/plain;q=0.5"}, asText},
		{"the most specific range wins: parameters, wherever they stand", []string{"text/html;charset=utf-8;q=0.1, text/html, text/plain;q=0.5"}, asText},

		{"the same range twice: the kinder one", []string{"text/html;q=0.9, text/plain;q=0.5, text/html;q=0.1"}, asHTML},
		{"the same range twice: the kinder one, in any order", []string{"text/html;q=0.1, text/plain;q=0.5, text/html;q=0.9"}, asHTML},
		{"lines are one list", []string{"application/json;q=0.1", "text/html;q=0.9"}, asHTML},
		{"lines are one list: specificity", []string{"text/html;q=0.1", "text/*;q=0.9", "application/xml;q=0.5"}, asText},
		{"lines are one list: empty ones", []string{"", "text/html", ""}, asHTML},

		{"bad q: four decimals", []string{"text/html;q=1.0000, text/plain;q=0.1"}, asText},
		{"bad q: four decimals of zero", []string{"text/html;q=0.1234, text/plain;q=0.1"}, asText},
		{"bad q: above 1", []string{"text/html;q=2, text/plain;q=0.1"}, asText},
		{"bad q: just above 1", []string{"text/html;q=1.001, text/plain;q=0.1"}, asText},
		{"bad q: word", []string{"text/html;q=abc, text/plain;q=0.1"}, asText},
		{"bad q: quoted", []string{`text/html;q="0.5", text/plain;q=0.1`}, asText},
		{"bad q: empty", []string{"text/html;q=, text/plain;q=0.1"}, asText},
		{"bad q: no value", []string{"text/html;q, text/plain;q=0.1"}, asText},
		{"bad q: negative", []string{"text/html;q=-1, text/plain;q=0.1"}, asText},
		{"bad q: sign", []string{"text/html;q=+1, text/plain;q=0.1"}, asText},
		{"bad q: exponent", []string{"text/html;q=1e0, text/plain;q=0.1"}, asText},
		{"bad q: no leading zero", []string{"text/html;q=.5, text/plain;q=0.1"}, asText},
		{"bad q: leading zeros", []string{"text/html;q=00.5, text/plain;q=0.1"}, asText},
		{"bad q: letter in the decimals", []string{"text/html;q=0.5x, text/plain;q=0.1"}, asText},
		{"bad q: letter among the decimals", []string{"text/html;q=0.0x, text/plain;q=0.1"}, asText},
		{"bad q: sign among the decimals", []string{"text/html;q=0.9-, text/plain;q=0.1"}, asText},
		{"bad q: two dots", []string{"text/html;q=0.5., text/plain;q=0.1"}, asText},
		{"bad q: blank before =", []string{"text/html;q =1, text/plain;q=0.1"}, asText},
		{"bad q: blank after =", []string{"text/html;q= 1, text/plain;q=0.1"}, asText},
		{"bad q: not the default of 1 with a wildcard", []string{"*/*;q=5, text/plain;q=0.1"}, asText},
		{"malformed: no slash", []string{"html, text, *, text/plain;q=0.1"}, asText},
		{"malformed: no subtype", []string{"text/, text/plain;q=0.1, /html"}, asText},
		{"malformed: */html", []string{"*/html, text/plain;q=0.1"}, asText},
		{"malformed: two slashes", []string{"text/html/x, text/plain;q=0.1"}, asText},
		{"malformed: blank inside", []string{"text /html, text/ html, text/plain;q=0.1"}, asText},
		{"malformed: not a token", []string{"te(xt/html, t\xe9xt/html, text/plain;q=0.1"}, asText},
		{"malformed: a backslash outside of a string", []string{`a\,text/plain;q=0.1`}, asText},
		{"malformed: only parameters", []string{";q=1, text/plain;q=0.1"}, asText},
		{"malformed: everything", []string{"html;q=1, */x, a/b/c"}, asJSON},
		{"malformed: quotation mark left open", []string{`text/plain;q=0.5, text/html;charset="utf-8`}, asText},
		{"malformed: quotation mark closes nothing", []string{`text/plain;q=0.5, text/html;charset=utf-8"`}, asText},
		{"malformed: quotation marks twice", []string{`text/plain;q=0.5, text/html;charset=""utf-8""`}, asText},

		{"a quoted string holds commas", []string{`text/html;x="a, application/problem+xml, b", text/plain;q=0.1`}, asText},
		{"a quoted string holds semicolons", []string{`text/html;x=";q=1;", text/plain;q=0.1`}, asText},
		{"a quoted string holds escaped quotation marks", []string{`text/html;x="a\", application/problem+xml, \"b", text/plain;q=0.1`}, asText},
		{"a quoted string ends after an escaped backslash", []string{`text/html;x="a\\", application/problem+xml;q=0.2, text/plain;q=0.1`}, asXML},
		{"an open quotation mark swallows the rest of its line", []string{`text/html;x="a, application/problem+xml`, "text/plain;q=0.1"}, asText},

		{"case of the type", []string{"TEXT/HTML"}, asHTML},
		{"case of the alias", []string{"Application/XML"}, asXML},
		{"case of a wildcard's type", []string{"Text/*"}, asText},
		{"case of q", []string{"text/html;Q=0.1, text/plain;q=0.2"}, asText},
		{"case of charset", []string{"text/html;CharSet=UTF-8"}, asHTML},

		{"blanks around everything", []string{" \ttext/html \t;\t q=0.1 ,\t text/plain ; q=0.2\t"}, asText},
		{"no blanks", []string{"text/html;q=0.1,text/plain;q=0.2"}, asText},
		{"another kind of blank is none", []string{"\u00a0text/html, text/plain;q=0.1"}, asText},
		{"empty elements", []string{",,text/html;q=0.1,,,text/plain,"}, asText},
		{"empty parameters", []string{"text/html;;q=0.1;, text/plain;q=0.2"}, asText},

		{"charset=utf-8 is what is sent", []string{"text/html;charset=utf-8"}, asHTML},
		{"charset=utf-8, quoted", []string{`text/html;charset="utf-8"`}, asHTML},
		{"charset=utf-8 with a weight", []string{"text/html;charset=utf-8;q=0.1, text/plain;q=0.2"}, asText},
		{"another charset is not offered", []string{"text/html;charset=iso-8859-1, text/plain;q=0.1"}, asText},
		{"another parameter is of another type", []string{"text/html;level=1, text/plain;q=0.1"}, asText},
		{"a parameter without a value", []string{"text/html;level, text/plain;q=0.1"}, asText},
		{"a parameter after the weight", []string{"text/html;q=0.9;level=1, text/plain;q=0.1"}, asText},
		{"a parameter that ends in q", []string{"text/html;xq=0.1, text/plain;q=0.2"}, asText},

		{"Firefox", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}, asHTML},
		{"Chrome", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"}, asHTML},
		{"Safari", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, asHTML},
		{"axios", []string{"application/json, text/plain, */*"}, asJSON},
		{"curl", []string{"*/*"}, asJSON},
		{"jQuery for scripts", []string{"text/javascript, application/javascript, */*; q=0.01"}, asJSON},
		{"Java's URLConnection", []string{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, asHTML},
		{"the example of RFC 9110", []string{"text/plain; q=0.5, text/html, text/x-dvi; q=0.8, text/x-c"}, asHTML},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, formatFor(t, g, test.accept...))
		})
	}
}

// What a client sends costs work in proportion to its length, and no memory.
func TestNegotiateHugeHeader(t *testing.T) {
	g := newGuard(t, guard.Config{})
	usual := allocsOfError(g, "application/json, text/plain, */*")
	for name, accept := range map[string]string{
		"elements":        strings.Repeat("text/html;q=0.1,", 1<<14),
		"commas":          strings.Repeat(",", 1<<18),
		"parameters":      "text/html" + strings.Repeat(";", 1<<18),
		"bad":             strings.Repeat("a/b/c;q=7,", 1<<14),
		"quotation marks": strings.Repeat(`"`, 1<<18),
		"backslashes":     `text/html;x="` + strings.Repeat(`\`, 1<<18),
		"one token":       strings.Repeat("x", 1<<18),
	} {
		assert.InDelta(t, usual, allocsOfError(g, accept), 10, name)
	}
}

func allocsOfError(g *guard.Guard, accept string) float64 {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header["Accept"] = []string{accept}
	r.Header["X-Request-Id"] = []string{"1"}
	err := guard.NotFound("none")
	return testing.AllocsPerRun(5, func() { g.WriteError(httptest.NewRecorder(), r, err) })
}

// FuzzNegotiate compares the choice with that of an oracle which is made of the
// grammar of RFC 9110 and its rule of precedence. The input is the lines of the
// header, with line feeds between.
func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{
		"", "*/*", "text/html, */*;q=0.1", "text/html;q=0.5\napplication/xml;q=0.6", "text/html;q=1.0000, text/plain",
		`text/html;x="a, b", text/plain;q=0.1`, `text/html;charset="utf-8", text/*;q=0`, "application/json;q=0, */*",
		"TEXT/HTML ; Q=0.001 , , application/problem+xml;q=0", "text/html;charset=utf-8;q=0.1, text/html, text/plain;q=0.5",
		`text/html;charset=utf-8"`, `text/html;charset="utf-8`, "*/html, html, text/html/x;q=1", "text/html;q=1.;;",
	} {
		f.Add(seed)
	}
	g := newGuard(f, guard.Config{})
	f.Fuzz(func(t *testing.T, header string) {
		lines := strings.Split(header, "\n")
		want, defined := oracleFormat(lines)
		got := formatFor(t, g, lines...)
		require.Contains(t, []string{asJSON, asXML, asText, asHTML}, got)
		if defined {
			require.Equal(t, want, got)
		}
	})
}

const (
	reToken     = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	reQuoted    = `"(?:[\t \x21\x23-\x5b\x5d-\x7e]|[^\x00-\x7f]|\\[\t \x21-\x7e]|\\[^\x00-\x7f])*"`
	reParameter = reToken + "=(?:" + reToken + "|" + reQuoted + ")"
	reRange     = "(" + reToken + ")/(" + reToken + ")"
)

var (
	// A quotation mark, wherever it stands, opens a string in which a comma
	// does not separate; one that is left open ends with the line.
	oracleElement = regexp.MustCompile(`^(?s:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?$))*`)
	oracleSyntax  = regexp.MustCompile(`^[ \t]*` + reRange + `((?:[ \t]*;[ \t]*(?:` + reParameter + `)?)*)[ \t]*$`)
	oracleParam   = regexp.MustCompile(`;[ \t]*(` + reToken + `)=(` + reToken + `|` + reQuoted + `)`)
	oracleWeight  = regexp.MustCompile(`^(0(\.[0-9]{0,3})?|1(\.0{0,3})?)$`)
	oracleEscape  = regexp.MustCompile(`\\(.)`)
)

// oracleFormat says what format the lines ask for, unless the RFC does not: for
// a parameter that is given twice, or a charset that says so little as quoted
// characters which need none.
func oracleFormat(lines []string) (want string, defined bool) {
	type opinion struct {
		precedence int // of the range, higher is more specific
		weight     float64
	}
	opinions := map[string]opinion{}
	for _, line := range lines {
		for {
			element := oracleElement.FindString(line)
			if m := oracleSyntax.FindStringSubmatch(element); m != nil {
				weight, parameters, offered := 1.0, 0, true
				seen := map[string]bool{}
				for _, p := range oracleParam.FindAllStringSubmatch(m[3], -1) {
					name, value := strings.ToLower(p[1]), p[2]
					if seen[name] || name == "charset" && oracleEscape.MatchString(value) {
						return "", false
					}
					seen[name] = true
					switch {
					case name == "q" && oracleWeight.MatchString(value):
						weight, _ = strconv.ParseFloat(value, 64)
					case name == "charset" && slices.Contains([]string{`utf-8`, `"utf-8"`}, strings.ToLower(value)):
						parameters++
					default:
						offered = false
					}
				}
				named := strings.ToLower(m[1] + "/" + m[2])
				for format, precedence := range map[string]map[string]int{
					asJSON: {"*/*": 1, "application/*": 2, "application/json": 3, "application/problem+json": 4},
					asXML:  {"*/*": 1, "application/*": 2, "application/xml": 3, "text/xml": 3, "application/problem+xml": 4},
					asText: {"*/*": 1, "text/*": 2, "text/plain": 4},
					asHTML: {"*/*": 1, "text/*": 2, "text/html": 4},
				} {
					p, matches := precedence[named]
					now := opinion{2*p + parameters, weight}
					// Of two ranges that are as specific, the kinder one counts.
					if was := opinions[format]; offered && matches && (now.precedence > was.precedence || now.precedence == was.precedence && now.weight > was.weight) {
						opinions[format] = now
					}
				}
			}
			if len(element) == len(line) {
				break
			}
			line = line[len(element)+1:]
		}
	}
	want = asJSON
	for _, format := range []string{asJSON, asXML, asText, asHTML} {
		if opinions[format].weight > opinions[want].weight {
			want = format
		}
	}
	return want, true
}
