package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// policy lets the page load its own parts, and nothing else. There is no
// unsafe-inline, and scripts cannot turn text into markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// foreign reports whether another site has a browser ask. It could not read the
// answer, but take the place of a stream. A link to the page is no harm.
func foreign(r *http.Request) bool {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "none", "same-origin": // "": no browser, or an old one
	default:
		if r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" {
			return true
		}
	}
	if len(r.Header["Origin"]) == 0 {
		return false
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err != nil || origin.Host == "" || !strings.EqualFold(origin.Host, r.Host)
}

// local reports whether a request was made on this machine, for this machine. A
// proxy beside the server also comes from loopback, so whatever shows one
// refuses; so does HTTP/1.0, which proxies still speak and browsers do not. A name that is
// not this machine's may have been made to point here (DNS rebinding).
func local(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback() && ownHost(r.Host) && r.ProtoAtLeast(1, 1) && !forwarded(r.Header)
}

// ownHost reports whether the Host of a request is localhost or a loopback
// address, with or without a port.
func ownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.HasPrefix(host, "[") {
		name = strings.TrimSuffix(host[1:], "]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}

// forwarded reports whether there is a header that proxies and networks of
// proxies add, whatever its value.
func forwarded(h http.Header) bool {
	for name := range h {
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if slices.Contains(forwardingHeaders, name) ||
			slices.ContainsFunc(forwardingPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return true
		}
	}
	return false
}

//nolint:gochecknoglobals // constants
var (
	forwardingHeaders = []string{
		"forwarded", "via", "cdn-loop", "client-ip", "proxy-client-ip", "wl-proxy-client-ip", "true-client-ip",
		"x-client-ip", "x-cluster-client-ip", "x-real-ip", "x-remote-ip", "x-remote-addr", "x-proxyuser-ip",
		"x-forwarded", "x-host", "x-rewrite-url", "fastly-client-ip", "fastly-ff", "front-end-https",
	}
	forwardingPrefixes = []string{
		"x-forwarded-", "x-original-", "x-envoy-", "x-proxy-", "x-amzn-", "x-amz-cf-", "x-azure-", "x-appengine-", "x-arr-", "cf-", "fly-",
	}
)
