package genesys

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A RateLimit is what Genesys Cloud tells of a limit, with answers of any status.
type RateLimit struct {
	Count   int           // requests so far
	Allowed int           // requests allowed until the reset
	Reset   time.Duration // until the count begins anew, in whole seconds
}

// ParseRateLimit returns what the headers inin-ratelimit-count, -allowed and
// -reset say. ok reports whether all three are there and make sense.
func ParseRateLimit(h http.Header) (l RateLimit, ok bool) {
	count, ok1 := natural(h.Get("Inin-Ratelimit-Count"))
	allowed, ok2 := natural(h.Get("Inin-Ratelimit-Allowed"))
	reset, ok3 := natural(h.Get("Inin-Ratelimit-Reset"))
	if !ok1 || !ok2 || !ok3 {
		return RateLimit{}, false
	}
	return RateLimit{Count: count, Allowed: allowed, Reset: time.Duration(reset) * time.Second}, true
}

// natural reads a number from 0 to 2³⁰.
func natural(s string) (int, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31)
	return int(n), err == nil && n <= 1<<30
}

// addRetryAfter adds a Retry-After where there is none that can be read. Genesys'
// own samples wait for a second more than the reset says.
func addRetryAfter(resp *http.Response) {
	reset, ok := natural(resp.Header.Get("Inin-Ratelimit-Reset"))
	if ok && !readable(strings.TrimSpace(resp.Header.Get("Retry-After"))) {
		resp.Header.Set("Retry-After", strconv.Itoa(reset+1))
	}
}

// readable reports whether a Retry-After is of one of the forms that there are.
func readable(after string) bool {
	_, err := http.ParseTime(after)
	return err == nil || after != "" && strings.Trim(after, "0123456789") == ""
}
