package genesystest

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"
)

// A Fault is a way to misbehave, for [Service.Inject]. The zero Fault is none.
type Fault struct {
	kind      kind
	delay     time.Duration
	code      int
	prefix    string
	good, bad int
}

type kind int

const (
	none kind = iota
	down
	hang
	slow
	status
	failed
	throttle
	reset
)

// Down closes the connection of each request without an answer.
func Down() Fault { return Fault{kind: down} }

// Hang answers nothing, until the client hangs up, another fault is injected or
// the server is closed.
func Hang() Fault { return Fault{kind: hang} }

// Slow answers as always, but only after d.
func Slow(d time.Duration) Fault { return Fault{kind: slow, delay: d} }

// Status answers everything with an HTTP status, 400 to 599, and the error body
// of the product.
func Status(code int) Fault { return Fault{kind: status, code: code} }

// Failure answers everything with the HTTP status 200, and a body whose
// statusCode is code: as GMS reports failures (1: try again; 2: do not), and GWS
// may (4: internal error). The other products do not do that.
func Failure(code int) Fault { return Fault{kind: failed, code: code} }

// Throttle answers everything with 429 and a Retry-After, in whole seconds,
// rounded up; without one if d is 0.
func Throttle(d time.Duration) Fault { return Fault{kind: throttle, delay: d} }

// Reset answers as always, but closes the connection after half of the body.
func Reset() Fault { return Fault{kind: reset} }

// Flap returns f with pauses: good requests are served well, then bad ones
// misbehave, and so on. It goes by requests and not by time, so that a test knows.
func (f Fault) Flap(good, bad int) Fault {
	f.good, f.bad = max(good, 0), max(bad, 0)
	return f
}

// On returns f for requests alone whose path begins with prefix.
func (f Fault) On(prefix string) Fault {
	f.prefix = prefix
	return f
}

// serve answers a request as the fault would have it.
func (f Fault) serve(v *Service, w http.ResponseWriter, r *http.Request, changed <-chan struct{}) {
	switch f.kind {
	case none:
	case down:
		drop(w)
		return
	case hang:
		select {
		case <-r.Context().Done():
		case <-changed:
		}
		drop(w)
		return
	case slow:
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	case status:
		v.fail(v, w, f.code)
		return
	case failed:
		writeJSON(w, http.StatusOK, object{"statusCode": f.code, "statusMessage": "failed by order"})
		return
	case throttle:
		if f.delay > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.delay.Seconds()))))
		}
		v.fail(v, w, http.StatusTooManyRequests)
		return
	case reset:
		v.half(w, r)
		return
	}
	v.mux.ServeHTTP(w, r)
}

// half sends the header of an answer, and half of its body.
func (v *Service) half(w http.ResponseWriter, r *http.Request) {
	whole := recorder{header: make(http.Header), code: http.StatusOK}
	v.mux.ServeHTTP(&whole, r)
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	body := whole.body.Bytes()
	whole.header.Set("Content-Length", strconv.Itoa(max(len(body), 2)))
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\n", whole.code, http.StatusText(whole.code))
	_ = whole.header.Write(buf)
	_, _ = fmt.Fprintf(buf, "\r\n%s", body[:len(body)/2])
	_ = buf.Flush()
}

// drop resets the connection.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// A recorder keeps an answer.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
