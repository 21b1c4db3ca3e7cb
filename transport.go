package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Transport wraps base (nil: http.DefaultTransport) so that each request is a
// call to the dependency. It refuses as [Dependency.Do] does, and then closes
// the request's body. A response is handed on whatever its status is; see
// [Dependency.CheckResponse] for how to turn it into an error.
//
// What a response means, where no classifier says otherwise:
//
//   - 408, 425 and 5xx, but for 501 and 505: failed.
//   - other 4xx, 501 and 505: answered. After a 429, with PauseOn429, calls pause.
//   - the rest: succeeded, unless reading its body fails.
//
// An error of base is judged as by Do, and a request's body that cannot be read
// is the caller's own fault: ignored. A call is as slow as its header; it ends
// with the response's body, at EOF, an error or Close, or when the request's
// context ends. Where that cannot end and there is no bound, a failure ends at its
// header, so that it counts though nobody closes the body. An upgrade (101) and an
// event stream (text/event-stream) end with their header, since they may go on for
// hours.
//
// Timeout bounds the time until the header. The Transport itself reads nothing of
// a body, but for ClassifyBody.
func (d *Dependency) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{d, base}
}

type transport struct {
	dependency *Dependency
	base       http.RoundTripper
}

// CloseIdleConnections is what http.Client's method of this name calls.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchange{ctx: r.Context()}
	if err := x.begin(x.ctx, t.dependency); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as every RoundTripper must
		}
		return nil, err
	}
	return x.run(t.base, r)
}

// An exchange is a call that sends a request.
type exchange struct {
	call
	ctx    context.Context //nolint:containedctx // the caller's, for as long as the call
	sent   *sentBody       // nil: there is none
	timer  *time.Timer     // nil: no Timeout
	late   *atomic.Bool    // the Timeout came before the end of the caller's context
	cancel context.CancelCauseFunc
}

func (x *exchange) run(base http.RoundTripper, r *http.Request) (resp *http.Response, err error) {
	settled := false
	defer func() {
		if settled {
			return
		}
		x.stop(errPanicked)
		if resp != nil && resp.Body != nil {
			_ = resp.Body.Close()
		}
		x.abort(x.ctx, recover())
	}()
	sent := x.prepare(r)
	resp, err = base.RoundTrip(sent)
	if resp != nil && resp.Request == sent {
		resp.Request = r
	}
	if x.start != unread {
		x.took = max(x.d.now()-x.start, 1)
	}
	switch {
	case err == nil && resp == nil:
		err = errors.New("the RoundTripper has returned neither a response nor an error")
		fallthrough
	case err != nil:
		err = x.failed(err)
		resp = nil
	default:
		if err = x.received(resp); err != nil {
			resp = nil
		}
	}
	settled = true
	return resp, err
}

// prepare returns the request to send, which is r itself if nothing has to be
// known about it.
func (x *exchange) prepare(r *http.Request) *http.Request {
	ctx := x.ctx
	if x.t.Timeout > 0 {
		ctx, x.cancel = context.WithCancelCause(ctx)
		callers, cancel, late := x.ctx, x.cancel, new(atomic.Bool)
		x.late = late
		x.timer = time.AfterFunc(x.t.Timeout, func() {
			late.Store(callers.Err() == nil)
			cancel(context.DeadlineExceeded)
		})
	}
	hasBody := r.Body != nil && r.Body != http.NoBody
	if x.timer == nil && !hasBody {
		return r
	}
	r = r.WithContext(ctx)
	if hasBody {
		sent, length := new(sentBody), r.ContentLength
		x.sent = sent
		r.Body = sent.wrap(r.Body, length)
		if again := r.GetBody; again != nil {
			r.GetBody = func() (io.ReadCloser, error) {
				body, err := again()
				if err != nil {
					sent.broken.Store(true)
					return nil, err
				}
				return sent.wrap(body, length), nil
			}
		}
	}
	return r
}

// stop ends the time limit, and for what is not nil the context, too. It reports
// whether the limit was met.
func (x *exchange) stop(cause error) bool {
	if x.timer == nil {
		return true
	}
	inTime := x.timer.Stop() || !x.late.Load() && x.ctx.Err() != nil
	if cause != nil {
		x.cancel(cause)
	}
	return inTime
}

// failed ends a call that has got no response.
func (x *exchange) failed(err error) error {
	late := !x.stop(err)
	switch {
	case x.sent != nil && x.sent.broken.Load():
		x.end(x.ctx, OutcomeIgnored, err)
		return x.wrap(err, verdict{outcome: OutcomeIgnored})
	case late:
		if errors.Is(err, context.Canceled) { // as HTTP/2 has it, though nobody has cancelled it
			err = context.DeadlineExceeded
		}
		x.end(x.ctx, OutcomeFailed, context.DeadlineExceeded)
		return x.wrap(err, verdict{outcome: OutcomeFailed, late: true})
	}
	return x.settle(x.ctx, err)
}

// received takes a response to where its call ends, unless it came too late.
func (x *exchange) received(resp *http.Response) error {
	d := x.d
	streams := resp.StatusCode == http.StatusSwitchingProtocols ||
		strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/event-stream")
	o := ask(x.t.ClassifyResponse, resp)
	if o == OutcomeDefault && x.t.ClassifyBody != nil && !streams {
		if o = x.peek(resp); o != OutcomeDefault && resp.Request != nil {
			resp.Request = resp.Request.WithContext(context.WithValue(resp.Request.Context(), judgedBy{d}, o))
		}
	}
	if o == OutcomeDefault {
		o = byStatus(resp.StatusCode)
	}
	if !x.stop(nil) {
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		return x.failed(context.DeadlineExceeded)
	}
	if resp.StatusCode == http.StatusTooManyRequests && x.t.PauseOn429 {
		defer d.rest(x.ctx, retryAfter(resp.Header)) // when the call has ended, which may close the breaker
	}
	none := resp.Body == nil || resp.Body == http.NoBody
	if !streams && !none {
		x.follow(resp, o)
		return nil
	}
	x.end(x.ctx, o, failure(o, resp))
	switch {
	case x.timer == nil:
	case none:
		x.cancel(nil)
	default: // the context has to last as long as the stream
		resp.Body = hold(resp.Body, x.cancel)
	}
	return nil
}

// failure returns an error that stands for a response that counts as one.
func failure(o Outcome, resp *http.Response) error {
	if o == OutcomeFailed {
		return statusError(resp.StatusCode)
	}
	return nil
}

// ask asks a classifier, if there is one, and takes what it cannot mean for
// OutcomeDefault.
func ask(classify func(*http.Response) Outcome, resp *http.Response) Outcome {
	if classify == nil {
		return OutcomeDefault
	}
	return classify(resp).known()
}

func (o Outcome) known() Outcome {
	if o < OutcomeDefault || o >= outcomes {
		return OutcomeDefault
	}
	return o
}

// peeked is how much of a body ClassifyBody sees.
const peeked = 64 << 10

// peek asks ClassifyBody, and leaves the body as if it had not been read.
func (x *exchange) peek(resp *http.Response) Outcome {
	if resp.Body == nil || resp.Body == http.NoBody {
		return x.t.ClassifyBody(resp, nil).known()
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, peeked))
	resp.Body = &peekedBody{ReadCloser: resp.Body, head: head, err: err}
	if err != nil {
		return OutcomeDefault // who reads the body will find out
	}
	return x.t.ClassifyBody(resp, head).known()
}

// byStatus says what a status means.
func byStatus(status int) Outcome {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return OutcomeFailed
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return OutcomeAnswered
	case status >= 500:
		return OutcomeFailed
	case status >= 400:
		return OutcomeAnswered
	}
	return OutcomeSucceeded
}

// retryAfter returns how long the header asks to wait: 0 if it does not.
func retryAfter(h http.Header) time.Duration {
	value := strings.Trim(h.Get("Retry-After"), " \t")
	if value == "" {
		return 0
	}
	if digits := strings.TrimLeft(value, "0123456789"); digits == "" {
		s, err := strconv.ParseInt(value, 10, 64)
		if err != nil || s > int64(longest/time.Second) {
			return longest
		}
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// CheckResponse returns a [*DependencyError] for a response that means that the
// dependency failed, and for a 429, so that [Guard.WriteError] answers it with
// 502 and the response's Retry-After; nil for every other. It counts nothing: a
// [Dependency.Transport] has done that. The caller still has to close the body.
//
// It fits the ModifyResponse of [net/http/httputil.ReverseProxy].
func (d *Dependency) CheckResponse(resp *http.Response) error {
	if resp == nil {
		return fmt.Errorf("guard: dependency %q: CheckResponse was given a nil response", d.name)
	}
	e := &DependencyError{dependency: d, err: statusError(resp.StatusCode), until: unknown}
	if o, ok := d.judged(resp); ok {
		e.outcome = o
	} else if e.outcome = ask(d.tuned.Load().ClassifyResponse, resp); e.outcome == OutcomeDefault {
		e.outcome = byStatus(resp.StatusCode)
	}
	switch {
	case e.outcome == OutcomeFailed:
	case e.outcome == OutcomeAnswered && resp.StatusCode == http.StatusTooManyRequests:
		e.kind = ErrThrottled
	default:
		return nil
	}
	if wait := retryAfter(resp.Header); wait > 0 {
		e.until = after(d.now(), min(wait, d.tuned.Load().MaxOpenFor))
	}
	return e
}

// judgedBy is the key of what ClassifyBody has said, in the context of a
// response's request: its body may be none, or be wrapped by anybody.
type judgedBy struct{ dependency *Dependency }

// judged returns what the Transport has made of a response, if it is known.
func (d *Dependency) judged(resp *http.Response) (o Outcome, ok bool) {
	if b, ok := resp.Body.(*receivedBody); ok && b.call.d == d {
		return b.outcome, true
	}
	if resp.Request != nil {
		o, ok = resp.Request.Context().Value(judgedBy{d}).(Outcome)
	}
	return o, ok
}
