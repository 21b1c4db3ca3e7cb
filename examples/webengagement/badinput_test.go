package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBadInput sends what no client should: the answer is the right 4xx, whose
// detail names the parameter, nothing is stored, Genesys is not asked, and
// nothing comes back that a browser would run.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, v := r.visited()
	stored, asked := r.standIns.memory.stored(), r.standIns.genesys.GWS.Requests("")
	identity := func(body string) request {
		return request{method: http.MethodPost, path: "/identities", body: body}
	}
	event := func(body string) request {
		return request{method: http.MethodPost, path: "/visits/" + v + "/events", body: body}
	}
	typed := func(contentType string) request {
		q := identity(`{"email": "a@b.example"}`)
		q.header = http.Header{"Content-Type": {contentType}}
		return q
	}
	get := func(path string) request { return request{path: path} }
	encoded := identity(`{"email": "a@b.example"}`)
	encoded.header = http.Header{"Content-Encoding": {"gzip"}}
	const evil = `<script>alert(1)</script>`
	for _, test := range []struct {
		name    string
		request request
		status  int
		names   string // what the detail has to name
	}{
		{"no JSON", identity(`email`), 400, "body"},
		{"no end", identity(`{"email": "a@b.example"`), 400, "body"},
		{"two objects", identity(`{"email": "a@b.example"} {}`), 400, "body"},
		{"rubbish behind", identity(`{"email": "a@b.example"}x`), 400, "body"},
		{"array", identity(`[{"email": "a@b.example"}]`), 400, "body"},
		{"null", identity(`null`), 400, "body"},
		{"nothing", identity(` `), 400, "body"},
		{"deep", identity(strings.Repeat("[", 20_000)), 400, "body"},
		{"not UTF-8", identity("{\"email\": \"a\xff@b.example\"}"), 400, "body"},
		{"not UTF-8, in a name", identity("{\"email\": \"a@b.example\", \"\xff\": 1}"), 400, "body"},
		{"too large", identity(`{"email": "` + strings.Repeat("a", maxBody) + `"}`), 413, "body"},
		{"too large, and no JSON", identity(strings.Repeat("x", 10*maxBody)), 413, "body"},
		{"unknown field", identity(`{"email": "a@b.example", "admin": true}`), 400, `"admin"`},
		{"unknown field with markup", identity(`{"email": "a@b.example", "` + evil + `": true}`), 400, "script"},
		{"field of another case", identity(`{"Email": "a@b.example"}`), 400, "email"},
		{"field twice", identity(`{"email": "a@b.example", "email": "c@b.example"}`), 400, "email"},
		{"field twice, by an escape", identity(`{"email": "a@b.example", "\u0065mail": "c@b.example"}`), 400, "email"},
		{"field in the query, too", request{method: http.MethodPost, path: "/identities?email=a@b.example", body: `{"email": "a@b.example"}`}, 400, "email"},
		{"half a surrogate pair", identity(`{"email": "a@b.example", "name": "\ud800"}`), 400, "name"},
		{"not UTF-8, overlong", identity("{\"email\": \"a@b.example\", \"name\": \"\xc0\xaf\"}"), 400, "body"},
		{"byte order mark", identity("\ufeff{\"email\": \"a@b.example\"}"), 400, "body"},
		{"missing", identity(`{}`), 400, "email"},
		{"null field", identity(`{"email": null}`), 400, "email"},
		{"number for text", identity(`{"email": 7}`), 400, "email"},
		{"object for text", identity(`{"email": {"a": 1}}`), 400, "email"},
		{"no address", identity(`{"email": "` + evil + `"}`), 400, "email"},
		{"address with name", identity(`{"email": "Ann <a@b.example>"}`), 400, "email"},
		{"long address", identity(`{"email": "` + strings.Repeat("a", 300) + `@b.example"}`), 400, "email"},
		{"control characters", identity(`{"email": "a@b.example", "name": "a\u0000b"}`), 400, "name"},
		{"line break", identity(`{"email": "a@b.example", "name": "a\r\nSet-Cookie: x"}`), 400, "name"},
		{"long name", identity(`{"email": "a@b.example", "name": "` + strings.Repeat("n", 201) + `"}`), 400, "name"},

		{"text", typed("text/plain"), 415, "Content-Type"},
		{"form", typed("application/x-www-form-urlencoded"), 415, "Content-Type"},
		{"no type", typed(""), 415, "Content-Type"},
		{"broken type", typed("application/json; charset"), 415, "Content-Type"},
		{"Latin 1", typed("application/json; charset=iso-8859-1"), 415, "Content-Type"},
		{"compressed", encoded, 415, "Content-Encoding"},

		{"event of no type", event(`{"type": "exploded"}`), 400, "type"},
		{"data is a text", event(`{"type": "clicked", "data": "x"}`), 400, "data"},
		{"data of numbers", event(`{"type": "clicked", "data": {"x": 1}}`), 400, "data"},
		{"data with an empty name", event(`{"type": "clicked", "data": {"": "x"}}`), 400, "data"},
		{"data twice", event(`{"type": "clicked", "data": {"a": "x", "b": "", "a": "y"}}`), 400, `"a"`},
		{"deep data", event(`{"type": "clicked", "data": {"a": ` + strings.Repeat("[", 15_000) + strings.Repeat("]", 15_000) + `}}`), 400, "body"},
		{"rather deep data", event(`{"type": "clicked", "data": {"a": ` + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + `}}`), 400, "data"},
		{"too much data", event(`{"type": "clicked", "data": {` + members(33) + `}}`), 400, "data"},
		{"visit is no UUID", request{method: http.MethodPost, path: "/visits", body: `{"identity": "7", "page": "/"}`}, 400, "identity"},
		{"queue is a path", request{method: http.MethodPost, path: "/engagements", body: `{"visit": "` + v + `", "queue": "../users"}`}, 400, "queue"},

		{"UUID too short", get("/visits/123"), 400, "id"},
		{"UUID without dashes", get("/visits/" + strings.ReplaceAll(v, "-", "")), 400, "id"},
		{"UUID in braces", get("/visits/%7B" + v + "%7D"), 400, "id"},
		{"UUID with markup", get("/visits/%3Cscript%3Ealert(1)%3C%2Fscript%3E"), 400, "id"},
		{"CQL", get("/visits/" + v + "'%20OR%201=1"), 400, "id"},
		{"UUID in the query", get("/visits?identity=%00"), 400, "identity"},
		{"time", get("/visits?identity=" + v + "&from=yesterday"), 400, "from"},
		{"time without zone", get("/visits?identity=" + v + "&to=2020-01-01T00:00:00"), 400, "to"},
		{"no such day", get("/visits?identity=" + v + "&to=2021-02-30T00:00:00Z"), 400, "to"},
		{"before the first year", get("/visits/" + v + "/events?since=1970-01-01T00:00:00%2B01:00"), 400, "since"},
		{"beyond what a UUID can tell", get("/visits/" + v + "/events?since=5236-01-01T00:00:00Z"), 400, "since"},
		{"long ago", get("/visits/" + v + "/events?since=0001-01-01T00:00:00Z"), 400, "since"},
		{"negative page", get("/visits?identity=" + v + "&limit=-1"), 400, "limit"},
		{"empty page", get("/visits?identity=" + v + "&limit=0"), 400, "limit"},
		{"huge page", get("/visits?identity=" + v + "&limit=501"), 400, "limit"},
		{"page beyond numbers", get("/visits?identity=" + v + "&limit=99999999999999999999"), 400, "limit"},
		{"page beyond 64 bits", get("/visits?identity=" + v + "&limit=9223372036854775808"), 400, "limit"},
		{"page of nothing", get("/visits?identity=" + v + "&limit=-0"), 400, "limit"},
		{"page of infinity", get("/visits?identity=" + v + "&limit=1e999"), 400, "limit"},
		{"parameter beside an id", get("/visits/" + v + "?admin=1"), 400, "admin"},
		{"parameter beside an id of Genesys", get("/agents/a1?admin=1"), 400, "admin"},
		{"page in words", get("/visits?identity=" + v + "&limit=ten"), 400, "limit"},
		{"page of a half", get("/visits?identity=" + v + "&limit=1.5"), 400, "limit"},
		{"negative number", get("/queues?waiting=-1"), 400, "waiting"},
		{"unknown parameter", get("/agents?state=Ready&sort=name"), 400, `"sort"`},
		{"unknown parameter with markup", get("/agents?state=Ready&%3Cscript%3Ealert(1)%3C/script%3E=1"), 400, "script"},
		{"parameter twice", get("/agents?state=Ready&state=Busy"), 400, "state"},
		{"parameter not UTF-8", get("/identities?email=%ff"), 400, "email"},
		{"parameter of overlong UTF-8", get("/identities?email=%c0%af"), 400, "email"},
		{"path of overlong UTF-8", get("/agents/%c0%ae%c0%ae"), 400, "id"},
		{"NUL in a path", get("/agents/a%00b"), 400, "id"},
		{"broken escape", get("/identities?email=%zz"), 400, "query"},
		{"semicolon", get("/identities?email=a@b.example;x=1"), 400, "query"},
		{"none of the words", get("/agents?state=%3Cscript%3Ealert(1)%3C/script%3E"), 400, "state"},

		{"traversal in a path of Genesys", get("/agents/..%2f..%2fadmin"), 404, "path"},
		{"dots", get("/agents/../admin/limits"), 404, "path"},
		{"dots, escaped", get("/agents/%2e%2e/admin/limits"), 404, "path"},
		{"dots to the root", get("/../../etc/passwd"), 404, "path"},
		{"empty element", get("//visits/" + v), 404, "path"},
		{"backslashes", get(`/agents/..%5c..%5cadmin`), 400, "id"},
		{"query in a path", get("/agents/a%3fx=1"), 400, "id"},
		{"long id", get("/agents/" + strings.Repeat("a", 65)), 400, "id"},

		{"fault of no kind", request{method: http.MethodPut, path: r.panel + "/faults/cassandra?kind=fire"}, 400, "kind"},
		{"fault, no kind", request{method: http.MethodPut, path: r.panel + "/faults/genesys"}, 400, "kind"},
		{"snapshot with a parameter", request{path: r.panel + "/snapshot?x=1"}, 400, "x"},
		{"drain with a parameter", request{method: http.MethodPost, path: r.panel + "/drain?x=1"}, 400, "x"},
		{"fault, negative delay", request{method: http.MethodPut, path: r.panel + "/faults/genesys?kind=slow&delay=-1s"}, 400, "delay"},
		{"fault, code", request{method: http.MethodPut, path: r.panel + "/faults/genesys?kind=errors&code=200"}, 400, "code"},
		{"fault of another page", request{
			method: http.MethodPut, path: r.panel + "/faults/genesys?kind=down",
			header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		}, 403, "origin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, accept := range []string{"application/json", "application/xml", "text/plain", "text/html"} {
				q := test.request
				q.header = q.header.Clone()
				if q.header == nil {
					q.header = http.Header{}
				}
				q.header.Set("Accept", accept)
				a := r.send(q)
				require.Equal(t, test.status, a.StatusCode, a.body)
				media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
				if media != "text/html" {
					assert.Contains(t, parseProblem(t, media, a).Detail, test.names)
				}
				assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
				if media == "text/html" || media == "application/problem+xml" {
					assert.NotContains(t, a.body, "<script")
				}
				assert.Less(t, len(a.body), 4096)
				assert.Empty(t, a.Header.Get("Set-Cookie"))
			}
		})
	}
	assert.Equal(t, stored, r.standIns.memory.stored(), "nothing is stored")
	assert.Equal(t, asked, r.standIns.genesys.GWS.Requests(""), "Genesys is not asked")
}

// members returns as many members of an object.
func members(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"k%d": "v"`, i))
	}
	return strings.Join(all, ", ")
}

// What a body cannot say, since the protocol around it is broken.
func TestBadInputRaw(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.headerTime, c.bodyTime = 300*time.Millisecond, 600*time.Millisecond })
	stored := r.standIns.memory.stored()
	const post = "POST /identities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for _, test := range []struct {
		name, send string
		status     int // 0: the connection is closed without a word
	}{
		{"header flood", "GET /version HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		{"many headers", "GET /version HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: a\r\n", 8<<10) + "\r\n", 431},
		{"long path", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00", 400},
		{"no host", "GET /version HTTP/1.1\r\n\r\n", 400},
		{"two lengths", post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		{"length and chunks", post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"too large, in chunks", post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n", 17) + "0\r\n\r\n", 413},
		{"too large, not sent yet", post + "Expect: 100-continue\r\nContent-Length: 9223372036854775807\r\n\r\n", 413},
		{"length beyond 64 bits", post + "Content-Length: 9223372036854775808\r\n\r\n", 400},
		{"another expectation", post + "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417},
		{"another encoding of the transfer", post + "Transfer-Encoding: gzip\r\n\r\n", 501},
		{"HTTP/1.0", "POST /identities HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", 400},
		{"version that is none", "GET /version HTTP/3.0\r\nHost: x\r\n\r\n", 505},
		{"all of the server", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"tunnel", "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", 404},
		{"NUL in a header", "GET /version HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400},
		{"formats without end", "GET /nothing HTTP/1.1\r\nHost: x\r\nAccept: " + strings.Repeat(";q=NaN,*/*;q=1e999,,", 500) + "\r\n\r\n", 404},
		{"chunks without end", post + "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"em\r\n", 408},
		{"slow header", "GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ", 0},
		{"slow body", post + "Content-Length: 24\r\n\r\n{\"email\": ", 408},
		{"no word at all", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.apiAddr.String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, _ = io.WriteString(conn, test.send) // the server may have hung up before the end of it
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if test.status == 0 {
				if err == nil { // later versions of net/http may say why
					assert.GreaterOrEqual(t, resp.StatusCode, 400)
					return
				}
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server hangs up first")
				return
			}
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, test.status, resp.StatusCode)
		})
	}
	t.Cleanup(func() { assert.Equal(t, stored, r.standIns.memory.stored(), "nothing is stored") })
}

// Many clients that are slow keep nobody else from being served.
func TestBadInputSlowClients(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 200 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.apiAddr.String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /identities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		require.NoError(t, err)
	}
	eventually(t, func() bool { return r.server.guard.Snapshot().Requests.InFlight == 200 })
	assert.Equal(t, http.StatusOK, r.send(request{path: "/version"}).StatusCode)
	assert.Equal(t, http.StatusNoContent, r.send(request{path: "/identities?email=a@b.example"}).StatusCode)
}
