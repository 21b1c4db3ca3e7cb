package genesys

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrToken means that there is no token to send a request with. The error that
// matches it matches also that of the fetch, but not the end of the fetch's own
// context: that says nothing of the caller's.
var ErrToken = errors.New("genesys: no token")

// A Token is what a request is authorized with. It does not show its Value where
// it is printed, logged or encoded.
type Token struct {
	// Value is the token itself.
	Value string `json:"-"`
	// Type goes before it in the Authorization header. "" means Bearer.
	Type string
	// Expires is when it expires. The zero Time means that this is not known: then
	// a 401 will tell.
	Expires time.Time
}

// String returns the Token without its Value.
func (t Token) String() string { return t.scheme() + " [redacted]" }

// GoString is String.
func (t Token) GoString() string { return t.String() }

func (t Token) scheme() string {
	if t.Type == "" || strings.EqualFold(t.Type, "bearer") {
		return "Bearer" // Genesys Cloud answers "bearer", and some proxies want it capital
	}
	return t.Type
}

// check returns an error for what cannot be sent. It does not show it.
func (t Token) check() error {
	bad := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case t.Value == "":
		return errors.New("the Token has no Value")
	case strings.IndexFunc(t.Value, bad) >= 0, strings.IndexFunc(t.Type, bad) >= 0:
		return errors.New("the Token has a control character in it")
	}
	return nil
}

// A TokenTransport is a RoundTripper that authorizes requests with a token, which
// it keeps until a request is refused with 401 or its time is nearly over, and
// then fetches anew, once for everybody. The request that was refused is repeated
// then, once, if it can be: if it has no body, or a GetBody. The 401 is handed on
// if it cannot, or if the token was fresh.
//
// It belongs inside the transport of a dependency:
//
//	client := &http.Client{Transport: dependency.Transport(tokens)}
//
// so that the refusal, the fetch and the repetition are one call to the breaker.
// Around it, every 401 of a storm would count as a failure.
//
// A fetch has a context of its own, so that the caller who began it may hang up
// without harm to the others who wait. An error of it becomes that of every
// request that waits, and matches [ErrToken]; after it, requests that need a new
// token fail at once until the back-off is over.
//
// A request that has an Authorization header already is sent as it is, and so is
// one that a redirect has led to another host, or from https to http, or may have:
// no stranger gets the token by a redirect. Every other request gets it, to
// whatever host, so the client must be for the product alone. A response shows the
// request without the token.
//
// Make one with [NewTokenTransport]. It is safe for concurrent use.
type TokenTransport struct {
	base   http.RoundTripper
	tokens *tokens
}

// With returns a TokenTransport over another base (nil: http.DefaultTransport)
// that shares the token: for a health check, say.
func (t *TokenTransport) With(base http.RoundTripper) *TokenTransport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &TokenTransport{base, t.tokens}
}

// CloseIdleConnections is what http.Client's method of this name calls.
func (t *TokenTransport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *TokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "" || strayed(r) {
		return t.base.RoundTrip(r)
	}
	token, isFresh, err := t.tokens.get(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as every RoundTripper must
		}
		return nil, err
	}
	resp, err := t.send(r, r.Body, token)
	if err != nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if isFresh {
		t.tokens.inVain(token)
		return resp, nil
	}
	replacement := t.tokens.replace(token) // if this one cannot be repeated, for the next one
	if replacement == nil {
		return resp, nil
	}
	body, ok := again(r)
	if !ok {
		return resp, nil
	}
	discard(resp) // before the wait, since the fetch may need the connection
	fresh, err := replacement.wait(r.Context())
	if err != nil {
		if body != nil {
			_ = body.Close()
		}
		return nil, err
	}
	resp, err = t.send(r, body, fresh)
	if err == nil && resp != nil && resp.StatusCode == http.StatusUnauthorized {
		t.tokens.inVain(fresh)
	}
	return resp, err
}

// again returns the body to repeat a request with, and reports whether there is
// one.
func again(r *http.Request) (io.ReadCloser, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r.Body, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	return body, err == nil
}

// send sends a copy of r, since a RoundTripper must not change what it is given.
// The response shows a request without the token.
func (t *TokenTransport) send(r *http.Request, body io.ReadCloser, token *held) (*http.Response, error) {
	sent := r.WithContext(r.Context())
	sent.Body = body
	sent.Header = r.Header.Clone()
	if sent.Header == nil {
		sent.Header = make(http.Header, 1)
	}
	sent.Header.Set("Authorization", token.header)
	resp, err := t.base.RoundTrip(sent)
	switch {
	case resp == nil:
	case resp.Request == nil || resp.Request == sent:
		resp.Request = r
	default: // a copy, with more in its context, perhaps
		shown := resp.Request.WithContext(resp.Request.Context())
		shown.Header = shown.Header.Clone()
		shown.Header.Del("Authorization")
		resp.Request = shown
	}
	return resp, err
}

// discard ends a response that nobody gets. A short body is read, so that the
// connection can be used again: in a storm each request has one.
func discard(resp *http.Response) {
	if resp.Body == nil {
		return
	}
	if n := resp.ContentLength; n > 0 && n <= 4<<10 {
		_, _ = io.CopyN(io.Discard, resp.Body, n)
	}
	_ = resp.Body.Close()
}

// strayed reports whether redirects have led a request away from where it was
// sent at first, or may have.
func strayed(r *http.Request) bool {
	for at := r; at.Response != nil; {
		from := at.Response.Request
		if from == nil || from.URL == nil || r.URL == nil || from.URL.Host != r.URL.Host || from.URL.Scheme == "https" && r.URL.Scheme != "https" {
			return true
		}
		at = from
	}
	return false
}
