package guard

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// problem is what an error body says (RFC 9457), in any of the formats.
type problem struct {
	title      string
	status     int
	detail     string
	instance   string
	code       string
	retryAfter int64
	requestID  string
	json       []byte // what appendJSONHead renders, if it is known
}

func newProblem(e *Error) problem {
	p := problem{
		title:      http.StatusText(e.Status),
		status:     e.Status,
		detail:     e.Detail,
		code:       e.code(),
		retryAfter: e.retrySeconds(),
		json:       e.json,
	}
	if p.title == "" {
		p.title = "Error " + strconv.Itoa(e.Status)
	}
	return p
}

// requestPath returns the path that the client asked for, escaped. r.URL has
// lost what a http.StripPrefix took away; the request target has not, but is
// used only where it needs no cleaning.
func requestPath(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") && isPlainPath(path) {
		return path
	}
	if r.URL == nil {
		return ""
	}
	return r.URL.EscapedPath()
}

// isPlainPath reports whether all of s may stand in a URI (RFC 3986).
func isPlainPath(s string) bool {
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '#', '<', '>', '\\', '^', '`', '{', '|', '}':
			return false
		default:
			if c <= ' ' || c > '~' {
				return false
			}
		}
	}
	return true
}

// instanceMax is how long a path may be that is named in a body. A longer one
// is left out: nobody should be able to have the server send what he likes.
const instanceMax = 1024

var bodies = sync.Pool{New: func() any { //nolint:gochecknoglobals // shared by all, as pools are
	b := make([]byte, 0, 1024)
	return &b
}}

const bodyMax = 16 << 10 // larger ones are not kept

// writeProblem answers with e. Nothing of the response that it replaces is
// left, but for header fields that do not describe it.
func writeProblem(w http.ResponseWriter, r *http.Request, e *Error, requestID string) {
	p := newProblem(e)
	p.requestID = requestID
	if path := requestPath(r); len(path) <= instanceMax {
		p.instance = path
	}
	f := negotiate(r.Header)
	buffer := bodies.Get().(*[]byte)
	body := p.append((*buffer)[:0], f)

	h := w.Header()
	for name := range h { // as it is spelled: a handler may have set it directly
		if slices.Contains(replaced, http.CanonicalHeaderKey(name)) || strings.HasPrefix(name, http.TrailerPrefix) {
			delete(h, name)
		}
	}
	for name, values := range e.Header {
		if name = http.CanonicalHeaderKey(name); name == "Set-Cookie" || !slices.Contains(replaced, name) {
			h[name] = slices.Clone(values)
		}
	}
	// One allocation for all the values, of which none can grow into the next.
	values := [...]string{contentTypes[f], itoa(len(body)), "no-store", "nosniff", p.requestID, "Accept", ""}
	set := func(name string, i int) { h[name] = values[i : i+1 : i+1] }
	set("Content-Type", 0)
	set("Content-Length", 1)
	set("Cache-Control", 2)
	set("X-Content-Type-Options", 3)
	set("X-Request-Id", 4)
	if vary := h["Vary"]; len(vary) == 0 {
		set("Vary", 5)
	} else if !lists(vary, "Accept") {
		h["Vary"] = append(slices.Clip(vary), "Accept")
	}
	if p.retryAfter > 0 {
		values[6] = itoa(int(p.retryAfter))
		set("Retry-After", 6)
	}
	if e.Status == http.StatusUnauthorized && len(h["Www-Authenticate"]) == 0 {
		h.Set("Www-Authenticate", `Basic realm="restricted"`) // RFC 9110, 15.5.2: there must be one
	}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		if _, err := w.Write(body); err != nil {
			return // the client may be gone; a server of HTTP/2 may then still read the body
		}
	}
	if cap(body) <= bodyMax {
		*buffer = body
		bodies.Put(buffer)
	}
}

// itoa is strconv.Itoa, which takes an allocation for each number above 99.
func itoa(n int) string {
	if n < 100 || n > 999 {
		return strconv.Itoa(n)
	}
	i := 3 * (n - 100)
	return hundreds[i : i+3]
}

// hundreds are the numbers from 100 to 999, one after the other.
var hundreds = func() string { //nolint:gochecknoglobals // a constant
	var b []byte
	for n := 100; n <= 999; n++ {
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}()

// lists reports whether one of the lines of a header names the token.
func lists(lines []string, token string) bool {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(trimOWS(name), token) {
				return true
			}
		}
	}
	return false
}

// replaced are the header fields that describe the response that an error
// replaces.
var replaced = []string{ //nolint:gochecknoglobals // a constant
	"Age", "Digest", "Content-Digest", "Content-Md5", "Repr-Digest",
	"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Location", "Content-Disposition", "Content-Range",
	"Accept-Ranges", "Cache-Control", "Etag", "Expires", "Last-Modified", "Retry-After", "Set-Cookie", "Trailer", "Transfer-Encoding",
}

func (p *problem) append(b []byte, f format) []byte {
	switch f {
	case formatJSON:
	case formatXML:
		return p.appendXML(b)
	case formatText:
		return p.appendText(b)
	case formatHTML:
		return p.appendHTML(b)
	}
	return p.appendJSON(b)
}

func (p *problem) appendJSON(b []byte) []byte {
	if p.json != nil {
		b = append(b, p.json...)
	} else {
		b = p.appendJSONHead(b)
	}
	if p.instance != "" {
		b = appendJSONString(append(b, `,"instance":`...), p.instance)
	}
	b = appendJSONString(append(b, `,"code":`...), p.code)
	if p.retryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retryAfter":`...), p.retryAfter, 10)
	}
	return append(append(append(b, `,"requestId":"`...), p.requestID...), "\"}\n"...) // an id needs no escape
}

// appendJSONHead appends the members that are the same for all requests.
func (p *problem) appendJSONHead(b []byte) []byte {
	b = appendJSONString(append(b, `{"type":"about:blank","title":`...), p.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.status), 10)
	if p.detail != "" {
		b = appendJSONString(append(b, `,"detail":`...), p.detail)
	}
	return b
}

// appendJSONString appends s in quotes: as it is where nothing in it needs an
// escape, which is nearly always.
func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func (p *problem) appendXML(b []byte) []byte {
	out := bytes.NewBuffer(b)
	out.WriteString(xml.Header + `<problem xmlns="urn:ietf:rfc:7807"><type>about:blank</type>`)
	member := func(name, value string) {
		if value != "" {
			out.WriteString("<" + name + ">")
			_ = xml.EscapeText(out, []byte(value)) // a Buffer cannot fail
			out.WriteString("</" + name + ">")
		}
	}
	member("title", p.title)
	member("status", strconv.Itoa(p.status))
	member("detail", p.detail)
	member("instance", p.instance)
	member("code", p.code)
	if p.retryAfter > 0 {
		member("retryAfter", strconv.FormatInt(p.retryAfter, 10))
	}
	member("requestId", p.requestID)
	out.WriteString("</problem>\n")
	return out.Bytes()
}

func (p *problem) appendText(b []byte) []byte {
	b = append(strconv.AppendInt(b, int64(p.status), 10), " "+p.title+"\n"...)
	if p.detail != "" {
		b = append(b, printable(p.detail)+"\n"...)
	}
	b = append(b, "\ncode: "+printable(p.code)+"\n"...)
	if p.instance != "" {
		b = append(b, "instance: "+printable(p.instance)+"\n"...)
	}
	if p.retryAfter > 0 {
		b = append(b, "retry after: "+strconv.FormatInt(p.retryAfter, 10)+" s\n"...)
	}
	return append(b, "request id: "+p.requestID+"\n"...)
}

func (p *problem) appendHTML(b []byte) []byte {
	escape := func(s string) string { return html.EscapeString(printable(s)) }
	b = append(b, `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>`...)
	title := strconv.Itoa(p.status) + " " + escape(p.title)
	b = append(b, title+`</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 36rem; margin: 15vh auto; padding: 0 1.5rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .875rem; opacity: .75 }
dd { margin: 0 }
</style>
</head>
<body>
<h1>`+title+"</h1>\n"...)
	if p.detail != "" {
		b = append(b, "<p>"+escape(p.detail)+"</p>\n"...)
	}
	b = append(b, "<dl>\n"...)
	row := func(name, value string) { b = append(b, "<dt>"+name+"</dt><dd>"+escape(value)+"</dd>\n"...) }
	if p.retryAfter > 0 {
		row("Retry after", strconv.FormatInt(p.retryAfter, 10)+" s")
	}
	row("Code", p.code)
	row("Request", p.requestID)
	return append(b, "</dl>\n</body>\n</html>\n"...)
}

// printable replaces what has no place in a text: control characters but for
// line feeds and tabs, what could reorder a line, and invalid UTF-8.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return c
		case c < ' ', c >= 0x7f && c <= 0x9f, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069, c == 0x2028, c == 0x2029:
			return utf8.RuneError
		}
		return c
	}, s)
}
