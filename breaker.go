package guard

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// A Dependency is something that the server calls and that can fail: a
// database, another service. It is a circuit breaker around the calls, with a
// bound on how many there are at once and a time limit for each.
//
// The breaker is closed at first. It opens when too many calls fail or are slow,
// and then refuses calls, so that a dead dependency costs nothing. After a while
// it is half-open: it lets a few calls through as probes, or runs the Check, and
// closes when they succeed, or opens again for longer when one fails.
//
// Make one with [Guard.Dependency]. All methods are safe for concurrent use.
type Dependency struct {
	guard *Guard
	name  string
	start time.Time // instants are nanoseconds since start, by the monotonic clock
	tuned atomic.Pointer[tunedDependency]
	phase atomic.Pointer[phase]
	pause atomic.Pointer[pause] // nil: none
	full  *DependencyError      // shared by all that are refused for the Concurrency

	_       [64]byte // everybody reads the above and writes the below
	calls   calls
	bound   *bound // of the calls, where they queue
	latency histogram

	mu       sync.Mutex // guards the fields below, and half-open phases
	circuit  *gobreaker.TwoStepCircuitBreaker[struct{}]
	ask      question      // of the call that ended last, of those that failed or were slow
	moved    bool          // the circuit has come to a verdict
	period   time.Duration // of the last open phase, before jitter; 0: none yet
	byCheck  bool          // the Check has closed it
	told     State         // what the events say it is
	toldAt   int64         // since when
	blame    string        // the kind of the last failure
	blamed   int64         // when
	watching bool          // the goroutine is there that runs the Check
	wake     chan struct{} // has it look again at how long to wait
	checkEnd int64         // when the running Check must be back; 0: none runs
	cancel   context.CancelFunc
	cause    context.Context //nolint:containedctx // of what is being noted under mu, and no longer
	happened []happening     // that are to be told
	telling  bool            // by somebody, so by nobody else
}

func newDependency(g *Guard, name string, t *tunedDependency) *Dependency {
	d := &Dependency{guard: g, name: name, start: time.Now(), wake: make(chan struct{}, 1)}
	d.full = d.refusal(ErrSaturated, unknown)
	d.bound = newBound(d.start, false, func(e OverloadEvent) {
		e.Dependency = name
		g.overloaded(e)
	})
	d.bound.configure(t.Concurrency)
	d.tuned.Store(t)
	d.phase.Store(d.closed(0))
	d.circuit = d.newCircuit()
	return d
}

// Do calls fn, in the caller's goroutine, unless the breaker is open, the
// dependency is saturated, or ctx has ended: then it returns an error at once.
// fn gets a context that ends with the Timeout, and must return when that does:
// Do never abandons it. What fn does counts as the dependency's: do not answer a
// client in it, who may read slowly.
//
// What fn returns decides what becomes of the breaker and of the error:
//
//   - nil is a success.
//   - An [*Error] with a status under 500 is the application's own answer, such
//     as "no such visit": a success, returned untouched.
//   - The [*DependencyError] of another dependency, a [*RefusedError] and an
//     [*http.MaxBytesError] are ignored, and returned untouched.
//   - If ctx was cancelled, the call is ignored; if its deadline has passed, it
//     failed if it had at least FairShare, and is ignored if not.
//   - Everything else, the Timeout included, is a failure.
//
// DependencyConfig.Classify can say otherwise, except for ends of contexts.
// What failed or was merely answered comes back as a [*DependencyError], and so
// do ends of contexts; [Guard.WriteError] answers that with 502.
//
// A panic of fn is a failure and goes on; runtime.Goexit is ignored. Without a
// Timeout, Do allocates nothing.
func (d *Dependency) Do(ctx context.Context, fn func(context.Context) error) error {
	if fn == nil {
		return fmt.Errorf("guard: dependency %q: Do was given a nil function", d.name)
	}
	var c call
	if err := c.begin(ctx, d); err != nil {
		return err
	}
	return c.run(ctx, fn)
}

// Call is [Dependency.Do] for a function that returns a value, too.
func Call[T any](ctx context.Context, d *Dependency, fn func(context.Context) (T, error)) (T, error) {
	var v T
	if fn == nil {
		return v, fmt.Errorf("guard: dependency %q: Call was given a nil function", d.name)
	}
	err := d.Do(ctx, func(ctx context.Context) (err error) {
		v, err = fn(ctx)
		return err
	})
	return v, err
}

// Acquire begins a call that ends with [Permit.Done], for iterators and streams
// that no single function spans. It refuses as Do does, and then the Permit is
// nil, on which Done does nothing. The context it returns ends with the Timeout,
// and with Done.
func (d *Dependency) Acquire(ctx context.Context) (context.Context, *Permit, error) {
	p := new(Permit)
	if err := p.call.begin(ctx, d); err != nil {
		return ctx, nil, err
	}
	p.caller = ctx
	begun := false
	defer func() {
		if !begun { // the caller's context panics
			p.call.abort(ctx, recover())
		}
	}()
	inner := p.call.limited(ctx)
	if p.call.limit == nil {
		inner, p.cancel = context.WithCancel(ctx)
	}
	begun = true
	return inner, p, nil
}

// A Permit is a call that has begun. It holds a place among the calls at once
// until Done.
type Permit struct {
	call   call
	caller context.Context //nolint:containedctx // a permit is one call
	over   atomic.Bool
	cancel context.CancelFunc // of its context; nil: the call does that
}

// Done ends the call. err is what the call came to, and counts as for
// [Dependency.Do]. Only the first Done or Result of a Permit counts.
func (p *Permit) Done(err error) { _ = p.Result(err) }

// Result is Done, and returns what Do would have: the error to answer with.
func (p *Permit) Result(err error) error {
	if p == nil || !p.over.CompareAndSwap(false, true) {
		return err
	}
	settled := false
	defer func() {
		if p.cancel != nil {
			p.cancel()
		}
		if !settled { // by a classifier
			p.call.abort(p.caller, recover())
		}
	}()
	err = p.call.settle(p.caller, err)
	settled = true
	return err
}

// State returns the state of the breaker, by the clock: an open one whose time
// is over is half-open, though no call has probed yet.
func (d *Dependency) State() State {
	d.mu.Lock()
	now := d.now()
	d.advance(now)
	s := d.visible(now)
	d.mu.Unlock()
	d.tell()
	return s
}

// Force takes the breaker out of its own hands, or with ModeAuto gives it back,
// closed and with nothing counted. ModeOpen refuses every call, with no word on
// when to come back; ModeClosed refuses none but for the Concurrency. Any other
// mode does nothing.
func (d *Dependency) Force(m Mode) {
	d.mu.Lock()
	now := d.now()
	same := d.advance(now).mode == m
	switch m {
	case ModeAuto:
		d.period, d.byCheck = 0, false
		d.pause.Store(nil)
		d.circuit = d.newCircuit()
		d.enter(d.closed(now), now, "given back", nil)
	case ModeOpen:
		if !same {
			d.enter(&phase{state: StateOpen, mode: m, since: now, until: forever, refusal: d.refusal(ErrOpen, forever)}, now, "forced", nil)
		}
	case ModeClosed:
		if !same {
			ph := d.closed(now)
			ph.mode = m
			d.enter(ph, now, "forced", nil)
		}
	}
	d.mu.Unlock()
	d.tell()
}

func (d *Dependency) now() int64 { return int64(time.Since(d.start)) }

func (d *Dependency) at(instant int64) time.Time { return d.start.Add(time.Duration(instant)) }

// errPanicked stands for the error of a call that has none.
var errPanicked = errors.New("panic")

// failureKind returns what is told of a failure where its text must not be.
func failureKind(err error) (kind string) {
	defer func() {
		if recover() != nil {
			kind = "unknown" // methods of the error panic
		}
	}()
	switch status := as[statusError](err); {
	case err == errPanicked: //nolint:errorlint // nobody can wrap it
		return "panic"
	case status != 0:
		return status.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return reflect.TypeOf(err).String()
}

// A statusError is the status of a response that counts as a failure.
type statusError int

func (s statusError) Error() string { return "status " + strconv.Itoa(int(s)) }
