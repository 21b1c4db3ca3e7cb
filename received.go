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
	b := &receivedBody{
		ReadCloser: resp.Body, call: x.call, ctx: x.ctx, sent: x.sent,
		outcome: o, status: resp.StatusCode, cancel: x.cancel, overdue: x.ctx.Err() != nil,
	}
	x.ended = true // the copy of the call goes on
	resp.Body = b
	// A body that is abandoned must not keep its place for ever. With a context
	// that ends, it is that which ends it. Else the garbage collector finds it, if
	// places are scarce; if they are not, it needs none from here on. Nor has it
	// anything more to tell if it has failed, which must count if nobody closes it.
	switch {
	case x.ctx.Done() != nil:
		b.unhook = context.AfterFunc(x.ctx, b.abandoned)
	case x.probe != nil || x.t.Concurrency.Max > 0 || x.seat != noSeat:
		// What is in a synctest bubble, where times have no monotonic part, may not be
		// touched from outside: there the place is lost.
		if b.final = x.d.start != x.d.start.Round(0); b.final {
			runtime.SetFinalizer(b, func(b *receivedBody) { go b.abandoned() }) // hooks may block
		}
	case o == OutcomeFailed:
		b.call.end(x.ctx, o, failure(o, resp))
	default:
		b.call.leaveEarly()
	}
}

// receivedBody is the body of a response whose call goes on.
type receivedBody struct {
	io.ReadCloser
	call    call
	ctx     context.Context //nolint:containedctx // of the call
	cancel  context.CancelCauseFunc
	unhook  func() bool // for Read and Close only: it is set when abandoned may run already
	sent    *sentBody   // nil: there is none
	outcome Outcome     // by the header
	status  int
	final   bool         // it has a finalizer
	overdue bool         // the context had ended before anybody had the body
	reading atomic.Int32 // how many are who began in time
	ended   atomic.Bool
	closed  atomic.Bool
}

// Read implements io.Reader.
func (b *receivedBody) Read(p []byte) (int, error) {
	inTime := b.overdue || b.ctx.Err() == nil
	if inTime {
		b.reading.Add(1)
		defer b.reading.Add(-1) // not before the call has ended by what was read
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil || b.closed.Load():
	case err == io.EOF: //nolint:errorlint // as readers do
		b.end(b.outcome, nil)
	default:
		v := verdict{outcome: OutcomeIgnored}
		if b.sent == nil || !b.sent.broken.Load() {
			v = b.call.judge(b.ctx, err)
		}
		if v.outcome == OutcomeFailed && !inTime {
			v.outcome = b.outcome // it was the reader who was late
		}
		b.end(v.outcome, err)
		err = b.call.wrap(err, v)
	}
	return n, err
}

// Close implements io.Closer.
func (b *receivedBody) Close() error {
	b.closed.Store(true)
	err := b.ReadCloser.Close()
	b.end(b.outcome, nil)
	return err
}

// end ends the call for who has the body.
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
	b.finish(o, err)
}

// abandoned ends the call of a body that nobody reads to its end.
func (b *receivedBody) abandoned() {
	waiting := b.reading.Load() > 0 // before the call ends: then who has waited goes
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	o := OutcomeIgnored
	if err := b.ctx.Err(); err != nil {
		o = b.call.whoseFault(b.ctx, err)
	} else if b.outcome == OutcomeFailed { // which the header has told, whoever reads the rest
		o = OutcomeFailed
	}
	if o == OutcomeFailed && !b.overdue && !waiting {
		o = b.outcome // it was the reader who was late
	}
	b.finish(o, b.ctx.Err())
}

func (b *receivedBody) finish(o Outcome, err error) {
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
	head   []byte
	err    error
	closed atomic.Bool
}

// Read implements io.Reader.
func (u *peekedBody) Read(p []byte) (int, error) {
	switch {
	case u.closed.Load(): // by then the head is gone, too
	case len(u.head) > 0:
		n := copy(p, u.head)
		u.head = u.head[n:]
		return n, nil
	case u.err != nil:
		return 0, u.err
	}
	return u.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (u *peekedBody) Close() error {
	u.closed.Store(true)
	return u.ReadCloser.Close()
}

// hold returns a body that calls cancel when it is closed, and can else do what
// it could: that of an upgrade can be written to.
func hold(body io.ReadCloser, cancel context.CancelCauseFunc) io.ReadCloser {
	h := held{body, cancel}
	w, ok := body.(io.ReadWriteCloser)
	if !ok {
		return h
	}
	if half, ok := body.(closeWriter); ok {
		return heldHalves{heldWriter{h, w}, half}
	}
	return heldWriter{h, w}
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

// closeWriter is what can be closed for writing alone.
type closeWriter interface{ CloseWrite() error }

type heldHalves struct {
	heldWriter
	closeWriter
}
