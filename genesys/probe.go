package genesys

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"example.com/guard"
)

// The paths of the products that have an end-point for their health, where they
// are installed under their usual names.
const (
	GMSStatusPath = "/genesys/1/admin/node/status" // wants authorization
	UCSStatusPath = "/server/status"
	GREStatusPath = "/genesys-rules-engine/status.jsp"
)

// A Probe says whom to ask for the health of a product. It does not show its
// Password where it is printed, logged or encoded.
type Probe struct {
	// URL is that of the end-point: of GMS, UCS and GRE with the path named by the
	// constants; of the others, which have none, that of any GET that is cheap and
	// succeeds with the rights of this server. http or https; a user and a password
	// in it are used and never shown.
	URL string
	// Username and Password are for Basic authentication. "": none.
	Username string
	Password string `json:"-"`
	// Transport sends the requests: a TokenTransport, for instance. nil means one
	// that connects anew each time. It must not be that of a guard.Dependency,
	// which refuses while the breaker is open.
	Transport http.RoundTripper
}

// String returns the URL and the Username, without what is secret.
func (p Probe) String() string { return fmt.Sprintf("user %q at %s", p.Username, shown(p.URL)) }

// GoString is String.
func (p Probe) GoString() string { return p.String() }

// LogValue is String, for package slog.
func (p Probe) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Check returns a health check of the product, for guard.DependencyConfig. It
// fails
//
//   - for GMS, unless the node says ONLINE, which it does with the same status 200
//     as OFFLINE, and past caches
//   - for UCS, unless it is in the mode production
//   - for GRE, unless it says SYSTEM_STATUS_OK
//   - for the others, unless the answer is a success, or a 429, which tells that
//     Genesys Cloud is alive
//
// and when the context ends first, or after 30 s. It reads at most 64 KiB, follows
// no redirects, and may be called at once by many. Its errors are for the log
// alone.
//
// The error of Check itself names the field of the Probe that is invalid.
func (p Product) Check(probe Probe) (func(context.Context) error, error) {
	if p <= 0 || p >= products {
		return nil, fmt.Errorf("genesys: the Product is %v, want one of the constants", p)
	}
	u, err := parseURL("Probe.URL", probe.URL)
	if err != nil {
		return nil, err
	}
	address, client := u.String(), ownClient(probe.Transport)
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return fmt.Errorf("genesys: %v: %w", p, bare(err))
		}
		r.Header.Set("Cache-Control", "no-cache") // GMS lets its status be cached for 5 minutes
		r.Header.Set("Pragma", "no-cache")
		if probe.Username != "" {
			r.SetBasicAuth(probe.Username, probe.Password)
		}
		resp, err := client.Do(r)
		if err != nil {
			return fmt.Errorf("genesys: %v: %w", p, bare(err))
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(resp.Body, looked))
		if err != nil {
			return fmt.Errorf("genesys: %v: the answer of %d cannot be read: %w", p, resp.StatusCode, bare(err))
		}
		if err := p.healthy(resp, body); err != nil {
			return fmt.Errorf("genesys: %v: %w", p, err)
		}
		return nil
	}, nil
}

// healthy says what an answer tells of a product's health.
func (p Product) healthy(resp *http.Response, body []byte) error {
	if (p == GMS || p == UCS) && resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	body = plain(resp.Header, body)
	switch p { //nolint:exhaustive // the others have no words of their own
	case GMS:
		word := strings.ToUpper(strings.Trim(string(body), "\" \t\r\n"))
		if word != "ONLINE" {
			return fmt.Errorf("the node says %q, want \"ONLINE\"", head(word, 64))
		}
	case UCS:
		mode := ""
		for name, value := range members(body) {
			if strings.EqualFold(string(name), "mode") {
				mode = text(value)
			}
		}
		if !strings.EqualFold(mode, "production") {
			return fmt.Errorf("the mode is %q, want \"production\"", head(mode, 64))
		}
	case GRE:
		word := statusWord(string(body))
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d, %q", resp.StatusCode, word)
		}
		if word != "SYSTEM_STATUS_OK" {
			return fmt.Errorf("it says %q, want \"SYSTEM_STATUS_OK\"", word)
		}
	default:
		return p.succeeded(resp, body)
	}
	return nil
}

// statusWord returns the word of a GRE status page.
func statusWord(page string) string {
	i := strings.Index(page, "SYSTEM_STATUS_")
	if i < 0 {
		return ""
	}
	word := page[i:]
	if end := strings.IndexFunc(word, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') }); end >= 0 {
		word = word[:end]
	}
	return head(word, 64)
}

// succeeded judges the answer to any other request. body is decoded already.
func (p Product) succeeded(resp *http.Response, body []byte) error {
	if resp.StatusCode == http.StatusTooManyRequests {
		return nil
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError(resp.StatusCode)
	}
	decoded := &http.Response{StatusCode: resp.StatusCode}
	if o := p.ClassifyBody(decoded, body); o == guard.OutcomeFailed || o == guard.OutcomeAnswered {
		return fmt.Errorf("the answer of %d tells of a failure", resp.StatusCode)
	}
	return nil
}

type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("status %d %s", int(s), http.StatusText(int(s)))
}
