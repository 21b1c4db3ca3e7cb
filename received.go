package guard

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
)

// follow has the call end with the response's body.
func (x *exchange) follow(resp *http.Response, o Outcome) {
	b := &receivedBody{ReadCloser: resp.Body, call: x.call, ctx: x.ctx, outcome: o, status: resp.StatusCode, cancel: x.cancel}
	resp.Body = b
	// A body that is abandoned must not keep its place for ever. With a context
	// that ends, it is that which ends it. Else the garbage collector finds it, if
	// places are scarce; if they are not, it needs none from here on.
	switch {
	case x.ctx.Done() != nil:
		b.unhook = context.AfterFunc(x.ctx, b.abandoned)
	case x.probe != nil || x.t.Concurrency.Max > 0:
		b.final = true
		runtime.SetFinalizer(b, (*receivedBody).abandoned)
	default:
		b.call.leave()
	}
}

// receivedBody is the body of a response whose call goes on.
type receivedBody struct {
	io.ReadCloser
	call    call
	ctx     context.Context //nolint:containedctx // of the call
	cancel  context.CancelCauseFunc
	unhook  func() bool
	final   bool    // it has a finalizer
	outcome Outcome // by the header
	status  int
	ended   atomic.Bool
}

func (b *receivedBody) judged() Outcome { return b.outcome }

// Read implements io.Reader.
func (b *receivedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil || b.ended.Load():
	case err == io.EOF: //nolint:errorlint // as readers do
		b.end(b.outcome, nil)
	default:
		o, _ := b.call.judge(b.ctx, err)
		b.end(o, err)
		if o == OutcomeFailed {
			err = b.call.wrap(err, o, false)
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *receivedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end(b.outcome, nil)
	return err
}

// abandoned ends the call of a body that nobody reads to its end.
func (b *receivedBody) abandoned() {
	o := OutcomeIgnored
	if err := b.ctx.Err(); err != nil {
		o = b.call.whoseFault(b.ctx, err)
	}
	b.end(o, b.ctx.Err())
}

func (b *receivedBody) end(o Outcome, err error) {
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	switch {
	case b.unhook != nil:
		b.unhook()
	case b.final:
		runtime.SetFinalizer(b, nil)
	}
	if b.cancel != nil {
		b.cancel(nil)
	}
	if o == OutcomeFailed && err == nil {
		err = statusError(b.status)
	}
	b.call.end(b.ctx, o, err)
}

// peekedBody is a body of which the head has been read, up to err.
type peekedBody struct {
	io.ReadCloser
	head []byte
	err  error
}

// Read implements io.Reader.
func (u *peekedBody) Read(p []byte) (int, error) {
	switch {
	case len(u.head) > 0:
		n := copy(p, u.head)
		u.head = u.head[n:]
		return n, nil
	case u.err != nil:
		return 0, u.err
	}
	return u.ReadCloser.Read(p)
}

// hold returns a body, writable if it was, that calls cancel when it is closed.
func hold(body io.ReadCloser, cancel context.CancelCauseFunc) io.ReadCloser {
	if w, ok := body.(io.ReadWriteCloser); ok {
		return heldWriter{held{body, cancel}, w}
	}
	return held{body, cancel}
}

type held struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (h held) Close() error {
	err := h.ReadCloser.Close()
	h.cancel(nil)
	return err
}

type heldWriter struct {
	held
	io.Writer
}
