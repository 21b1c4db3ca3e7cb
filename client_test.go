package guard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// behind returns a guard that trusts 10.0.0.0/8 and fd00::/8 to tell addresses
// in a header ("": the default one).
func behind(tb testing.TB, header string) *guard.Guard {
	tb.Helper()
	return newGuard(tb, guard.Config{
		TrustedProxies:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		ForwardedHeader: header,
	})
}

// from returns a request from a peer, with the lines of a header.
func from(peer, header string, lines ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = peer
	if len(lines) > 0 {
		r.Header[header] = lines
	}
	return r
}

// requireIP requires the address, "" for none.
func requireIP(tb testing.TB, g *guard.Guard, r *http.Request, want string) {
	tb.Helper()
	addr := netip.Addr{}
	if want != "" {
		addr = netip.MustParseAddr(want)
	}
	require.Equal(tb, addr.String(), g.ClientIP(r).String(), "peer %q, header %q", r.RemoteAddr, r.Header)
}

func TestClientIPOfPeer(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, test := range []struct{ name, peer, want string }{
		{"IPv4", "192.0.2.1:4711", "192.0.2.1"},
		{"IPv4 without port", "192.0.2.1", "192.0.2.1"},
		{"IPv6", "[2001:db8::1]:4711", "2001:db8::1"},
		{"IPv6 without port", "2001:db8::1", "2001:db8::1"},
		{"IPv6 in brackets", "[2001:db8::1]", "2001:db8::1"},
		{"IPv4-mapped", "[::ffff:192.0.2.1]:4711", "192.0.2.1"},
		{"IPv4-mapped without port", "::ffff:192.0.2.1", "192.0.2.1"},
		{"IPv4-mapped in hexadecimal", "[::ffff:c000:201]:4711", "192.0.2.1"},
		{"zone", "[fe80::1%eth0]:4711", "fe80::1"},
		{"zone without port", "fe80::1%eth0", "fe80::1"},
		{"zone in brackets", "[fe80::1%eth0]", "fe80::1"},
		{"loopback", "[::1]:1", "::1"},
		{"unspecified", "[::]:1", "::"},
		{"none", "", ""},
		{"Unix socket", "@", ""},
		{"Unix socket with a path", "/run/app.sock", ""},
		{"pipe", "pipe", ""},
		{"name", "localhost:80", ""},
		{"only a port", ":80", ""},
		{"IPv4 in brackets", "[192.0.2.1]", ""},
		{"IPv4 in brackets with a port", "[192.0.2.1]:80", ""},
		{"no colon before the port", "[2001:db8::1]x80", ""},
		{"colon and bracket", ":192.0.2.1]", ""},
		{"bracket at the end", "192.0.2.1]", ""},
		{"bracket at the end of IPv6", "2001:db8::1]", ""},
		{"bracket left open", "[2001:db8::1:4711", ""},
		{"two pairs of brackets", "[[2001:db8::1]]", ""},
		{"empty brackets", "[]:80", ""},
		{"open bracket", "[", ""},
		{"brackets", "[]", ""},
		{"port out of range", "192.0.2.1:65536", ""},
		{"octal", "192.0.2.01:80", ""},
		{"network", "192.0.2.0/24", ""},
		{"NUL", "192.0.2.1\x00:80", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			requireIP(t, g, from(test.peer, ""), test.want)
		})
	}
}

func TestClientIPBelievesNobodyByDefault(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
		requireIP(t, g, from("10.0.0.1:1", header, "203.0.113.9"), "10.0.0.1")
		requireIP(t, g, from("", header, "203.0.113.9"), "")
	}
}

func TestClientIPXForwardedFor(t *testing.T) {
	g := behind(t, "")
	for _, test := range []struct {
		name  string
		peer  string
		lines []string
		want  string
	}{
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"empty header", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"one address", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"peer not trusted", "192.0.2.1:1", []string{"203.0.113.9"}, "192.0.2.1"},
		{"peer without an address", "@", []string{"203.0.113.9"}, ""},
		{"peer trusted as IPv4-mapped", "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"peer trusted as IPv6", "[fd00::1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"peer trusted with a zone", "[fd00::1%eth0]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"just outside of the prefix", "11.0.0.0:1", []string{"203.0.113.9"}, "11.0.0.0"},

		{"from the right", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9"}, "203.0.113.9"},
		{"through trusted hops", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9, 10.0.0.3, fd00::2"}, "203.0.113.9"},
		{"trusted hop as IPv4-mapped", "10.0.0.1:1", []string{"203.0.113.9, ::ffff:10.0.0.3"}, "203.0.113.9"},
		{"an untrusted hop in between", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9, 10.0.0.3, 192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"all hops trusted", "10.0.0.1:1", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4"},
		{"lines from the last", "10.0.0.1:1", []string{"9.9.9.9", "203.0.113.9", "10.0.0.2"}, "203.0.113.9"},
		{"lines with several hops", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9", "10.0.0.3, 10.0.0.2"}, "203.0.113.9"},
		{"an untrusted hop in the last line", "10.0.0.1:1", []string{"9.9.9.9", "10.0.0.3, 203.0.113.9"}, "203.0.113.9"},

		{"stops at a word", "10.0.0.1:1", []string{"9.9.9.9, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"stops at a word at once", "10.0.0.1:1", []string{"9.9.9.9, unknown"}, "10.0.0.1"},
		{"stops at nothing", "10.0.0.1:1", []string{"9.9.9.9, , 10.0.0.2"}, "10.0.0.2"},
		{"stops at an empty line", "10.0.0.1:1", []string{"9.9.9.9", "", "10.0.0.2"}, "10.0.0.2"},
		{"stops at a comma at the end", "10.0.0.1:1", []string{"9.9.9.9,"}, "10.0.0.1"},
		{"stops at a port that is none", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9:x"}, "10.0.0.1"},
		{"stops at two addresses without a comma", "10.0.0.1:1", []string{"9.9.9.9 203.0.113.9"}, "10.0.0.1"},
		{"stops at IPv4 with a zone", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9%eth0"}, "10.0.0.1"},
		{"stops at a zone behind a port", "10.0.0.1:1", []string{"9.9.9.9, 203.0.113.9:80%eth0"}, "10.0.0.1"},
		{"stops at a zone behind brackets", "10.0.0.1:1", []string{"9.9.9.9, [2001:db8::9]:80%eth0"}, "10.0.0.1"},
		{"stops at an empty zone", "10.0.0.1:1", []string{"9.9.9.9, fe80::9%"}, "10.0.0.1"},
		{"stops at a quoted address", "10.0.0.1:1", []string{`9.9.9.9, "203.0.113.9"`}, "10.0.0.1"},
		{"stops at another kind of blank", "10.0.0.1:1", []string{"9.9.9.9,\u00a0203.0.113.9"}, "10.0.0.1"},
		{"stops at an address of Forwarded", "10.0.0.1:1", []string{"for=9.9.9.9"}, "10.0.0.1"},
		{"an open quotation mark on the left", "10.0.0.1:1", []string{`"9.9.9.9, 203.0.113.9, 10.0.0.2`}, "203.0.113.9"},
		{"a quotation mark in each line", "10.0.0.1:1", []string{`"9.9.9.9`, `203.0.113.9, 10.0.0.2`}, "203.0.113.9"},

		{"with a port", "10.0.0.1:1", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"trusted with a port", "10.0.0.1:1", []string{"203.0.113.9, 10.0.0.2:4711"}, "203.0.113.9"},
		{"IPv6", "10.0.0.1:1", []string{"2001:db8::9"}, "2001:db8::9"},
		{"IPv6 that could be one with a port", "10.0.0.1:1", []string{"2001:db8::9:80"}, "2001:db8::9:80"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::9]"}, "2001:db8::9"},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db8::9]:4711"}, "2001:db8::9"},
		{"IPv4-mapped", "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"zone", "10.0.0.1:1", []string{"fe80::9%eth0"}, "fe80::9"},
		{"no blanks", "10.0.0.1:1", []string{"9.9.9.9,203.0.113.9,10.0.0.2"}, "203.0.113.9"},
		{"tabs and blanks", "10.0.0.1:1", []string{"9.9.9.9 ,\t 203.0.113.9\t,  10.0.0.2 "}, "203.0.113.9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			requireIP(t, g, from(test.peer, "X-Forwarded-For", test.lines...), test.want)
		})
	}
}

func TestClientIPForwarded(t *testing.T) {
	g := behind(t, "Forwarded")
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"one hop", []string{"for=203.0.113.9"}, "203.0.113.9"},
		{"case of for", []string{"For=9.9.9.9, FOR=203.0.113.9"}, "203.0.113.9"},
		{"from the right", []string{"for=9.9.9.9, for=203.0.113.9, for=10.0.0.2"}, "203.0.113.9"},
		{"lines from the last", []string{"for=9.9.9.9", "for=203.0.113.9", "for=10.0.0.3, for=10.0.0.2"}, "203.0.113.9"},
		{"other parameters", []string{"by=10.0.0.9;for=203.0.113.9;host=example.com;proto=https"}, "203.0.113.9"},
		{"blanks around elements", []string{"for=9.9.9.9 ,\tfor=203.0.113.9\t, for=10.0.0.2 "}, "203.0.113.9"},
		{"blanks around parameters", []string{"proto=http ; for=203.0.113.9\t;\tby=_x"}, "203.0.113.9"},
		{"the example of RFC 7239", []string{`for=192.0.2.43, for="[2001:db8:cafe::17]"`}, "2001:db8:cafe::17"},

		{"quoted", []string{`for="203.0.113.9"`}, "203.0.113.9"},
		{"quoted with a port", []string{`for="203.0.113.9:4711"`}, "203.0.113.9"},
		{"quoted IPv6", []string{`For="[2001:db8::9]"`}, "2001:db8::9"},
		{"quoted IPv6 with a port", []string{`for="[2001:db8::9]:4711"`}, "2001:db8::9"},
		{"quoted IPv6, trusted", []string{`for=203.0.113.9, for="[fd00::2]:4711"`}, "203.0.113.9"},
		{"quoted IPv4-mapped", []string{`for="[::ffff:203.0.113.9]"`}, "203.0.113.9"},

		{"obfuscated", []string{"for=9.9.9.9, for=_hidden, for=10.0.0.2"}, "10.0.0.2"},
		{"unknown", []string{"for=9.9.9.9, for=unknown"}, "10.0.0.1"},
		{"no for", []string{"for=9.9.9.9, proto=https;by=203.0.113.9"}, "10.0.0.1"},
		{"another name that ends in for", []string{"for=9.9.9.9, xfor=203.0.113.9"}, "10.0.0.1"},
		{"empty", []string{"for=9.9.9.9, for="}, "10.0.0.1"},
		{"empty, quoted", []string{`for=9.9.9.9, for=""`}, "10.0.0.1"},
		{"no value", []string{"for=9.9.9.9, for"}, "10.0.0.1"},
		{"blank before =", []string{"for=9.9.9.9, for =203.0.113.9"}, "10.0.0.1"},
		{"blank after =", []string{"for=9.9.9.9, for= 203.0.113.9"}, "10.0.0.1"},
		{"an address of X-Forwarded-For", []string{"9.9.9.9"}, "10.0.0.1"},
		{"an empty element", []string{"for=9.9.9.9, , for=10.0.0.2"}, "10.0.0.2"},
		{"an empty line", []string{"for=9.9.9.9", ""}, "10.0.0.1"},
		{"a quotation mark that is not closed, alone", []string{`for="203.0.113.99`}, "10.0.0.1"},
		{"a quotation mark that is not closed", []string{`for=9.9.9.9, for="203.0.113.99`}, "10.0.0.1"},
		{"half a pair of quotation marks", []string{`for=9.9.9.9, for=203.0.113.9"`}, "10.0.0.1"},
		{"a quotation mark and nothing else", []string{`for="`}, "10.0.0.1"},

		{"two addresses in one element", []string{"for=9.9.9.9;for=203.0.113.9"}, "10.0.0.1"},
		{"two addresses that are the same", []string{"for=203.0.113.9;For=203.0.113.9"}, "10.0.0.1"},
		{"two addresses, the first empty", []string{"for=;for=9.9.9.9"}, "10.0.0.1"},
		{"two addresses, the first empty and quoted", []string{`for="";for=9.9.9.9`}, "10.0.0.1"},
		{"two addresses, the second empty", []string{"for=9.9.9.9;for="}, "10.0.0.1"},
		{"two addresses, the first unknown", []string{"for=unknown;for=9.9.9.9"}, "10.0.0.1"},

		{"a comma in a quoted string", []string{`for=203.0.113.9;host="a, for=9.9.9.9"`}, "203.0.113.9"},
		{"a semicolon in a quoted string", []string{`host="a;for=9.9.9.9";for=203.0.113.9`}, "203.0.113.9"},
		{"escaped quotation marks", []string{`host="\";for=9.9.9.9;x=\"";for=203.0.113.9`}, "203.0.113.9"},
		{"escaped quotation marks around a comma", []string{`for=203.0.113.9;host="x\", for=9.9.9.9;y=\"z"`}, "203.0.113.9"},
		{"an escaped quotation mark before a comma", []string{`for=203.0.113.9;host="x\", for=9.9.9.9"`}, "203.0.113.9"},
		{"an escaped backslash at the end of a string", []string{`for=9.9.9.9, for=203.0.113.9;host="x\\", for=10.0.0.2`}, "203.0.113.9"},
		{"an open quotation mark on the left", []string{`for="9.9.9.9, for=203.0.113.9, for=10.0.0.2`}, "203.0.113.9"},
		{"an open quotation mark left of a quoted string", []string{`for="9.9.9.9, for="[2001:db8::9]"`}, "2001:db8::9"},
		{"an open quotation mark with a backslash on the left", []string{`for=9.9.9.9;x="\, for="[2001:db8::9]", for=10.0.0.2`}, "2001:db8::9"},
		{"an open quotation mark in a line before", []string{`for="9.9.9.9`, `for=203.0.113.9;host="x", for=10.0.0.2`}, "203.0.113.9"},
		{"what is left of an open quotation mark", []string{`for=9.9.9.9, for="10.0.0.4, for=10.0.0.2`}, "10.0.0.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			requireIP(t, g, from("10.0.0.1:1", "Forwarded", test.lines...), test.want)
			requireIP(t, g, from("192.0.2.1:1", "Forwarded", test.lines...), "192.0.2.1")
		})
	}
}

func TestClientIPReadsOneHeader(t *testing.T) {
	r := from("10.0.0.1:1", "X-Forwarded-For", "203.0.113.1")
	r.Header["Forwarded"] = []string{"for=203.0.113.2"}
	r.Header["X-Real-Ip"] = []string{"203.0.113.3"}
	r.Header["Cf-Connecting-Ip"] = []string{"203.0.113.4"}
	r.Header["True-Client-Ip"] = []string{"203.0.113.5"}
	for header, want := range map[string]string{
		"":                 "203.0.113.1",
		"X-Forwarded-For":  "203.0.113.1",
		"x-forwarded-for":  "203.0.113.1",
		"Forwarded":        "203.0.113.2",
		"forwarded":        "203.0.113.2",
		"FORWARDED":        "203.0.113.2",
		"X-Real-IP":        "203.0.113.3",
		"x-real-ip":        "203.0.113.3",
		"CF-Connecting-IP": "203.0.113.4",
		"X-Cluster-Client": "10.0.0.1",
	} {
		t.Run(header, func(t *testing.T) {
			requireIP(t, behind(t, header), r, want)
		})
	}
}

func TestClientIPFollowsTune(t *testing.T) {
	g := behind(t, "")
	r := from("192.0.2.1:1", "X-Forwarded-For", "203.0.113.9")
	requireIP(t, g, r, "192.0.2.1")
	require.NoError(t, g.Tune(func(c *guard.Config) { c.TrustedProxies[0] = netip.MustParsePrefix("192.0.2.0/24") }))
	requireIP(t, g, r, "203.0.113.9")
	require.Error(t, g.Tune(func(c *guard.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }))
	requireIP(t, g, r, "203.0.113.9")
}

func TestTrustedProxies(t *testing.T) {
	for _, test := range []struct {
		prefix string
		peer   string
		want   bool
	}{
		{"192.0.2.0/24", "192.0.2.255:1", true},
		{"192.0.2.77/24", "192.0.2.1:1", true}, // its other bits do not matter
		{"192.0.2.1/32", "192.0.2.1:1", true},
		{"192.0.2.1/32", "192.0.2.2:1", false},
		{"::ffff:192.0.2.0/120", "192.0.2.1:1", true},
		{"::ffff:192.0.2.0/120", "[::ffff:192.0.2.1]:1", true},
		{"::ffff:192.0.2.0/120", "192.0.3.1:1", false},
		{"2001:db8::/32", "[2001:db8:1::1]:1", true},
		{"2001:db8::/32", "[2001:db9::1]:1", false},
		{"fe80::/10", "[fe80::1%eth0]:1", true},
		{"192.0.2.0/24", "@", false},
	} {
		t.Run(test.prefix+" "+test.peer, func(t *testing.T) {
			g := newGuard(t, guard.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix(test.prefix)}})
			got := g.ClientIP(from(test.peer, "X-Forwarded-For", "203.0.113.9")) == netip.MustParseAddr("203.0.113.9")
			assert.Equal(t, test.want, got)
		})
	}
}

func TestTrustedProxiesErrorsNameFieldAndValue(t *testing.T) {
	good := netip.MustParsePrefix("10.0.0.0/8")
	for _, test := range []struct {
		name   string
		prefix netip.Prefix
		value  string
	}{
		{"all of IPv4", netip.MustParsePrefix("0.0.0.0/0"), "0.0.0.0/0"},
		{"all of IPv4, with other bits", netip.MustParsePrefix("10.1.2.3/0"), "10.1.2.3/0"},
		{"all of IPv6", netip.MustParsePrefix("::/0"), "::/0"},
		{"all of IPv4 as IPv6", netip.MustParsePrefix("::ffff:0:0/96"), "::ffff:0.0.0.0/96"},
		{"all of IPv4 as IPv6, with other bits", netip.MustParsePrefix("::ffff:10.1.2.3/96"), "::ffff:10.1.2.3/96"},
		{"zero", netip.Prefix{}, "invalid Prefix"},
		{"too many bits", netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33), "invalid Prefix"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := guard.New(guard.Config{TrustedProxies: []netip.Prefix{good, test.prefix}})
			require.ErrorContains(t, err, "TrustedProxies[1]")
			require.ErrorContains(t, err, test.value)

			g := newGuard(t, guard.Config{})
			err = g.Tune(func(c *guard.Config) { c.TrustedProxies = []netip.Prefix{test.prefix} })
			require.ErrorContains(t, err, "TrustedProxies[0]")
			require.ErrorContains(t, err, test.value)
			assert.Empty(t, g.Config().TrustedProxies)
		})
	}
}

func TestForwardedHeaderErrorsNameFieldAndValue(t *testing.T) {
	for _, header := range []string{"X Forwarded For", "X(Forwarded)For", "X-Forwarded-For:", "X-Forwarded-For\n", " ", "X-Förwarded", "a,b"} {
		_, err := guard.New(guard.Config{ForwardedHeader: header})
		require.ErrorContains(t, err, "ForwardedHeader")
		require.ErrorContains(t, err, strconv.Quote(header))
	}
}

// sameClient reports whether two requests draw from one bucket.
func sameClient(t *testing.T, c guard.Config, a, b *http.Request) bool {
	t.Helper()
	for i := range c.Clients {
		c.Clients[i].Limit = guard.Limit{Burst: 1} // for ever
	}
	h := newGuard(t, c).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var codes [2]int
	for i, r := range []*http.Request{a, b} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		codes[i] = w.Code
	}
	require.Equal(t, http.StatusOK, codes[0])
	require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, codes[1])
	return codes[1] != http.StatusOK
}

func TestClientLimitTellsClientsApartByAddress(t *testing.T) {
	for _, test := range []struct {
		name   string
		prefix int
		a, b   string
		same   bool
	}{
		{"ports", 0, "192.0.2.1:1", "192.0.2.1:2", true},
		{"no port", 0, "192.0.2.1:1", "192.0.2.1", true},
		{"IPv4", 0, "192.0.2.1:1", "192.0.2.2:1", false},
		{"IPv4 is not grouped", 1, "192.0.2.1:1", "192.0.2.2:1", false},
		{"IPv4-mapped is IPv4", 0, "192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"IPv4-mapped is not grouped", 0, "[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		{"IPv4-compatible is not IPv4", 128, "192.0.2.1:1", "[::192.0.2.1]:1", false},
		{"zones", 128, "[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},

		{"in one /64", 0, "[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:1", true},
		{"in two /64", 0, "[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false},
		{"/64 by name", 64, "[2001:db8:1:2::1]:1", "[2001:db8:1:2:8000::1]:1", true},
		{"in one /48", 48, "[2001:db8:1:2::1]:1", "[2001:db8:1:ffff::1]:1", true},
		{"in two /48", 48, "[2001:db8:1::1]:1", "[2001:db8:2::1]:1", false},
		{"in one /57", 57, "[2001:db8:1:80::1]:1", "[2001:db8:1:ff::1]:1", true},
		{"in two /57", 57, "[2001:db8:1:80::1]:1", "[2001:db8:1:7f::1]:1", false},
		{"in two /65", 65, "[2001:db8:1:2::1]:1", "[2001:db8:1:2:8000::1]:1", false},
		{"/128", 128, "[2001:db8::1]:1", "[2001:db8::2]:1", false},
		{"/1", 1, "[2001:db8::1]:1", "[7fff::1]:1", true},
		{"two /1", 1, "[2001:db8::1]:1", "[8000::1]:1", false},

		{"no address: none and Unix socket", 0, "", "@", true},
		{"no address: words", 0, "pipe", "not an address", true},
		{"no address: bad ports", 0, "192.0.2.1:x", "[::1]:99999", true},
		{"no address is not loopback", 128, "", "[::1]:1", false},
		{"no address is not loopback, grouped", 0, "@", "[::1]:1", false},
		{"no address is not the unspecified", 128, "@", "[::]:1", false},
		{"no address is not the unspecified, grouped", 0, "", "[::]:1", false},
		{"no address is not 0.0.0.0", 0, "", "0.0.0.0:1", false},
		{"no address is not 255.255.255.255", 0, "", "255.255.255.255:1", false},
		{"no address is not the last /64", 0, "", "[ffff:ffff:ffff:ffff::1]:1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := guard.Config{Clients: []guard.ClientLimit{{IPv6Prefix: test.prefix}}}
			assert.Equal(t, test.same, sameClient(t, c, from(test.a, ""), from(test.b, "")))
			assert.Equal(t, test.same, sameClient(t, c, from(test.b, ""), from(test.a, "")))
		})
	}
}

func TestClientLimitTellsClientsApartByHeader(t *testing.T) {
	c := guard.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Clients:        []guard.ClientLimit{{}},
	}
	header := "X-Forwarded-For"
	assert.False(t, sameClient(t, c, from("10.0.0.1:1", header, "192.0.2.1"), from("10.0.0.1:1", header, "192.0.2.2")))
	assert.True(t, sameClient(t, c, from("10.0.0.1:1", header, "192.0.2.1"), from("10.0.0.2:1", header, "192.0.2.1")))
	assert.True(t, sameClient(t, c, from("10.0.0.1:1", header, "2001:db8::1"), from("10.0.0.1:1", header, "2001:db8::2")))
	assert.True(t, sameClient(t, c, from("192.0.2.9:1", header, "192.0.2.1"), from("192.0.2.9:1", header, "192.0.2.2")),
		"who is not trusted cannot rotate his address")
	assert.True(t, sameClient(t, c, from("10.0.0.1:1", header, "1.1.1.1, 192.0.2.1"), from("10.0.0.1:1", header, "2.2.2.2, 192.0.2.1")),
		"nor who comes through a proxy")
}

func TestClientLimitKey(t *testing.T) {
	c := guard.Config{Clients: []guard.ClientLimit{{Key: func(r *http.Request) string { return r.Header.Get("Key") }}}}
	keyed := func(peer, key string) *http.Request { return from(peer, "Key", key) }
	assert.True(t, sameClient(t, c, keyed("192.0.2.1:1", "a"), keyed("192.0.2.2:1", "a")), "the key counts, not the address")
	assert.False(t, sameClient(t, c, keyed("192.0.2.1:1", "a"), keyed("192.0.2.1:1", "b")))
	assert.True(t, sameClient(t, c, keyed("192.0.2.1:1", ""), keyed("192.0.2.1:2", "")), "without a key the address counts")
	assert.False(t, sameClient(t, c, keyed("192.0.2.1:1", ""), keyed("192.0.2.2:1", "")))
	assert.False(t, sameClient(t, c, keyed("192.0.2.1:1", ""), keyed("192.0.2.2:1", "192.0.2.1")), "a key that looks like an address is none")
	assert.False(t, sameClient(t, c, keyed("", ""), keyed("", "@")))
	long := strings.Repeat("k", 1<<16)
	assert.True(t, sameClient(t, c, keyed("", long), keyed("", long)))
	assert.False(t, sameClient(t, c, keyed("", long+"1"), keyed("", long+"2")))
}

// Every limit has its own buckets, and a request must pass all of them.
func TestClientLimitsEachCount(t *testing.T) {
	c := guard.Config{Clients: []guard.ClientLimit{
		{Key: func(r *http.Request) string { return r.Header.Get("Key") }},
		{IPv6Prefix: 48},
	}}
	assert.True(t, sameClient(t, c, from("192.0.2.1:1", "Key", "a"), from("192.0.2.1:1", "Key", "b")))
	assert.True(t, sameClient(t, c, from("192.0.2.1:1", "Key", "a"), from("192.0.2.2:1", "Key", "a")))
	assert.False(t, sameClient(t, c, from("192.0.2.1:1", "Key", "a"), from("192.0.2.2:1", "Key", "b")))
}

func ExampleGuard_ClientIP() {
	g, err := guard.New(guard.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = "10.0.0.1:4711"                                      // the proxy
	r.Header.Set("X-Forwarded-For", "127.0.0.1, 203.0.113.9, 10.0.7.7") // the first was invented by the client
	fmt.Println(g.ClientIP(r))
	// Output: 203.0.113.9
}
