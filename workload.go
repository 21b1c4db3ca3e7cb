package guard

// A workload knows how long each kind of request takes, in proportion to the
// others, so that a change of their mix is not taken for a change of the server.
// A kind is a route, or the pattern of a mux, and how the request ended: errors
// are often fast, and work that was cut short is another kind of work.
type workload struct {
	kinds map[kind]*expected
	rest  expected    // of kinds beyond maxKinds
	seen  []*expected // in the present span
}

type kind struct {
	route string
	end   ending
}

// An ending is how a request or a call ended, as far as its duration depends on it.
type ending int8

const (
	endedWell      ending = iota
	endedRefused          // by the application: 4xx
	endedBadly            // 5xx; a call that failed
	endedUnheard          // the client has gone
	endedStreaming        // it goes on, as a stream
	endedOddly            // tells nothing of how long work takes: a panic, a refusal, an aborted connection
)

// expected is how long a kind of request takes.
type expected struct {
	seconds float64
	samples int     // that it was learned from, up to slowness
	n       int     // requests of the present span
	sum     float64 // of what they took
}

const (
	firstSamples = 32
	slowness     = 128 // samples, by which what is expected follows what is seen
)

// maxKinds bounds the kinds that are told apart. Patterns are the program's, but
// nothing keeps a program from making more of them.
const maxKinds = 1000

// of returns what to expect of a kind.
func (w *workload) of(k kind) *expected {
	e := w.kinds[k]
	switch {
	case e != nil:
	case len(w.kinds) >= maxKinds:
		e = &w.rest
	default:
		if w.kinds == nil {
			w.kinds = map[kind]*expected{}
		}
		e = new(expected)
		w.kinds[k] = e
	}
	return e
}

// usual returns how long requests of a route take that end well, or 0.
func (w *workload) usual(route string) float64 {
	if e := w.kinds[kind{route: route}]; e != nil {
		return e.seconds
	}
	return 0
}

// saw returns how long a request should have taken which took so long, while all
// took stretch times what was expected.
func (w *workload) saw(k kind, seconds, stretch float64) float64 {
	e := w.of(k)
	if e.n == 0 {
		w.seen = append(w.seen, e)
	}
	e.n++
	e.sum += seconds
	if e.samples == 0 {
		e.seconds = e.sum / float64(e.n) / stretch
	}
	return e.seconds
}

// close ends a span, in which all took stretch times what was expected, and
// learns from it: of a kind that is known a little only if there was no queue,
// since in one short requests and long ones become alike. Only proportions move;
// the sum of what was expected does not.
func (w *workload) close(stretch float64, free bool) {
	for _, e := range w.seen {
		if free || e.samples < firstSamples {
			n, known := float64(e.n), float64(e.samples)
			e.seconds += (e.sum/n/stretch - e.seconds) * n / (n + known)
			e.samples = min(e.samples+e.n, slowness)
		}
		e.n, e.sum = 0, 0
	}
	w.seen = w.seen[:0]
}
