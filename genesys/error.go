package genesys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"example.com/guard"
)

// An Error is an answer that is not a success. It wraps a
// [*guard.DependencyError], so that a guard answers it with 502 and the time to
// wait if that is known; or a [*guard.Error] of 502, where there is no dependency,
// or one to whose own classifier even a 502 is no failure. Its text is for the log
// alone, and a guard puts it there: no body that a guard writes holds any of it.
//
// Match it with errors.As, to answer otherwise:
//
//	var answer *genesys.Error
//	if errors.As(err, &answer) && answer.NotFound() {
//		return guard.NotFound("There is no such agent.")
//	}
type Error struct {
	Product Product
	// Outcome is OutcomeFailed, or OutcomeAnswered for a refusal of this request.
	Outcome guard.Outcome
	// Status is the HTTP status, which may be 200.
	Status int
	// Code is what the body calls the error, or "": the statusCode of GMS and GWS,
	// the code of Genesys Cloud ("too.many.requests.retry.after"), the exception of
	// UCS. It has at most 128 bytes.
	Code string
	// Message is the text of the body, or "". It has at most 256 bytes.
	Message string
	// ContextID is what Genesys' support asks for: the contextId of the body, or the
	// ININ-Correlation-Id of the header, or "". It has at most 128 bytes.
	ContextID string

	err error // a *guard.DependencyError or *guard.Error
}

// Error implements error. What the product said in it is quoted.
func (e *Error) Error() string {
	if e == nil {
		return "genesys: a nil *Error"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "genesys: %v answered %d", e.Product, e.Status)
	if e.Code != "" {
		fmt.Fprintf(&b, ", code %q", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ", message %q", e.Message)
	}
	if e.ContextID != "" {
		fmt.Fprintf(&b, ", contextId %q", e.ContextID)
	}
	if e.err != nil {
		fmt.Fprintf(&b, ": %v", e.err)
	}
	return b.String()
}

// Unwrap returns the error that a guard goes by.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.err
}

// NotFound reports whether what the request names does not exist: a 404, or the
// statusCode 6 of GWS.
func (e *Error) NotFound() bool {
	if e == nil || e.Outcome != guard.OutcomeAnswered {
		return false
	}
	return e.Status == http.StatusNotFound || e.Product == GWS && e.Code == "6"
}

// Invalid reports whether the values in the request were not accepted: a 400 or
// 422, or the statusCodes 1, 2 and 10 of GWS. If they came from the user, answer
// with a 400.
func (e *Error) Invalid() bool {
	if e == nil || e.Outcome != guard.OutcomeAnswered {
		return false
	}
	if e.Product == GWS && e.Code != "" {
		return e.Code == "1" || e.Code == "2" || e.Code == "10"
	}
	return e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity
}

// CheckResponse returns an [*Error] for an answer that failed, or that refused
// the request, and nil for a success. It goes by the classifiers of d, as
// [Product.Config] has made them, and by the product's if there are none. d may
// be nil; then no time to wait is known.
//
// It waits for the first 64 KiB of the body, or its end, unless that is an event
// stream, and leaves it as if it had not been read. It counts nothing, since the
// transport of d has, and the caller still has to close the body. Of a success
// that cannot be read, whoever reads it will find out.
//
// In the ModifyResponse of a [net/http/httputil.ReverseProxy], with
// Guard.WriteError as ErrorHandler, it keeps the bodies of errors from the client.
func (p Product) CheckResponse(d *guard.Dependency, resp *http.Response) error {
	if resp == nil {
		return errors.New("genesys: CheckResponse was given a nil response")
	}
	var c guard.DependencyConfig
	if d != nil {
		c = d.Config()
	}
	if c.ClassifyResponse == nil {
		c.ClassifyResponse = p.ClassifyResponse
	}
	if c.ClassifyBody == nil && p.codes() != nil {
		c.ClassifyBody = p.ClassifyBody
	}
	o := c.ClassifyResponse(resp)
	if !known(o) && (c.ClassifyBody == nil || streams(resp)) {
		o = byStatus(resp.StatusCode)
	}
	if o == guard.OutcomeSucceeded || o == guard.OutcomeIgnored {
		return nil
	}
	original := *resp // whose body d knows
	var head []byte
	if !streams(resp) {
		head = peek(resp)
	}
	if !known(o) {
		o = c.ClassifyBody(resp, head)
	}
	if !known(o) {
		o = byStatus(resp.StatusCode)
	}
	if o == guard.OutcomeSucceeded || o == guard.OutcomeIgnored {
		return nil
	}
	e := &Error{Product: p, Outcome: o, Status: resp.StatusCode}
	e.describe(resp.Header, plain(resp.Header, head))
	e.err = failure(d, &original)
	return e
}

// known reports whether a classifier has said what an answer means. As a
// guard.Dependency does, it takes what is no Outcome for none.
func known(o guard.Outcome) bool { return o > guard.OutcomeDefault && o <= guard.OutcomeIgnored }

// failure returns the error that a guard answers with 502.
func failure(d *guard.Dependency, resp *http.Response) error {
	if d != nil {
		if err := d.CheckResponse(resp); err != nil {
			return err
		}
		// To d it is a refusal, or not even that: but what is not a success has
		// to become a 502, and only a failure does.
		failed := *resp
		failed.StatusCode, failed.Body = http.StatusBadGateway, http.NoBody
		if resp.Request != nil { // whose context tells what the body has
			failed.Request = resp.Request.WithContext(context.Background())
		}
		var refused *guard.DependencyError
		if errors.As(d.CheckResponse(&failed), &refused) {
			return refusal{refused}
		}
	}
	return &guard.Error{Status: http.StatusBadGateway, Code: "dependency-failed", Detail: "A system that this server needs has failed."}
}

// refusal is the error of an answer that is no failure. All that is true in the
// one that it wraps is the name.
type refusal struct{ err *guard.DependencyError }

func (r refusal) Error() string { return fmt.Sprintf("guard: dependency %q", r.err.Dependency()) }
func (r refusal) Unwrap() error { return r.err }

// describe takes from an answer what it says of itself.
func (e *Error) describe(h http.Header, body []byte) {
	e.ContextID = h.Get("Inin-Correlation-Id")
	for name, value := range members(body) {
		var to *string
		most := 128
		switch n := strings.ToLower(string(name)); {
		case n == "statuscode" && e.Product.codes() != nil:
			if code, ok := integer(value); ok {
				value = strconv.AppendInt(nil, int64(code), 10)
			}
			to = &e.Code
		case n == "code" && e.Product != GWS, n == "exception" && e.Product == UCS:
			to = &e.Code
		case n == "message", n == "statusmessage":
			to, most = &e.Message, 256
		case n == "contextid", n == "corrid":
			to = &e.ContextID
		default:
			continue
		}
		if s := text(value); s != "" {
			*to = head(s, most)
		}
	}
	e.ContextID = head(e.ContextID, 128)
}

// head returns the beginning of s, without half a character.
func head(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most])
}

func streams(resp *http.Response) bool {
	return resp.StatusCode == http.StatusSwitchingProtocols ||
		strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/event-stream")
}

// peek returns the beginning of the body, and leaves it as if it had not been
// read. What cannot be read is missing.
func peek(resp *http.Response) []byte {
	if resp.Body == nil || resp.Body == http.NoBody {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, looked))
	resp.Body = &peekedBody{ReadCloser: resp.Body, head: head, err: err}
	return head
}

// peekedBody is a body of which the head has been read, up to err.
type peekedBody struct {
	io.ReadCloser
	head   []byte
	err    error
	closed atomic.Bool
}

// Read implements io.Reader.
func (b *peekedBody) Read(p []byte) (int, error) {
	switch {
	case b.closed.Load(): // by then the head is gone, too
	case len(b.head) > 0:
		n := copy(p, b.head)
		b.head = b.head[n:]
		return n, nil
	case b.err != nil:
		return 0, b.err
	}
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *peekedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}
