package guard

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// A ClientLimit is a token bucket for each client of a guard or a route.
type ClientLimit struct {
	// Name tells the limit from others; "" means "client" for the first limit of
	// a guard or a route, "client2" for the second, and so on.
	Name string
	// Limit is each client's bucket. The zero Limit means none.
	Limit Limit
	// Key returns what stands for the client, such as a user's name or an API
	// key that has been verified; where it returns "" and where Key is nil, the
	// client's address does. It is called once for each request and stage that
	// takes from the limit, with no lock held, and cannot be changed by Tune.
	//
	// A key is not kept, but only a digest of 128 bits with a secret seed, so
	// that its length costs no memory.
	Key func(*http.Request) string
	// IPv6Prefix is how many bits of an IPv6 address stand for the client. 0
	// means 64, which is what a single customer commonly is given. (Behind NAT64,
	// all IPv4 clients share a /64.)
	IPv6Prefix int
	// MaxKeys bounds the number of clients that are told apart; see [Keyed].
	// 0 means [DefaultMaxKeys], and 2²⁶ is the most. It cannot be changed by Tune.
	MaxKeys int
}

// name returns the name of the i-th limit.
func (c ClientLimit) name(i int) string {
	switch {
	case c.Name != "":
		return c.Name
	case i == 0:
		return "client"
	}
	return "client" + strconv.Itoa(i+1)
}

// ClientIP returns the address of the client: that of the peer, or, where the
// peer is one of the TrustedProxies, what the ForwardedHeader says. That header
// is read from the right, over all its lines, as far as the hops are trusted:
// what an untrusted hop has written there is not believed.
//
// IPv4-mapped IPv6 addresses are returned as IPv4, and zones are dropped. The
// zero Addr is returned if there is none, as behind a Unix socket.
func (g *Guard) ClientIP(r *http.Request) netip.Addr {
	return g.tuned.Load().clientIP(r)
}

// clientHops bounds how many hops of a header are looked at.
const clientHops = 64

func (t *tuned) clientIP(r *http.Request) netip.Addr {
	addr := parseHop(r.RemoteAddr)
	if len(t.proxies) == 0 || !t.trusts(addr) {
		return addr
	}
	lines := r.Header[t.forwarded]
	hops := 0
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			var element string
			line, element, more = cutLast(line, t.forwarded == "Forwarded")
			hop := parseElement(t.forwarded, element)
			if hops++; !hop.IsValid() || hops > clientHops {
				return addr
			}
			if addr = hop; !t.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}

func (t *tuned) trusts(addr netip.Addr) bool {
	for _, p := range t.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parseElement returns the address that one element of a header tells.
func parseElement(header, element string) netip.Addr {
	if header != "Forwarded" {
		return parseHop(trimOWS(element))
	}
	// RFC 7239: for=192.0.2.60;proto=http, or for="[2001:db8::1]:4711"
	node, found := "", false
	for rest := element; rest != ""; {
		var pair string
		pair, rest = cutQuoted(rest, ';')
		name, value, _ := strings.Cut(trimOWS(pair), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found {
			return netip.Addr{} // two addresses are none
		}
		node, found = unquote(value), true
	}
	return parseHop(node)
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// hopMax is longer than any address with brackets, a zone and a port.
const hopMax = 80

// parseHop parses an address with or without a port, brackets and a zone. It
// does without netip.ParseAddrPort, which remembers every zone that it meets.
func parseHop(s string) netip.Addr {
	if len(s) > hopMax {
		return netip.Addr{}
	}
	host, port := s, ""
	bracket := strings.HasPrefix(s, "[")
	if bracket {
		var closed bool
		if host, port, closed = strings.Cut(s[1:], "]"); !closed {
			return netip.Addr{}
		}
	} else if colon := strings.LastIndexByte(s, ':'); colon >= 0 && strings.IndexByte(s[:colon], ':') < 0 {
		host, port = s[:colon], s[colon:]
	}
	host, zone, zoned := strings.Cut(host, "%")
	addr, err := netip.ParseAddr(host)
	six := err == nil && addr.Is6()
	if zoned && (!isToken(zone) || !six) || bracket && !six || port != "" && !isPort(port) {
		return netip.Addr{}
	}
	return addr.Unmap()
}

func isPort(s string) bool {
	n := 0
	for i := 1; i < len(s) && n <= math.MaxUint16; i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = 10*n + int(s[i]-'0')
	}
	return len(s) > 1 && s[0] == ':' && n <= math.MaxUint16
}

// cutLast cuts the last element off a list, which may have quoted strings. It
// looks for the comma from the right, so that nothing that stands further left,
// such as an open quotation mark, can change what a trusted hop has added.
func cutLast(s string, quotes bool) (before, last string, more bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case quotes && s[i] == '"':
			before := strings.TrimRight(s[:i], `\`)
			if (i-len(before))%2 == 0 { // not escaped
				quoted = !quoted
			}
			i = len(before)
		case s[i] == ',' && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}

// clientKey stands for a client: an address as it is in IPv6, or a digest.
type clientKey struct{ hi, lo uint64 }

// clientLimit is a ClientLimit in effect.
type clientLimit struct {
	name    string
	limit   Limit
	key     func(*http.Request) string
	prefix  int
	seeds   [2]maphash.Seed
	keyed   *Keyed[clientKey]
	refused *atomic.Uint64 // how many requests
}

// keyOf returns what stands for the client of a request.
func (c *clientLimit) keyOf(t *tuned, r *http.Request) clientKey {
	if c.key != nil {
		if s := c.key(r); s != "" {
			return clientKey{maphash.String(c.seeds[0], s), maphash.String(c.seeds[1], s)}
		}
	}
	addr := t.clientIP(r)
	if addr.Is6() {
		p, _ := addr.Prefix(c.prefix) // 1 to 128, as was checked
		addr = p.Addr()
	}
	return addressKey(addr)
}

// addressKey returns the same key for all that have no address: the last
// multicast address, which nobody's peer can be.
func addressKey(addr netip.Addr) clientKey {
	if !addr.IsValid() {
		return clientKey{math.MaxUint64, math.MaxUint64}
	}
	b := addr.As16()
	return clientKey{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// compileClient makes a ClientLimit ready, on the buckets of the one before it.
func compileClient(start time.Time, field, name string, c ClientLimit, old *clientLimit) (*clientLimit, error) {
	n := &clientLimit{name: name, key: c.Key, prefix: c.IPv6Prefix}
	if n.prefix == 0 {
		n.prefix = 64
	}
	limit, err := c.Limit.orNone(field + ".Limit")
	if err == nil {
		err = checkMaxKeys(field+".MaxKeys", c.MaxKeys)
	}
	n.limit = limit
	switch {
	case err != nil:
		return nil, err
	case n.prefix < 1 || n.prefix > 128:
		return nil, fmt.Errorf("guard: %s.IPv6Prefix is %d, want 0 to 128", field, c.IPv6Prefix)
	case old != nil:
		n.seeds, n.keyed, n.refused = old.seeds, old.keyed, old.refused
		return n, nil
	}
	n.refused = new(atomic.Uint64)
	n.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	n.keyed = newKeyed[clientKey](start, limit, c.MaxKeys)
	return n, nil
}

// sameFunc reports whether two functions are the same value: for a closure, the
// one that was made by the same evaluation of its function literal. F is the type
// of a function.
func sameFunc[F any](a, b F) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b)) //nolint:gosec // a func value is a pointer, and reflect shows only that of the code
}

// compileProxies checks and normalises the prefixes of trusted hops.
func compileProxies(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, p := range prefixes {
		if !p.IsValid() {
			return nil, fmt.Errorf("guard: TrustedProxies[%d] is %q, want a prefix such as 10.0.0.0/8", i, p.String())
		}
		q := p
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			q = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if q.Bits() == 0 {
			return nil, fmt.Errorf("guard: TrustedProxies[%d] is %s: it trusts everyone, so every client could choose its address", i, p)
		}
		out = append(out, q.Masked())
	}
	return out, nil
}
