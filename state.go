package guard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// State is the state of a circuit breaker.
type State int

// The states of a breaker.
const (
	StateClosed   State = iota // calls go through
	StateHalfOpen              // a few do, as probes
	StateOpen                  // none does
)

// String returns "closed", "half-open" or "open".
func (s State) String() string { return nameOf(int(s), "closed", "half-open", "open") }

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *State) UnmarshalText(text []byte) error { return unmarshalName(s, text, StateOpen) }

// Mode says who decides on the state of a breaker; see [Dependency.Force].
type Mode int

// The modes of a breaker.
const (
	ModeAuto   Mode = iota // the breaker decides
	ModeOpen               // it is held open
	ModeClosed             // it is held closed
)

// String returns "auto", "open" or "closed".
func (m Mode) String() string { return nameOf(int(m), "auto", "open", "closed") }

// MarshalText implements [encoding.TextMarshaler].
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Mode) UnmarshalText(text []byte) error { return unmarshalName(m, text, ModeClosed) }

// unmarshalName finds the value, up to last, that has the name.
func unmarshalName[T interface {
	~int
	fmt.Stringer
}](to *T, text []byte, last T) error {
	for v := T(0); v <= last; v++ {
		if v.String() == string(text) {
			*to = v
			return nil
		}
	}
	return fmt.Errorf("guard: there is no %T %q", last, text)
}

// A phase is the time between two changes of a breaker. A call keeps the phase
// that it began in, so that a late result counts there, where it changes nothing
// any more. Legal moves:
//
//	closed -> open              too many failures or slow calls
//	open -> half-open           its time is over
//	half-open -> closed, open   the probes succeeded; one failed or hung
//
// and by Force from each to each.
type phase struct {
	state   State
	mode    Mode
	since   int64
	until   int64            // open: when it is over
	refusal *DependencyError // open, half-open: shared by all that are refused
	byCheck bool             // open: because the Check failed

	window window       // closed: the outcomes
	streak atomic.Int64 // closed: failures since the last success

	// Half-open; guarded by the dependency's mu.
	probes []*probe // that are out
	wanted int
	passed int
}

// A probe is a call, or a run of the Check, that a half-open breaker let through.
type probe struct {
	deadline int64
	check    bool
}

// forever is the instant at which nothing ever happens.
const forever = math.MaxInt64

// A pause is what an upstream's 429 asked for. It overlays the phase, which goes
// on below it.
type pause struct {
	until   int64
	refusal *DependencyError
}

func (d *Dependency) closed(now int64) *phase {
	ph := &phase{state: StateClosed, since: now}
	ph.window.slot = max(int64(d.tuned.Load().Window)/windowSlots, 1)
	return ph
}

func (ph *phase) span() int64 { return ph.window.slot * windowSlots }

// newCircuit returns the state machine of record. It is told verdicts, in an
// instant each, and holds nothing in between: so nothing can leave it stuck. Its
// own open period is as good as none, since ours is in front of it; a strict
// comparison in it would otherwise refuse who waits just as long as he was told.
//
// Its callbacks run under its lock, and ours: they only take notes.
func (d *Dependency) newCircuit() *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   1,
		Timeout:       1,
		ReadyToTrip:   func(gobreaker.Counts) bool { return true }, // or it would not be told
		OnStateChange: func(_ string, _, to gobreaker.State) { d.moved = to != gobreaker.StateHalfOpen },
	})
}

// feed tells the circuit a verdict, and reports whether it has closed or opened.
func (d *Dependency) feed(err error) bool {
	d.moved = false
	if done, err2 := d.circuit.Allow(); err2 == nil {
		done(err)
	}
	return d.moved
}

// A question is whether a call that ended badly trips the breaker.
type question struct {
	phase        *phase
	limits       *tunedDependency
	now          int64
	failed, slow bool
	tally        tally
	why          string
}

// trips answers it.
func (q *question) trips() bool {
	q.tally = q.phase.window.sum(q.now)
	share := func(n int64) float64 { return float64(n) / float64(max(q.tally.calls, 1)) }
	least := int64(q.limits.MinCalls)
	switch {
	case q.failed && q.phase.streak.Load() >= least:
		q.why = "failures in a row"
	case q.failed && q.tally.calls >= least && share(q.tally.failed) >= q.limits.FailureRate:
		q.why = "failure rate"
	case q.slow && q.tally.calls >= least && share(q.tally.slow) >= q.limits.SlowRate:
		q.why = "slow calls"
	}
	return q.why != ""
}

var errVerdict = errors.New("guard: a call failed or was slow") // the circuit only asks whether there is one

// report takes the result of a call to its phase, if that still lasts.
func (d *Dependency) report(ctx context.Context, c *call, o Outcome, slow bool, now int64, err error) {
	ph, failed := c.phase, o == OutcomeFailed
	closed := ph.state == StateClosed
	if closed {
		if !failed && o != OutcomeSucceeded {
			return
		}
		s := ph.window.at(now)
		if failed {
			s.failed.Add(1)
			ph.streak.Add(1)
		} else {
			s.fine.Add(1)
			ph.streak.Store(0)
		}
		if slow {
			s.slow.Add(1)
		} else if !failed {
			return
		}
	}
	kind := ""
	if failed {
		kind = failureKind(err) // may call methods of the error, so it needs no lock
	}
	d.mu.Lock()
	d.cause = ctx
	if failed {
		d.blame, d.blamed = kind, now
	}
	switch d.advance(now); {
	case d.phase.Load() != ph || ph.mode != ModeAuto:
	case closed:
		d.ask = question{phase: ph, limits: d.tuned.Load(), now: now, failed: failed, slow: slow}
		if d.ask.trips() && d.feed(errVerdict) {
			d.trip(d.now(), err) // not before the circuit did, which has its own clock
		}
	default:
		if slow && o == OutcomeSucceeded {
			o = OutcomeFailed
		}
		d.verdict(c.probe, o, now, err)
	}
	d.cause = nil
	d.mu.Unlock()
	d.tell()
}

// verdict takes the result of a probe of the present phase, which is half-open.
// The caller holds mu.
func (d *Dependency) verdict(p *probe, o Outcome, now int64, err error) {
	ph, byCheck := d.phase.Load(), p == nil || p.check
	for i := range ph.probes {
		if ph.probes[i] == p {
			ph.probes = append(ph.probes[:i:i], ph.probes[i+1:]...)
			break
		}
	}
	switch o {
	case OutcomeIgnored:
	case OutcomeFailed:
		if d.feed(errVerdict) {
			d.reopen(d.now(), "probe failed", byCheck, err)
		}
	case OutcomeSucceeded, OutcomeAnswered, OutcomeDefault, outcomes:
		if ph.passed++; ph.passed >= ph.wanted && d.feed(nil) {
			d.byCheck = byCheck
			d.enter(d.closed(now), now, "probes succeeded", nil)
		}
	}
}

// trip opens a closed breaker. The open time is that of the last time if the
// breaker has not stayed closed for a whole window; and twice that if it was
// closed by a Check, since that was wrong.
func (d *Dependency) trip(now int64, err error) {
	ph := d.phase.Load()
	switch {
	case d.period == 0 || now-ph.since >= ph.span():
		d.period = 0
	case d.byCheck:
		d.grow()
	}
	d.open(now, d.ask.why, false, err)
}

func (d *Dependency) reopen(at int64, why string, byCheck bool, err error) {
	d.grow()
	d.open(at, why, byCheck, err)
}

func (d *Dependency) grow() {
	if most := d.tuned.Load().MaxOpenFor; d.period > most/2 {
		d.period = most
	} else {
		d.period *= 2
	}
}

func (d *Dependency) open(at int64, why string, byCheck bool, err error) {
	t := d.tuned.Load()
	d.period = min(max(d.period, t.OpenFor), t.MaxOpenFor)
	jitter := rand.N(d.period/5+1) - d.period/10 //nolint:gosec // no secret
	until := after(at, d.period+min(jitter, t.MaxOpenFor-d.period))
	d.enter(&phase{state: StateOpen, since: at, until: until, refusal: d.refusal(ErrOpen, until), byCheck: byCheck}, at, why, err)
}

// halfOpen ends an open phase.
func (d *Dependency) halfOpen(at int64, why string) {
	d.enter(&phase{
		state: StateHalfOpen, since: at, wanted: d.tuned.Load().Probes, refusal: d.refusal(ErrOpen, unknown),
	}, at, why, nil)
}

// enter begins a phase. Nothing else changes the state. The caller holds mu.
func (d *Dependency) enter(ph *phase, at int64, why string, err error) {
	d.phase.Store(ph)
	d.note(at, why, err)
	d.watchOver()
}

// advance does what the clock asks for, and returns the present phase. The
// caller holds mu.
func (d *Dependency) advance(now int64) *phase {
	for {
		ph := d.phase.Load()
		if ph.state == StateOpen && now >= ph.until {
			d.halfOpen(ph.until, "open time is over")
			continue
		}
		hung := &probe{deadline: forever}
		for _, p := range ph.probes {
			if p.deadline < hung.deadline {
				hung = p
			}
		}
		if hung.deadline <= now {
			// The circuit is not told, and stays half-open with nothing out. It could
			// not follow if our open time, which counts from the deadline, is over, too.
			d.reopen(hung.deadline, "probe hung", hung.check, nil)
			continue
		}
		if p := d.pause.Load(); p != nil && now >= p.until {
			d.pause.Store(nil)
			d.note(p.until, "pause is over", nil)
		}
		return ph
	}
}

// visible returns the state that everybody sees. The caller holds mu, and has
// advanced.
func (d *Dependency) visible(now int64) State {
	ph := d.phase.Load()
	if p := d.pause.Load(); p != nil && now < p.until && ph.mode == ModeAuto {
		return StateOpen
	}
	return ph.state
}

// refusing returns what a call is refused with now, or nil. The caller holds mu,
// and has advanced.
func (d *Dependency) refusing(now int64) *DependencyError {
	ph := d.phase.Load()
	if p := d.pause.Load(); p != nil && now < p.until && ph.mode == ModeAuto && p.until > ph.until {
		return p.refusal
	}
	switch ph.state {
	case StateOpen:
		return ph.refusal
	case StateHalfOpen:
		if len(ph.probes)+ph.passed >= ph.wanted || d.watched(now) {
			return ph.refusal
		}
	case StateClosed:
	}
	return nil
}

// rest pauses calls, unless they are paused for longer already.
func (d *Dependency) rest(ctx context.Context, wait time.Duration) {
	d.mu.Lock()
	now := d.now()
	ph := d.advance(now)
	until := after(now, min(wait, d.tuned.Load().MaxOpenFor))
	d.cause = ctx
	if p := d.pause.Load(); ph.mode == ModeAuto && wait > 0 && (p == nil || p.until < until) {
		d.pause.Store(&pause{until: until, refusal: d.refusal(ErrThrottled, until)})
		d.note(now, "throttled", nil)
	}
	d.cause = nil
	d.mu.Unlock()
	d.tell()
}

// catchUp does what the clock asks for, and tells it.
func (d *Dependency) catchUp(ctx context.Context) {
	d.mu.Lock()
	d.cause = ctx
	d.advance(d.now())
	d.cause = nil
	d.mu.Unlock()
	d.tell()
}
