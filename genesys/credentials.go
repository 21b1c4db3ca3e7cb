package genesys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ClientCredentials are those of this server, for the OAuth 2.0 client
// credentials grant (RFC 6749, section 4.4), with which Genesys Cloud and the
// authentication service of GWS give tokens. Its Fetch is for a [TokenConfig]. It
// does not show its Secret where it is printed, logged or encoded.
type ClientCredentials struct {
	// URL is that of the token end-point: https://login.mypurecloud.com/oauth/token,
	// or that of your region.
	URL string
	// ID and Secret are sent by Basic authentication.
	ID     string
	Secret string `json:"-"`
	// Scope is what the token is to be good for, separated by spaces. "": everything
	// that the account is.
	Scope string
	// Transport sends the requests. nil means one that connects anew each time. A
	// guard.Dependency for the token end-point alone can stand here: what fails
	// is then counted there. It must not be the one whose calls need the token, whose
	// probe would wait for itself.
	Transport http.RoundTripper
}

// String returns the URL and the ID, without what is secret.
func (c ClientCredentials) String() string {
	return fmt.Sprintf("client %q at %s", c.ID, shown(c.URL))
}

// GoString is String.
func (c ClientCredentials) GoString() string { return c.String() }

// LogValue is String, for package slog.
func (c ClientCredentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Fetch gets a token. It reads at most 64 KiB, follows no redirects and takes 30 s
// at most. Its errors tell the status and the error code of the end-point, and
// neither the secret nor the token.
func (c ClientCredentials) Fetch(ctx context.Context) (Token, error) {
	if _, err := parseURL("ClientCredentials.URL", c.URL); err != nil {
		return Token{}, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if c.Scope != "" {
		form.Set("scope", c.Scope)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, fmt.Errorf("genesys: token end-point: %w", bare(err))
	}
	r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)) // RFC 6749, section 2.3.1
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	asked := time.Now()
	resp, err := ownClient(c.Transport).Do(r)
	if err != nil {
		return Token{}, fmt.Errorf("genesys: token end-point: %w", bare(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, looked))
	if err != nil {
		return Token{}, fmt.Errorf("genesys: token end-point: the answer of %d cannot be read: %w", resp.StatusCode, bare(err))
	}
	return grant(resp, plain(resp.Header, body), asked)
}

// grant reads the answer of a token end-point.
func grant(resp *http.Response, body []byte, asked time.Time) (Token, error) {
	var t Token
	var code string
	seconds := 0
	for name, value := range members(body) {
		switch strings.ToLower(string(name)) {
		case "access_token":
			t.Value = text(value)
		case "token_type":
			t.Type = text(value)
		case "expires_in":
			seconds, _ = integer(value)
		case "error":
			code = head(text(value), 64)
		}
	}
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		if code != "" {
			return Token{}, fmt.Errorf("genesys: token end-point: status %d, error %q", resp.StatusCode, code)
		}
		return Token{}, fmt.Errorf("genesys: token end-point: status %d", resp.StatusCode)
	case t.Value == "":
		return Token{}, errors.New("genesys: token end-point: the answer holds no access_token")
	}
	if seconds > 0 {
		t.Expires = asked.Add(time.Duration(seconds) * time.Second)
	}
	return t, nil
}
