package guard_test

import (
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

var everyFormat = []string{asJSON, asXML, asText, asHTML}

// problemFor returns the response to an error, in a format. The request has the
// id "id-1".
func problemFor(tb testing.TB, g *guard.Guard, format, path string, err error) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	g.WriteError(w, problemRequest(http.MethodGet, path, format), err)
	requireHeader(tb, w, format)
	require.Equal(tb, strconv.Itoa(w.Body.Len()), w.Header().Get("Content-Length"))
	return w
}

func problemRequest(method, path, format string) *http.Request {
	return &http.Request{
		Method: method,
		URL:    &url.URL{Path: path},
		Header: http.Header{"Accept": {format}, "X-Request-Id": {"id-1"}},
	}
}

// A body says nothing else: these are whole.
func TestProblemBodies(t *testing.T) {
	g := newGuard(t, guard.Config{})
	err := &guard.Error{Status: http.StatusServiceUnavailable, Detail: "Come back later.", RetryAfter: 1500 * time.Millisecond}
	for format, want := range map[string]string{
		asJSON: `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Come back later.","instance":"/visits/7",` +
			`"code":"overloaded","retryAfter":2,"requestId":"id-1"}` + "\n",
		asXML: `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
			`<problem xmlns="urn:ietf:rfc:7807"><type>about:blank</type><title>Service Unavailable</title><status>503</status>` +
			`<detail>Come back later.</detail><instance>/visits/7</instance><code>overloaded</code><retryAfter>2</retryAfter>` +
			`<requestId>id-1</requestId></problem>` + "\n",
		asText: "503 Service Unavailable\nCome back later.\n\ncode: overloaded\ninstance: /visits/7\nretry after: 2 s\nrequest id: id-1\n",
	} {
		assert.Equal(t, want, problemFor(t, g, format, "/visits/7", err).Body.String())
	}
	page := problemFor(t, g, asHTML, "/visits/7", err).Body.String()
	assert.True(t, strings.HasPrefix(page, "<!DOCTYPE html>\n"))
	assert.Contains(t, page, "<title>503 Service Unavailable</title>")
	assert.Contains(t, page, "<h1>503 Service Unavailable</h1>\n<p>Come back later.</p>\n")
	assert.NotContains(t, page, "http:", "a page needs nothing from elsewhere")
	assert.NotContains(t, page, "https:")
}

func TestProblemLeavesEmptyMembersOut(t *testing.T) {
	g := newGuard(t, guard.Config{})
	err := &guard.Error{Status: http.StatusConflict}
	assert.JSONEq(t, `{"type":"about:blank","title":"Conflict","status":409,"instance":"/","code":"conflict","requestId":"id-1"}`,
		problemFor(t, g, asJSON, "/", err).Body.String())
	assert.JSONEq(t, `{"type":"about:blank","title":"Conflict","status":409,"code":"conflict","requestId":"id-1"}`,
		problemFor(t, g, asJSON, "", err).Body.String())
	body := problemFor(t, g, asXML, "", err).Body.String()
	assert.NotContains(t, body, "detail")
	assert.NotContains(t, body, "retryAfter")
	assert.NotContains(t, body, "instance")
	assert.NotContains(t, problemFor(t, g, asText, "", err).Body.String(), "instance")
	assert.NotContains(t, problemFor(t, g, asHTML, "", err).Body.String(), "<p>")
}

func TestProblemInstance(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for name, test := range map[string]struct {
		url  *url.URL
		want string
	}{
		"none":                  {nil, ""},
		"path":                  {&url.URL{Path: "/visits/7"}, "/visits/7"},
		"without the query":     {&url.URL{Path: "/visits", RawQuery: "token=secret"}, "/visits"},
		"without the rest":      {&url.URL{Scheme: "http", Host: "db.internal", User: url.UserPassword("a", "b"), Path: "/x", Fragment: "f"}, "/x"},
		"as it was escaped":     {&url.URL{Path: "/a/b", RawPath: "/a%2Fb"}, "/a%2Fb"},
		"not by a wrong escape": {&url.URL{Path: "/a", RawPath: "/<b>"}, "/a"},
		"asterisk":              {&url.URL{Path: "*"}, "*"},
		"as long as may be":     {&url.URL{Path: "/" + strings.Repeat("x", 1023)}, "/" + strings.Repeat("x", 1023)},
		"too long":              {&url.URL{Path: "/" + strings.Repeat("x", 1024)}, ""},
		"too long when escaped": {&url.URL{Path: "/" + strings.Repeat(" ", 342)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := problemRequest(http.MethodGet, "/", asJSON)
			r.URL = test.url
			w := httptest.NewRecorder()
			g.WriteError(w, r, guard.NotFound("none"))
			assert.Equal(t, test.want, readJSON(t, w.Body.String()).Instance)
		})
	}
}

func TestProblemCodes(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for status, want := range map[int]string{
		400: "bad-request", 401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 409: "conflict",
		413: "request-entity-too-large", 418: "im-a-teapot", 429: "too-many-requests", 499: "error",
		500: "internal", 502: "dependency-failed", 503: "overloaded", 504: "gateway-timeout", 599: "error",
	} {
		w := problemFor(t, g, asJSON, "/", &guard.Error{Status: status})
		assert.Equal(t, status, w.Code)
		assert.Equal(t, want, readJSON(t, w.Body.String()).Code)
		own := problemFor(t, g, asJSON, "/", &guard.Error{Status: status, Code: "own"})
		assert.Equal(t, "own", readJSON(t, own.Body.String()).Code)
	}
}

func TestProblemTitles(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for status := 400; status <= 599; status++ {
		want := http.StatusText(status)
		if want == "" {
			want = "Error " + strconv.Itoa(status)
		}
		m := readJSON(t, problemFor(t, g, asJSON, "/", &guard.Error{Status: status}).Body.String())
		assert.Equal(t, want, m.Title)
		assert.Equal(t, status, m.Status)
		assert.Regexp(t, "^[a-z-]+$", m.Code)
	}
}

func TestGuarantee4RetryAfter(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, test := range []struct {
		wait time.Duration
		want int64 // 0: none
	}{
		{0, 0},
		{-1, 0},
		{-time.Hour, 0},
		{math.MinInt64, 0},
		{1, 1},
		{time.Millisecond, 1},
		{time.Second - 1, 1},
		{time.Second, 1},
		{time.Second + 1, 2},
		{1500 * time.Millisecond, 2},
		{2 * time.Second, 2},
		{time.Minute + 1, 61},
		{time.Hour, 3600},
		{(math.MaxInt32 - 1) * time.Second, math.MaxInt32 - 1},
		{(math.MaxInt32-1)*time.Second + 1, math.MaxInt32},
		{math.MaxInt32 * time.Second, math.MaxInt32},
		{math.MaxInt32*time.Second + 1, math.MaxInt32},
		{math.MaxInt64, math.MaxInt32},
	} {
		t.Run(test.wait.String(), func(t *testing.T) {
			for _, format := range everyFormat {
				w := problemFor(t, g, format, "/", &guard.Error{Status: http.StatusServiceUnavailable, RetryAfter: test.wait})
				var want []string
				if test.want > 0 {
					want = []string{strconv.FormatInt(test.want, 10)}
				}
				assert.Equal(t, want, w.Header()["Retry-After"])
				if format == asJSON {
					assert.Equal(t, test.want, readJSON(t, w.Body.String()).RetryAfter)
				}
			}
		})
	}
}

func TestProblemVary(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, test := range []struct {
		name         string
		before, want []string
	}{
		{"none", nil, []string{"Accept"}},
		{"another", []string{"Origin"}, []string{"Origin", "Accept"}},
		{"others in one line", []string{"Origin, Cookie"}, []string{"Origin, Cookie", "Accept"}},
		{"others in lines", []string{"Origin", "Cookie"}, []string{"Origin", "Cookie", "Accept"}},
		{"Accept-Encoding is another", []string{"Accept-Encoding"}, []string{"Accept-Encoding", "Accept"}},
		{"X-Accept is another", []string{"X-Accept"}, []string{"X-Accept", "Accept"}},
		{"already", []string{"Accept"}, []string{"Accept"}},
		{"already, in lower case", []string{"accept"}, []string{"accept"}},
		{"already, in a list", []string{"Origin,accept ,\tCookie"}, []string{"Origin,accept ,\tCookie"}},
		{"already, in the second line", []string{"Origin", "ACCEPT"}, []string{"Origin", "ACCEPT"}},
		{"empty", []string{""}, []string{"", "Accept"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			before := append(make([]string, 0, 8), test.before...) // with room that is somebody else's
			if test.before != nil {
				w.Header()["Vary"] = before
			}
			g.WriteError(w, problemRequest(http.MethodGet, "/", asJSON), guard.NotFound("none"))
			assert.Equal(t, test.want, w.Header()["Vary"])
			assert.Empty(t, before[:cap(before)][len(before)], "the room is left alone")
		})
	}
}

func TestProblemReplacesTheHeaderOfWhatItReplaces(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, format := range everyFormat {
		w := httptest.NewRecorder()
		for name, value := range map[string]string{
			"Content-Length": "12345", "Content-Encoding": "gzip", "Content-Type": "image/png", "Content-Language": "pl",
			"Content-Location": "/x", "Content-Disposition": "attachment", "Content-Range": "bytes 0-1/2", "Accept-Ranges": "bytes",
			"ETag": `"1"`, "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT", "Expires": "0", "Set-Cookie": "session=1",
			"Cache-Control": "public, max-age=3600", "Retry-After": "17", "Trailer": "X-Sum", "Transfer-Encoding": "chunked",
			"X-Request-Id": "of something else", "X-Content-Type-Options": "sniff",
			"Access-Control-Allow-Origin": "*", "Strict-Transport-Security": "max-age=1", "Server": "s",
		} {
			w.Header().Add(name, value)
			w.Header().Add(name, value)
		}
		for _, name := range []string{"ETag", "set-cookie", "content-encoding", http.TrailerPrefix + "X-Sum"} {
			w.Header()[name] = []string{"set directly"}
		}
		g.WriteError(w, problemRequest(http.MethodGet, "/", format), guard.NotFound("none"))
		requireHeader(t, w, format)
		assert.Equal(t, []string{strconv.Itoa(w.Body.Len())}, w.Header()["Content-Length"])
		names := slices.Sorted(maps.Keys(w.Header()))
		assert.Equal(t, []string{
			"Access-Control-Allow-Origin", "Cache-Control", "Content-Length", "Content-Type", "Server",
			"Strict-Transport-Security", "Vary", "X-Content-Type-Options", "X-Request-Id",
		}, names)
	}
}

func TestProblemHeader(t *testing.T) {
	g := newGuard(t, guard.Config{})
	links := []string{"</a>", "</b>"}
	e := &guard.Error{
		Status: http.StatusMethodNotAllowed,
		Header: http.Header{
			"Allow": {"GET, HEAD"}, "link": links, "X-NEW": {"1"}, "Set-Cookie": {"session=; Max-Age=0"},
			"Content-Type": {"image/png"}, "Content-Length": {"3"}, "Cache-Control": {"public"}, "X-Request-Id": {"other"}, "Retry-After": {"5"},
		},
	}
	w := httptest.NewRecorder()
	w.Header()["Allow"] = []string{"DELETE"}
	w.Header()["X-Old"] = []string{"1"}
	w.Header()["Set-Cookie"] = []string{"session=1"}
	g.WriteError(w, problemRequest(http.MethodGet, "/", asText), e)

	requireHeader(t, w, asText)
	h := w.Header()
	assert.Equal(t, []string{strconv.Itoa(w.Body.Len())}, h["Content-Length"], "what describes the body cannot be changed")
	assert.NotContains(t, h, "Retry-After", "only what the body says too")
	assert.Equal(t, []string{"GET, HEAD"}, h["Allow"], "it replaces")
	assert.Equal(t, []string{"</a>", "</b>"}, h["Link"], "names in any case")
	assert.Equal(t, []string{"1"}, h["X-New"])
	assert.Equal(t, []string{"1"}, h["X-Old"])
	assert.Equal(t, []string{"session=; Max-Age=0"}, h["Set-Cookie"])

	h["Allow"][0] = "changed"
	h["Link"][1] = "changed"
	assert.Equal(t, []string{"GET, HEAD"}, e.Header["Allow"], "the error can be used again")
	assert.Equal(t, []string{"</a>", "</b>"}, links)
}

// A middleware may edit what the header says before it is sent.
func TestProblemHeaderValuesAreApart(t *testing.T) {
	g := newGuard(t, guard.Config{})
	err := &guard.Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Second}
	header := func() http.Header {
		h := problemFor(t, g, asJSON, "/", err).Header()
		require.Len(t, h, 7)
		return h
	}
	for name := range header() {
		changed, want := header(), header()
		changed[name] = append(changed[name], "appended")
		changed[name][0] = "changed"
		want[name] = []string{"changed", "appended"}
		assert.Equal(t, want, changed, name)

		changed, want = header(), header()
		changed[name][0] = "changed"
		changed[name] = append(changed[name], "appended")
		want[name] = []string{"changed", "appended"}
		assert.Equal(t, want, changed, name)
	}
}

func TestProblemOfHEAD(t *testing.T) {
	g := newGuard(t, guard.Config{})
	err := guard.Unauthorized("visits", "Who are you?")
	err.RetryAfter = time.Second
	for _, format := range everyFormat {
		get, head := httptest.NewRecorder(), httptest.NewRecorder()
		g.WriteError(get, problemRequest(http.MethodGet, "/", format), err)
		g.WriteError(head, problemRequest(http.MethodHead, "/", format), err)
		assert.Equal(t, get.Code, head.Code)
		assert.Equal(t, get.Header(), head.Header())
		assert.Positive(t, get.Body.Len())
		assert.Zero(t, head.Body.Len())
	}
}

// keeper is a writer that fails, and then goes on reading what it was given, as
// that of HTTP/2 does for a stream that was reset.
type keeper struct {
	*httptest.ResponseRecorder

	kept []byte
}

func (k *keeper) Write(b []byte) (int, error) {
	k.kept = b
	return 0, io.ErrClosedPipe
}

// What one client is told never gets into what another one is sent.
func TestProblemBodyIsLeftAloneAfterAFailedWrite(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for range 20 {
		k := &keeper{ResponseRecorder: httptest.NewRecorder()}
		g.WriteError(k, problemRequest(http.MethodGet, "/", asText), guard.NotFound("for the first"))
		want := string(k.kept)
		require.Contains(t, want, "for the first")
		problemFor(t, g, asText, "/", guard.NotFound("for the second"))
		require.Equal(t, want, string(k.kept))
	}
}

func TestProblemBodiesAreApart(t *testing.T) {
	g := newGuard(t, guard.Config{})
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 50 {
				detail := strings.Repeat(strconv.Itoa(i), 1+n*i*97)
				w := httptest.NewRecorder()
				g.WriteError(w, problemRequest(http.MethodGet, "/", everyFormat[n%len(everyFormat)]), guard.NotFound(detail))
				assert.Contains(t, w.Body.String(), detail)
				assert.Equal(t, w.Header().Get("Content-Length"), strconv.Itoa(w.Body.Len()))
			}
		})
	}
	wait.Wait()
}

// FuzzProblem: whatever an error says, and whatever the path is, every body is
// well-formed and says it.
func FuzzProblem(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(hostileTexts)) {
		if text := hostileTexts[name]; len(text) < 1000 {
			f.Add(text, "code", "/", int64(0), uint8(0))
			f.Add("detail", text, "/"+text, int64(time.Second)+1, uint8(103))
		}
	}
	f.Add("", "", "", int64(math.MaxInt64), uint8(199))
	g := newGuard(f, guard.Config{})
	f.Fuzz(func(t *testing.T, detail, code, path string, retry int64, status uint8) {
		if code == "" {
			code = "code"
		}
		requireProblem(t, g, path, guard.Error{
			Status: 400 + int(status)%200, Code: code, Detail: detail, RetryAfter: time.Duration(retry),
		})
	})
}
