package genesys

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ownClient returns a client for what is asked for seldom. Over base nil it
// connects anew each time: that is part of what a health check is to try, and no
// goroutine stays behind. It follows no redirects, since a login page is not the
// answer, and no other host is to get the password.
func ownClient(base http.RoundTripper) *http.Client {
	if base == nil {
		base = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: looked,
		}
	}
	return &http.Client{
		Transport:     base,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second, // also for a context without a deadline
	}
}

// parseURL checks the URL in a field of a configuration. It never shows a
// password that is in it.
func parseURL(field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err == nil && usable(u):
		return u, nil
	case err == nil:
		return nil, fmt.Errorf("genesys: %s is %q, want http://… or https://…", field, shown(s))
	case strings.Contains(s, "@"): // the error may tell of the password
		return nil, fmt.Errorf("genesys: %s is not a URL: is the password in it percent-encoded?", field)
	}
	return nil, fmt.Errorf("genesys: %s is not a URL: %w", field, bare(err))
}

func usable(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

// shown returns a URL without the password in it. In what is none, or was meant
// to be another, the password may be anywhere before an @.
func shown(s string) string {
	u, err := url.Parse(s)
	switch {
	case err == nil && (usable(u) || u.User != nil):
		return u.Redacted()
	case strings.Contains(s, "@"):
		return "[redacted]"
	}
	return s
}

// bare returns an error without the URL that net/http and net/url wrap it with,
// which may hold what is not for a log.
func bare(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}
