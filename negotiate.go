package guard

import (
	"net/http"
	"strings"
)

// format is the representation of an error body. The order of the constants is
// the order of preference where a client has none.
type format int

const (
	formatJSON format = iota
	formatXML
	formatText
	formatHTML
)

const formats = 4

var contentTypes = [formats]string{ //nolint:gochecknoglobals // a constant
	formatJSON: "application/problem+json",
	formatXML:  "application/problem+xml",
	formatText: "text/plain; charset=utf-8",
	formatHTML: "text/html; charset=utf-8",
}

// negotiate chooses the format of an error body by the Accept header (RFC 9110,
// 12.5.1): all its lines count as one list, the most specific range decides for
// each format, and a malformed element is skipped. A client that accepts none
// of the formats gets the default: it is an error that it must be told of.
//
// application/json and application/xml ask for the problem types of RFC 9457
// too, less specifically than their own names.
func negotiate(h http.Header) format {
	lines := h["Accept"]
	if len(lines) == 0 {
		return formatJSON
	}
	var quality, rank [formats]int // quality in thousandths; rank: how specific the range was that set it
	for _, line := range lines {
		for line != "" {
			var element string
			element, line = cutQuoted(line, ',')
			r, q, ok := parseRange(element)
			if !ok {
				continue
			}
			for f := range format(formats) {
				s := 2 * r.rank(f)
				if s > 0 && r.params {
					s++
				}
				if s > rank[f] || s == rank[f] && s > 0 && q > quality[f] {
					rank[f], quality[f] = s, q
				}
			}
		}
	}
	best := formatJSON
	for f := range format(formats) {
		if quality[f] > quality[best] {
			best = f
		}
	}
	return best
}

// mediaRange is a range of an Accept header, as in text/*.
type mediaRange struct {
	kind, sub string
	params    bool // it has some, so it is more specific than one without
}

// rank returns how specifically the range names the format: 0 if it does not.
func (r mediaRange) rank(f format) int {
	is := strings.EqualFold
	switch {
	case r.kind == "*":
		return 1
	case r.sub == "*":
		if is(r.kind, "text") == (f == formatText || f == formatHTML) && (is(r.kind, "text") || is(r.kind, "application")) {
			return 2
		}
		return 0
	case is(r.kind, "application"):
		switch {
		case f == formatJSON && is(r.sub, "problem+json"), f == formatXML && is(r.sub, "problem+xml"):
			return 4
		case f == formatJSON && is(r.sub, "json"), f == formatXML && is(r.sub, "xml"):
			return 3
		}
	case is(r.kind, "text"):
		switch {
		case f == formatText && is(r.sub, "plain"), f == formatHTML && is(r.sub, "html"):
			return 4
		case f == formatXML && is(r.sub, "xml"):
			return 3
		}
	}
	return 0
}

// parseRange parses one element of an Accept header. A range with parameters
// other than its weight and charset=utf-8 is of a type that is not offered.
func parseRange(s string) (r mediaRange, quality int, ok bool) {
	name, params := cutQuoted(s, ';')
	var slash bool
	r.kind, r.sub, slash = strings.Cut(trimOWS(name), "/")
	if !slash || !isToken(r.kind) || !isToken(r.sub) || r.kind == "*" && r.sub != "*" {
		return r, 0, false
	}
	quality = 1000
	for params != "" {
		var param string
		param, params = cutQuoted(params, ';')
		if param = trimOWS(param); param == "" {
			continue
		}
		key, value, _ := strings.Cut(param, "=")
		switch {
		case strings.EqualFold(key, "q"):
			if quality, ok = parseQuality(value); !ok {
				return r, 0, false
			}
		case strings.EqualFold(key, "charset") && strings.EqualFold(unquote(value), "utf-8"):
			r.params = true
		default:
			return r, 0, false
		}
	}
	return r, quality, true
}

// parseQuality parses a weight (RFC 9110, 12.4.2) into thousandths.
func parseQuality(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if len(decimals) > 3 || whole != "0" && whole != "1" {
		return 0, false
	}
	q := int(whole[0]-'0') * 1000
	for i, unit := 0, 100; i < len(decimals); i, unit = i+1, unit/10 {
		if decimals[i] < '0' || decimals[i] > '9' {
			return 0, false
		}
		q += int(decimals[i]-'0') * unit
	}
	return q, q <= 1000
}

// cutQuoted cuts s at the first separator that is not inside a quoted string.
func cutQuoted(s string, separator byte) (before, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == separator:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func trimOWS(s string) string { return strings.Trim(s, " \t") }

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
