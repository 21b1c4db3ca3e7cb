package guard_test

import (
	"bytes"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientIPOfUsualRequestsAllocatesNothing(t *testing.T) {
	for _, test := range []struct {
		name, header string
		r            *http.Request
	}{
		{"peer", "", from("192.0.2.1:1", "")},
		{"peer, IPv6", "", from("[2001:db8::1]:1", "")},
		{"trusted peer, no header", "", from("10.0.0.1:1", "")},
		{"IPv4", "", from("10.0.0.1:1", "X-Forwarded-For", "9.9.9.9, 203.0.113.9, 10.0.0.2")},
		{"IPv6", "", from("10.0.0.1:1", "X-Forwarded-For", "9.9.9.9, 2001:db8::9, fd00::2")},
		{"IPv4 with port", "", from("10.0.0.1:1", "X-Forwarded-For", "9.9.9.9, 203.0.113.9:4711")},
		{"Forwarded, IPv4", "Forwarded", from("10.0.0.1:1", "Forwarded", "for=203.0.113.9;proto=https;by=_x")},
		{"Forwarded, IPv6", "Forwarded", from("10.0.0.1:1", "Forwarded", `for="[2001:db8::9]", for="[fd00::2]:4711"`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := behind(t, test.header)
			assert.Zero(t, testing.AllocsPerRun(100, func() { g.ClientIP(test.r) }))
		})
	}
}

// However many hops a header names, few of them are looked at: what comes after
// so many is not believed.
func TestClientIPOfManyHops(t *testing.T) {
	const many = 10_000
	for _, test := range []struct {
		name, header string
		lines        []string
	}{
		{"X-Forwarded-For", "X-Forwarded-For", []string{"9.9.9.9" + strings.Repeat(",10.0.0.2", many)}},
		{"X-Forwarded-For with blanks", "X-Forwarded-For", []string{"9.9.9.9" + strings.Repeat(" \t , 10.0.0.2", many)}},
		{"X-Forwarded-For in lines", "X-Forwarded-For", append([]string{"9.9.9.9"}, slices.Repeat([]string{"10.0.0.2"}, many)...)},
		{"Forwarded", "Forwarded", []string{"for=9.9.9.9" + strings.Repeat(",for=10.0.0.2", many)}},
		{"Forwarded in lines", "Forwarded", append([]string{"for=9.9.9.9"}, slices.Repeat([]string{"for=10.0.0.2"}, many)...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			requireIP(t, behind(t, test.header), from("10.0.0.1:1", test.header, test.lines...), "10.0.0.2")
		})
	}
}

// However long a header is, it takes little memory.
func TestClientIPOfHugeHeader(t *testing.T) {
	const size = 1 << 20
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for _, test := range []struct{ name, header, value string }{
		{"trusted hops", "X-Forwarded-For", "9.9.9.9," + repeat("10.0.0.2,") + "10.0.0.2"},
		{"commas", "X-Forwarded-For", "9.9.9.9" + repeat(",")},
		{"blanks", "X-Forwarded-For", "9.9.9.9," + repeat(" ")},
		{"zone of IPv4", "X-Forwarded-For", "9.9.9.9,10.0.0.2%" + repeat("z")},
		{"zone", "X-Forwarded-For", "9.9.9.9,fd00::2%" + repeat("z")},
		{"zone with a port", "X-Forwarded-For", "9.9.9.9,[fd00::2%" + repeat("z") + "]:80"},
		{"port", "X-Forwarded-For", "9.9.9.9,10.0.0.2:" + repeat("0") + "80"},
		{"not printable", "X-Forwarded-For", "9.9.9.9," + repeat("\x01")},
		{"not printable, with a port", "X-Forwarded-For", "9.9.9.9," + repeat("\x01") + ":80"},
		{"a port that is not printable", "X-Forwarded-For", "9.9.9.9,10.0.0.2:" + repeat("\x01")},
		{"colons", "X-Forwarded-For", "9.9.9.9," + repeat(":")},
		{"brackets", "X-Forwarded-For", "9.9.9.9," + repeat("[") + "fd00::2" + repeat("]")},
		{"quotation marks", "X-Forwarded-For", "9.9.9.9," + repeat(`"`)},
		{"Forwarded, trusted hops", "Forwarded", "for=9.9.9.9," + repeat("for=10.0.0.2,") + "for=10.0.0.2"},
		{"Forwarded, parameters", "Forwarded", "for=9.9.9.9," + repeat("proto=http;") + "for=10.0.0.2"},
		{"Forwarded, semicolons", "Forwarded", "for=9.9.9.9," + repeat(";") + "for=10.0.0.2"},
		{"Forwarded, backslashes", "Forwarded", `for=9.9.9.9,for=10.0.0.2;x="` + repeat(`\`) + `"`},
		{"Forwarded, quotation marks", "Forwarded", "for=9.9.9.9," + repeat(`"`)},
		{"Forwarded, node", "Forwarded", `for=9.9.9.9,for="[fd00::2%` + repeat("z") + `]:80"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := behind(t, test.header)
			r := from("10.0.0.1:1", test.header, test.value)
			assert.True(t, g.ClientIP(r).IsValid())
			assert.Less(t, bytesOf(func() { g.ClientIP(r) }), uint64(size/16))
			assert.Less(t, testing.AllocsPerRun(3, func() { g.ClientIP(r) }), 300.0)
		})
	}
}

// bytesOf returns how much memory f allocates.
func bytesOf(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

var (
	trustedV4  = net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(8, 32)}
	trustedV6  = net.IPNet{IP: net.ParseIP("fd00::"), Mask: net.CIDRMask(8, 128)}
	ipWithPort = regexp.MustCompile(`^(?:\[([^\]]*:[^\]]*)\](?::([0-9]+))?|([^:]*):([0-9]+))$`)
	ipWithZone = regexp.MustCompile(`^(?s)([^%]*:[^%]*)%.+$`)
	plainZone  = regexp.MustCompile(`^(?:[^\[\]%]*%[0-9A-Za-z._-]+|\[[^\[\]%]*%[0-9A-Za-z._-]+\](?::.*)?)$`)
)

// oracleHop parses an address with an optional port; nil if it is none.
func oracleHop(s string) net.IP {
	if m := ipWithPort.FindStringSubmatch(s); m != nil {
		if port := m[2] + m[4]; port != "" {
			if _, err := strconv.ParseUint(port, 10, 16); err != nil {
				return nil
			}
		}
		s = m[1] + m[3]
	}
	if m := ipWithZone.FindStringSubmatch(s); m != nil {
		s = m[1]
	}
	return net.ParseIP(s)
}

// oracleKnows reports whether the rules say what a hop is worth: a zone of odd
// characters may pass or not.
func oracleKnows(hop string) bool {
	return !strings.Contains(hop, "%") || plainZone.MatchString(hop)
}

func oracleTrusts(ip net.IP) bool {
	return ip != nil && (trustedV4.Contains(ip) || ip.To4() == nil && trustedV6.Contains(ip))
}

// oracleIP walks the hops from the right.
func oracleIP(peer string, hops []string) net.IP {
	client := oracleHop(peer)
	for _, hop := range slices.Backward(hops) {
		ip := oracleHop(hop)
		if !oracleTrusts(client) || ip == nil {
			break
		}
		client = ip
	}
	return client
}

// FuzzClientIP compares the client of any X-Forwarded-For with that of an oracle
// which splits it at the commas. So an element left of a hop that is not trusted
// is never believed.
func FuzzClientIP(f *testing.F) {
	f.Add("10.0.0.1:1", "9.9.9.9, 203.0.113.9, 10.0.0.2")
	f.Add("[::ffff:10.0.0.1]:1", "9.9.9.9\n203.0.113.9:80\nfd00::2, [fd00::3]:80")
	f.Add("[fd00::1%eth0]:1", "unknown, ::ffff:10.0.0.2, 10.0.0.3:99999")
	f.Add("@", "9.9.9.9")
	f.Add("192.0.2.1:1", "9.9.9.9")
	f.Add("10.0.0.1:1", `"9.9.9.9, 203.0.113.9", 10.0.0.2`)
	f.Add("10.0.0.1", "fe80::1%eth0, [fd00::2], , 10.0.0.2")
	g := behind(f, "")
	f.Fuzz(func(t *testing.T, peer, header string) {
		lines := strings.Split(header, "\n")
		r := from(peer, "X-Forwarded-For", lines...)
		got := g.ClientIP(r)
		require.False(t, got.Is4In6())
		require.Empty(t, got.Zone())

		hops := strings.Split(strings.Join(lines, ","), ",")
		defined := len(hops) <= 64 && len(peer) < 60 && oracleKnows(peer) // there are bounds
		for i := range hops {
			hops[i] = strings.Trim(hops[i], " \t")
			defined = defined && len(hops[i]) < 60 && oracleKnows(hops[i])
		}
		if !defined {
			return
		}
		want := oracleIP(peer, hops)
		require.Equal(t, want != nil, got.IsValid(), "want %v, got %v", want, got)
		if want != nil {
			require.Equal(t, want.String(), got.String())
		}
	})
}

// FuzzForwardedHops compares the client of a Forwarded header with that of the
// hops it was made of, whatever an attacker has written on the left of it.
func FuzzForwardedHops(f *testing.F) {
	f.Add(`for="9.9.9.9`, []byte("hop"))
	f.Add(`for=9.9.9.9;x="\`, []byte{0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add("", bytes.Repeat([]byte{2, 3, 5, 7}, 20))
	f.Add("for=9.9.9.9,", []byte{1, 4, 6, 3, 2, 2, 5, 7, 1, 0, 3})
	g := behind(f, "Forwarded")
	f.Fuzz(func(t *testing.T, attack string, choices []byte) {
		choose := func(of ...string) string {
			if len(choices) == 0 {
				return of[0]
			}
			c := int(choices[0])
			choices = choices[1:]
			return of[c%len(of)]
		}
		var header strings.Builder
		header.WriteString(strings.ReplaceAll(attack, "\n", " ") + choose(",", " , ", "\n"))
		// The last hop here is the first that the attacker cannot have written.
		hops := []string{"203.0.113.9"}
		for len(choices) > 0 && len(hops) < 20 {
			hops = append(hops, choose("10.0.0.2", "10.255.255.255:80", "[fd00::2]", "[fd00::3]:80", "[::ffff:10.0.0.4]",
				"198.51.100.7", "[2001:db8::7]", "unknown", "_hidden", ""))
		}
		for i, hop := range hops {
			if i > 0 {
				header.WriteString(choose(",", ", ", "\t,\t", "\n"))
			}
			node := hop
			if strings.ContainsAny(hop, ":[") || hop == "" || choose("", "quoted") != "" {
				node = `"` + hop + `"`
			}
			other := func() string {
				return choose("", "proto=https", `host="a, for=9.9.9.9"`, `host="\", for=9.9.9.9;x=\""`, `by="[fd00::9]"`, `secret="\\"`,
					`host=";for=9.9.9.9;"`, `host="\\\", for=9.9.9.9, \\\""`, `host="\"`+`, for=9.9.9.9"`)
			}
			pairs := []string{choose("for", "For", "FOR") + "=" + node}
			if before := other(); before != "" {
				pairs = append([]string{before}, pairs...)
			}
			if after := other(); after != "" {
				pairs = append(pairs, after)
			}
			header.WriteString(strings.Join(pairs, choose(";", " ; ")))
		}
		lines := strings.Split(header.String(), "\n")
		requireIP(t, g, from("10.0.0.1:1", "Forwarded", lines...), oracleIP("10.0.0.1:1", hops).String())
	})
}
