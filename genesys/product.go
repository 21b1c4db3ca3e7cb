package genesys

import (
	"net/http"
	"strconv"
	"strings"

	"example.com/guard"
)

// A Product is one of Genesys' products with an HTTP API. The zero Product, and
// any but those named here, is none: its answers mean what their status says.
type Product int

// The products.
const (
	GWE   Product = iota + 1 // Web Engagement, its backend server
	GMS                      // Mobile Services: digital channels, callback, statistics
	GWS                      // Web Services (HTCC): agents, queues, interactions
	UCS                      // Universal Contact Server, its Context Services
	GRE                      // Rules Engine
	Cloud                    // Genesys Cloud, its Platform API

	products // how many
)

// String returns the name: "GMS", for instance.
func (p Product) String() string {
	names := [products]string{"none", "GWE", "GMS", "GWS", "UCS", "GRE", "Cloud"}
	if p < 0 || p >= products {
		return "unknown " + strconv.Itoa(int(p))
	}
	return names[p]
}

// Config returns c with what it takes to judge the product's answers: its
// ClassifyResponse and ClassifyBody, and PauseOn429. A classifier that c has
// already is asked before the product's own, which is asked where that returns
// OutcomeDefault. No ClassifyBody, that of c included, is asked where a
// ClassifyResponse has decided. Everything else is as in c.
func (p Product) Config(c guard.DependencyConfig) guard.DependencyConfig {
	c.PauseOn429 = true
	c.ClassifyResponse = firstOfResponse(c.ClassifyResponse, p.ClassifyResponse) //nolint:bodyclose // who sent the request closes it
	if p.codes() != nil {
		c.ClassifyBody = firstOfBody(c.ClassifyBody, p.ClassifyBody) //nolint:bodyclose // as above
	}
	return c
}

func firstOfResponse(given, ours func(*http.Response) guard.Outcome) func(*http.Response) guard.Outcome {
	if given == nil {
		return ours
	}
	return func(resp *http.Response) guard.Outcome {
		if o := given(resp); o != guard.OutcomeDefault {
			return o
		}
		return ours(resp)
	}
}

func firstOfBody(given, ours func(*http.Response, []byte) guard.Outcome) func(*http.Response, []byte) guard.Outcome {
	if given == nil {
		return ours
	}
	return func(resp *http.Response, head []byte) guard.Outcome {
		if o := given(resp, head); o != guard.OutcomeDefault {
			return o
		}
		return ours(resp, head)
	}
}

// ClassifyResponse says what the header of an answer means, as the table of the
// package does. It returns OutcomeDefault where the status is all there is to go
// by, or the body has to be asked. It fits guard.DependencyConfig, and reads
// nothing of the body.
//
// To a 429 of Genesys Cloud whose Retry-After is missing or cannot be read it adds
// one, a second later than what inin-ratelimit-reset says, so that the calls pause.
func (p Product) ClassifyResponse(resp *http.Response) guard.Outcome {
	if resp == nil || p <= 0 || p >= products {
		return guard.OutcomeDefault
	}
	if p == Cloud && resp.StatusCode == http.StatusTooManyRequests {
		addRetryAfter(resp)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized, p == GWE && resp.StatusCode == http.StatusForbidden:
		return guard.OutcomeFailed
	case p.codes() == nil:
		return guard.OutcomeDefault
	case resp.StatusCode >= 400:
		if p == GWS {
			return guard.OutcomeDefault // its code says more
		}
		return byStatus(resp.StatusCode)
	case opaque(resp.Header.Get("Content-Type")):
		return guard.OutcomeSucceeded
	}
	return guard.OutcomeDefault
}

// ClassifyBody says what an answer means whose body begins with head, compressed
// if the header says so. It fits guard.DependencyConfig. It returns OutcomeDefault
// if there is no statusCode, none that is documented, or one of success in an
// answer whose status is not.
func (p Product) ClassifyBody(resp *http.Response, head []byte) guard.Outcome {
	codes := p.codes()
	if resp == nil || codes == nil {
		return guard.OutcomeDefault
	}
	if resp.StatusCode == http.StatusUnauthorized || p == GMS && resp.StatusCode >= 400 {
		return p.ClassifyResponse(resp)
	}
	o := guard.OutcomeDefault
	for name, value := range members(plain(resp.Header, head)) {
		if strings.EqualFold(string(name), "statusCode") {
			o = guard.OutcomeDefault
			if code, ok := integer(value); ok {
				o = codes(code)
			}
		}
	}
	if o == guard.OutcomeSucceeded && resp.StatusCode >= 400 {
		return guard.OutcomeDefault
	}
	return o
}

// codes returns what says what the statusCode of a body means; nil if the
// product has none.
func (p Product) codes() func(int) guard.Outcome {
	switch p { //nolint:exhaustive // the others have none
	case GMS:
		return ofGMS
	case GWS:
		return ofGWS
	}
	return nil
}

// ofGMS is the table of GMS 8.5, "API Responses".
func ofGMS(code int) guard.Outcome {
	switch code {
	case 0:
		return guard.OutcomeSucceeded
	case 1: // "the client can keep trying"
		return guard.OutcomeFailed
	case 2: // "repeating requests will not be successful"
		return guard.OutcomeAnswered
	}
	return guard.OutcomeDefault
}

// ofGWS is the table of GWS 8.6, "Return Values".
func ofGWS(code int) guard.Outcome {
	switch {
	case code == 0, code == 7, code == 9: // done, done in part, being done
		return guard.OutcomeSucceeded
	case code == 4: // "an internal error occurred …, such as Cassandra or a Genesys Framework component"
		return guard.OutcomeFailed
	case code == 20: // not authenticated, and a new token did not help
		return guard.OutcomeFailed
	case code >= 1 && code <= 19:
		return guard.OutcomeAnswered
	}
	return guard.OutcomeDefault
}

// byStatus is what a guard.Dependency goes by, too.
func byStatus(status int) guard.Outcome {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return guard.OutcomeFailed
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return guard.OutcomeAnswered
	case status >= 500:
		return guard.OutcomeFailed
	case status >= 400:
		return guard.OutcomeAnswered
	}
	return guard.OutcomeSucceeded
}

// opaque reports whether a body of this type is a file, in which there is no
// statusCode to be found. Other types may lie: JSON comes as text/html, too.
func opaque(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	kind, _, _ := strings.Cut(t, "/")
	switch kind {
	case "image", "audio", "video", "font":
		return true
	}
	return t == "application/octet-stream" || t == "application/pdf" || t == "application/zip"
}
