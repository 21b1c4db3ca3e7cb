package dashboard_test

import (
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

func TestAccess(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{value} }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	from := func(a string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = a } }
	fetch := func(site, mode, dest string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Sec-Fetch-Mode", mode)
			r.Header.Set("Sec-Fetch-Dest", dest)
		}
	}
	tests := []struct {
		name   string
		with   func(*http.Request)
		status int // by default
		own    int // with Authorize, which allows all
	}{
		{"this machine", nil, 200, 200},
		{"IPv6", from("[::1]:1"), 200, 200},
		{"IPv4 in IPv6", from("[::ffff:127.0.0.1]:1"), 200, 200},
		{"another loopback address", from("127.8.9.10:1"), 200, 200},
		{"the network", from("192.0.2.1:1"), 403, 200},
		{"the private network", from("10.0.0.1:1"), 403, 200},
		{"a socket", from("@"), 403, 200},
		{"no address", from(""), 403, 200},
		{"no port", from("127.0.0.1"), 403, 200},
		{"the host by address", host("127.0.0.1:8080"), 200, 200},
		{"the host by IPv6 address", host("[::1]:8080"), 200, 200},
		{"the host by IPv6 address without a port", host("[::1]"), 200, 200},
		{"the host without a port", host("LocalHost"), 200, 200},
		{"a name that was made to point here", host("evil.example:8080"), 403, 200},
		{"a name that begins like it", host("localhost.evil.example"), 403, 200},
		{"a name that ends like it", host("evil-localhost"), 403, 200},
		{"a name of an address", host("127.0.0.1.evil.example"), 403, 200},
		{"an address of the network", host("192.0.2.1:8080"), 403, 200},
		{"any address", host("0.0.0.0:8080"), 403, 200},
		{"no host", host(""), 403, 200},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0 }, 403, 200},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, 200, 200},
		{"Forwarded", header("Forwarded", "for=127.0.0.1"), 403, 200},
		{"X-Forwarded-For", header("X-Forwarded-For", "127.0.0.1"), 403, 200},
		{"X-Forwarded-For, empty", header("X-Forwarded-For", ""), 403, 200},
		{"X-Forwarded-For, spelled oddly", header("x-forwarded_for", "127.0.0.1"), 403, 200},
		{"X-Forwarded-Anything", header("X-Forwarded-Anything", "x"), 403, 200},
		{"X-Real-Ip", header("X-Real-Ip", "127.0.0.1"), 403, 200},
		{"Via", header("Via", "1.1 proxy"), 403, 200},
		{"Cf-Connecting-Ip", header("Cf-Connecting-Ip", "127.0.0.1"), 403, 200},
		{"True-Client-Ip", header("True-Client-Ip", "127.0.0.1"), 403, 200},
		{"X-Envoy-External-Address", header("X-Envoy-External-Address", "127.0.0.1"), 403, 200},
		{"X-Original-Host", header("X-Original-Host", "localhost"), 403, 200},
		{"a header of another kind", header("X-Request-Id", "1"), 200, 200},
		{"the page's own requests", fetch("same-origin", "cors", "empty"), 200, 200},
		{"typed by the user", fetch("none", "navigate", "document"), 200, 200},
		{"a link of another site", fetch("cross-site", "navigate", "document"), 200, 200},
		{"a frame of another site", fetch("cross-site", "navigate", "iframe"), 403, 403},
		{"a script of another site", fetch("cross-site", "no-cors", "script"), 403, 403},
		{"a stream of another port", fetch("same-site", "cors", "empty"), 403, 403},
		{"its own origin", header("Origin", "http://localhost:8080"), 200, 200},
		{"another origin", header("Origin", "http://evil.example"), 403, 403},
		{"another port's origin", header("Origin", "http://localhost:3000"), 403, 403},
		{"an origin that is none", header("Origin", "null"), 403, 403},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 405, 405},
		{"OPTIONS", func(r *http.Request) { r.Method = http.MethodOptions }, 405, 405},
		{"HEAD", func(r *http.Request) { r.Method = http.MethodHead }, 200, 200},
	}
	g := newGuard(t, guard.Config{})
	byDefault := start(t, g, dashboard.Authorize(nil), nil)
	own := start(t, g, dashboard.Authorize(func(*http.Request) bool { return true }))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, query := range []string{"", "?format=json", "?format=poll", "?asset=main.js"} {
				require.Equal(t, test.status, answer(byDefault, ask(query, test.with)).Code, query)
				require.Equal(t, test.own, answer(own, ask(query, test.with)).Code, query)
			}
			if test.status != http.StatusOK {
				require.Equal(t, test.status, answer(byDefault, ask("?format=stream", test.with)).Code)
			}
		})
	}
	refusing := start(t, g, dashboard.Authorize(func(r *http.Request) bool { return r.Header.Get("Authorization") == "yes" }))
	require.Equal(t, http.StatusForbidden, answer(refusing, ask("", nil)).Code)
	require.Equal(t, http.StatusOK, answer(refusing, ask("", header("Authorization", "yes"))).Code)
}

func TestHeaders(t *testing.T) {
	d := start(t, newGuard(t, guard.Config{}))
	for _, query := range []string{"", "?format=json", "?format=poll", "?asset=main.js", "?asset=none.js", "?format=none"} {
		h := answer(d, ask(query, nil)).Header()
		policy := h.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'")
		require.Contains(t, policy, "frame-ancestors 'none'")
		require.NotContains(t, policy, "unsafe")
		require.NotContains(t, policy, "nonce")
		require.NotContains(t, policy, "http")
		require.NotContains(t, policy, "*")
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		require.Empty(t, h.Get("Access-Control-Allow-Origin"))
	}
	post := answer(d, ask("", func(r *http.Request) { r.Method = http.MethodPost }))
	require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
}

func TestAssets(t *testing.T) {
	d := start(t, newGuard(t, guard.Config{}))
	page := answer(d, ask("", nil))
	require.Equal(t, "text/html; charset=utf-8", page.Header().Get("Content-Type"))
	assets := regexp.MustCompile(`(?:src|href)="(\?asset=[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	require.Len(t, assets, 3)
	for _, asset := range assets {
		w := answer(d, ask(asset[1], nil))
		require.Equal(t, http.StatusOK, w.Code, asset[1])
		require.NotContains(t, w.Header().Get("Content-Type"), "text/plain")
		again := answer(d, ask(asset[1], func(r *http.Request) { r.Header.Set("If-None-Match", w.Header().Get("ETag")) }))
		require.Equal(t, http.StatusNotModified, again.Code, asset[1])
	}
	for _, name := range []string{"none.js", "../dashboard.go", "..%2Fdashboard.go", "page", ".", "/etc/passwd", "style.css/"} {
		require.Equal(t, http.StatusNotFound, answer(d, ask("?asset="+name, nil)).Code, name)
	}
	require.Equal(t, http.StatusBadRequest, answer(d, ask("?format=xml", nil)).Code)
}

// The policy forbids what is inline, and names come from outside: nothing in the
// page may need the one or make markup of the other.
func TestPageIsStrict(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\('style|https?://| style="| on[a-z]+="|<script>|@import`)
	files, err := fs.Glob(os.DirFS("page"), "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		b, err := os.ReadFile("page/" + name)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "") // a name, not an address
		require.Empty(t, forbidden.FindString(text), name)
	}
}
