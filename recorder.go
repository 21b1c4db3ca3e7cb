package guard

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// A recorder is one stage of a request: its ResponseWriter, which knows whether
// the response has begun, and what it took.
type recorder struct {
	http.ResponseWriter
	guard *Guard
	outer *recorder     // the stage of the same guard around this one, or nil
	mux   *http.Request // set by Mux: see WriteHeader
	*taken
	took     int          // tokens of the guard's own limiter
	paid     int          // likewise, by this stage and those around it together
	account  atomic.Int64 // what became of paid: see held
	status   int16        // of the final header, 0 before it is sent
	missed   int16        // what the mux answered that matched nothing, 0 if it did
	hijacked bool         // the connection is the handler's
	pass     bool         // exempt, or refused in shadow mode: inner stages pass too
	seat     seat         // among the guard's requests in flight
	conduct
}

// newRecorder makes room for what is taken in the same allocation.
func newRecorder(takes bool) *recorder {
	if !takes {
		return new(recorder)
	}
	both := new(struct {
		recorder
		room taken
	})
	both.taken = &both.room
	return &both.recorder
}

// find returns the stage of the guard (nil: of any guard) that w is or wraps,
// or nil.
func find(w http.ResponseWriter, g *Guard) *recorder {
	for {
		switch v := w.(type) {
		case interface{ stage() *recorder }:
			if rec := v.stage(); g == nil || rec.guard == g {
				return rec
			}
			w = v.stage().ResponseWriter
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

func (rec *recorder) stage() *recorder { return rec }

func (rec *recorder) passed() bool { return rec != nil && rec.pass }

// begun reports whether it is too late for another response, be it that what is
// around this stage has begun one.
func (rec *recorder) begun() bool {
	return rec != nil && (rec.status != 0 || rec.hijacked || find(rec.ResponseWriter, nil).begun())
}

// unmatched returns what to answer where the mux matched nothing.
func (rec *recorder) unmatched() error {
	missed := int(rec.missed)
	rec.mux, rec.missed = nil, 0
	switch missed {
	case 0:
		return nil
	case http.StatusNotFound:
		return NotFound("No resource has this URI.")
	case http.StatusMethodNotAllowed:
		return &Error{Status: missed, Detail: "The resource does not support this method; the Allow header names those it does."}
	}
	return &Error{Status: missed}
}

// leave ends the stage, in whatever way the handler did.
func (rec *recorder) leave(w http.ResponseWriter, r *http.Request, rt *Route) {
	p := recover()
	rec.land(r, rt, p)
	rec.settleUp()
	defer rec.record(r, rt)              // also if a hook ends the goroutine
	aborted := p == http.ErrAbortHandler //nolint:errorlint // a wrapped one is not an abort for net/http either
	switch {
	case aborted:
		if rec.outcome() == RequestServed {
			rec.became(RequestAborted, notRefused)
		}
	case p != nil:
		aborted = rec.panicked(w, r, rt, p)
	case !rec.returned && rec.outcome() == RequestServed: // runtime.Goexit, which goes on
		rec.became(RequestAborted, notRefused)
	}
	if aborted {
		panic(http.ErrAbortHandler)
	}
}

// panicked answers a request whose handler has panicked, or reports that it is
// too late for that.
func (rec *recorder) panicked(w http.ResponseWriter, r *http.Request, rt *Route, p any) (tooLate bool) {
	g, id, stack := rec.guard, RequestID(r), debug.Stack()
	rec.became(RequestPanicked, notRefused)
	g.log.panicked(r, id, p, stack)
	if hook := g.hooks.Panicked; hook != nil {
		g.hooked(func() { hook(r.Context(), PanicEvent{Route: rt.label(), Value: p, Stack: stack}) })
	}
	if rec.begun() {
		return true
	}
	rec.mux, rec.missed = nil, 0
	e, _ := g.tuned.Load().answer(r, nil)
	writeProblem(w, r, &e, id)
	return false
}

// Unwrap lets http.ResponseController reach what the recorder does not have.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Informational headers pass.
//
// A mux that finds no pattern for a request answers it itself; it has then left
// the request's Pattern empty. That answer is swallowed, to be given in the
// format that the client accepts.
func (rec *recorder) WriteHeader(status int) {
	if rec.mux != nil && status >= 400 && rec.mux.Pattern == "" && rec.status == 0 {
		rec.missed = int16(status) //nolint:gosec // 404 or 405, by the mux
		return
	}
	rec.ResponseWriter.WriteHeader(status)
	if rec.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		rec.status = int16(status) //nolint:gosec // at most 999, or WriteHeader has panicked
	}
}

// Write implements http.ResponseWriter.
func (rec *recorder) Write(b []byte) (int, error) {
	if rec.swallows() {
		return len(b), nil
	}
	rec.begin()
	return rec.ResponseWriter.Write(b)
}

// WriteString implements io.StringWriter.
func (rec *recorder) WriteString(s string) (int, error) {
	if rec.swallows() {
		return len(s), nil
	}
	rec.begin()
	return io.WriteString(rec.ResponseWriter, s)
}

// ReadFrom implements io.ReaderFrom, by which files are sent without copying.
func (rec *recorder) ReadFrom(src io.Reader) (n int64, err error) {
	if rec.swallows() {
		return io.Copy(io.Discard, src)
	}
	if below, ok := rec.ResponseWriter.(interface{ stage() *recorder }); ok {
		defer func() {
			if below.stage().begun() {
				rec.begin()
			}
		}()
		return below.stage().ReadFrom(src)
	}
	to, ok := rec.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{rec}, src)
	}
	if rec.status == 0 { // src may fail, panic or have nothing: then nothing is sent
		n, err = io.CopyN(struct{ io.Writer }{rec}, src, 512)
		if err == io.EOF { //nolint:errorlint // as io.Copy does
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	rest, err := to.ReadFrom(src)
	return n + rest, err
}

// FlushError is what http.ResponseController calls to flush.
func (rec *recorder) FlushError() error {
	if rec.swallows() {
		return nil
	}
	first := rec.status == 0
	rec.begin()
	err := http.NewResponseController(rec.ResponseWriter).Flush()
	switch {
	case !errors.Is(err, http.ErrNotSupported):
		rec.stream()
	case first:
		rec.status = 0
	}
	return err
}

func (rec *recorder) flush() { _ = rec.FlushError() } // http.Flusher has no way to tell

func (rec *recorder) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := rec.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		rec.hijacked = true
		rec.leaveFlight(kind{end: endedOddly}) // a WebSocket may live for hours, and is no request any more
	}
	return conn, rw, err
}

func (rec *recorder) push(target string, opts *http.PushOptions) error {
	return rec.ResponseWriter.(http.Pusher).Push(target, opts)
}

// swallows reports whether what is written is part of an answer of the mux that
// another one replaces.
func (rec *recorder) swallows() bool { return rec.missed != 0 }

// begin notes that the header goes out with what is about to be sent.
func (rec *recorder) begin() {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
}

// view returns the recorder as a ResponseWriter with just those optional
// interfaces that the writer below has, since handlers ask for them by type
// assertion. The types are one pointer each, so that none is allocated.
func (rec *recorder) view() http.ResponseWriter {
	_, flush := rec.ResponseWriter.(http.Flusher)
	_, hijack := rec.ResponseWriter.(http.Hijacker)
	_, push := rec.ResponseWriter.(http.Pusher)
	switch {
	case flush && hijack && push:
		return viewFHP{rec}
	case flush && hijack:
		return viewFH{rec}
	case flush && push:
		return viewFP{rec}
	case hijack && push:
		return viewHP{rec}
	case flush:
		return viewF{rec}
	case hijack:
		return viewH{rec}
	case push:
		return viewP{rec}
	}
	return rec
}

type (
	viewF   struct{ *recorder }
	viewH   struct{ *recorder }
	viewP   struct{ *recorder }
	viewFH  struct{ *recorder }
	viewFP  struct{ *recorder }
	viewHP  struct{ *recorder }
	viewFHP struct{ *recorder }
)

func (v viewF) Flush()   { v.flush() }
func (v viewFH) Flush()  { v.flush() }
func (v viewFP) Flush()  { v.flush() }
func (v viewFHP) Flush() { v.flush() }

func (v viewH) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return v.hijack() }
func (v viewFH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return v.hijack() }
func (v viewHP) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return v.hijack() }
func (v viewFHP) Hijack() (net.Conn, *bufio.ReadWriter, error) { return v.hijack() }

func (v viewP) Push(target string, o *http.PushOptions) error   { return v.push(target, o) }
func (v viewFP) Push(target string, o *http.PushOptions) error  { return v.push(target, o) }
func (v viewHP) Push(target string, o *http.PushOptions) error  { return v.push(target, o) }
func (v viewFHP) Push(target string, o *http.PushOptions) error { return v.push(target, o) }
