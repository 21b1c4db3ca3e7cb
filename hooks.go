package guard

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"
)

// Hooks are told what happens. Any may be nil. They are called with no lock
// held, when everything that the event takes away or gives back has been, and
// may call back. They run in the goroutine of whatever they tell of, which waits
// for them, so they should be fast. A hook that panics is logged, and does no
// harm.
//
// The context is that of the request or the call that brought the event about,
// or one that never ends; it may have ended.
type Hooks struct {
	// RequestDone is told of each request, refused ones included, once, by the
	// outermost of nested stages. Exempt requests are not told of.
	RequestDone func(context.Context, RequestEvent)
	// Refused is told of each request and each call to a dependency that is
	// refused, or would be if it were not for shadow mode.
	Refused func(context.Context, RefusalEvent)
	// CallDone is told of each call to a dependency that was let through.
	CallDone func(context.Context, CallEvent)
	// BreakerChanged is told of each change of a breaker's state, in order, and
	// never at once for one dependency. What the clock changes is told when
	// somebody next calls or looks.
	BreakerChanged func(context.Context, BreakerEvent)
	// OverloadChanged is told when a bound with a queue begins to refuse, and when
	// it has not for a second; for one bound in order, and never at once. It runs in
	// a goroutine of its own, and the context never ends.
	OverloadChanged func(context.Context, OverloadEvent)
	// Tuned is told of each change of a configuration.
	Tuned func(context.Context, TuneEvent)
	// Panicked is told of each panic of a handler that the guard recovers from.
	Panicked func(context.Context, PanicEvent)
	// HealthChanged is told when what Ready says changes.
	HealthChanged func(context.Context, HealthEvent)
}

// RequestEvent tells of a request that is done.
type RequestEvent struct {
	Route   string // the innermost, or ""
	Method  string // as the client sent it: do not use it as a label
	Status  int    // that was sent; 0 if none was, 499 if the client had gone
	Outcome RequestOutcome
	Latency time.Duration // until the outermost stage was done
}

// RequestOutcome is what became of a request.
type RequestOutcome int

// The outcomes of a request.
const (
	RequestServed   RequestOutcome = iota // the handler answered, or an error was answered for it
	RequestRefused                        // by the guard, or by a dependency's breaker or bulkhead
	RequestFailed                         // answered with 500 or above, but not refused
	RequestPanicked                       // the handler panicked
	RequestAborted                        // the connection was aborted
	RequestCanceled                       // the client went away
	RequestHijacked                       // the connection was taken over

	requestOutcomes // how many
)

// String returns the name in lower case: "served", for instance.
func (o RequestOutcome) String() string {
	return nameOf(int(o), "served", "refused", "failed", "panicked", "aborted", "canceled", "hijacked")
}

// MarshalText implements [encoding.TextMarshaler].
func (o RequestOutcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *RequestOutcome) UnmarshalText(text []byte) error {
	return unmarshalName(o, text, requestOutcomes-1)
}

// RefusalEvent tells of a request or a call that was refused.
type RefusalEvent struct {
	Route      string // of a request; "" outside of routes, and of a call
	Client     string // the name of the client limit that refused it, or ""
	Dependency string // that refused, or ""
	Err        error  // a *RefusedError or *DependencyError
	Shadow     bool   // it was let through all the same
}

// CallEvent tells of a call to a dependency that is done.
type CallEvent struct {
	Dependency string
	Outcome    Outcome
	Slow       bool
	Latency    time.Duration // for a Transport, until the header
	Err        error         // of the call; not for the eyes of clients
}

// BreakerEvent tells that the state of a breaker has changed. From is the To of
// the event before.
type BreakerEvent struct {
	Dependency string
	From, To   State
	At         time.Time
	Reason     string        // such as "failure rate"; for people
	OpenFor    time.Duration // of an open breaker: how long, if that is known
	Calls      int64         // in the window, when the breaker trips
	Failed     int64         // of these
	Slow       int64         // of these
	Err        error         // of the call or the Check that brought it about, or nil; not for the eyes of clients
}

// TuneEvent tells that a configuration has changed: of the guard if neither name
// is given.
type TuneEvent struct {
	Route      string
	Dependency string
}

// PanicEvent tells of a panic.
type PanicEvent struct {
	Route string
	Value any
	Stack []byte
}

// HealthEvent tells that readiness has changed.
type HealthEvent struct {
	From, To Health
}

// differ returns the first hook that is not the same in both, or "".
func (h Hooks) differ(other Hooks) string {
	switch {
	case !sameFunc(h.RequestDone, other.RequestDone):
		return "RequestDone"
	case !sameFunc(h.Refused, other.Refused):
		return "Refused"
	case !sameFunc(h.CallDone, other.CallDone):
		return "CallDone"
	case !sameFunc(h.BreakerChanged, other.BreakerChanged):
		return "BreakerChanged"
	case !sameFunc(h.OverloadChanged, other.OverloadChanged):
		return "OverloadChanged"
	case !sameFunc(h.Tuned, other.Tuned):
		return "Tuned"
	case !sameFunc(h.Panicked, other.Panicked):
		return "Panicked"
	case !sameFunc(h.HealthChanged, other.HealthChanged):
		return "HealthChanged"
	}
	return ""
}

// hooked calls user code that nobody asked to fail.
func (g *Guard) hooked(hook func()) {
	defer func() {
		if p := recover(); p != nil {
			g.log.write(context.Background(), slog.LevelError, "guard: hook panicked",
				slog.String("panic", textOf(p)), slog.String("stack", string(debug.Stack())))
		}
	}()
	hook()
}

func (g *Guard) tunedEvent(e TuneEvent) {
	if hook := g.hooks.Tuned; hook != nil {
		g.hooked(func() { hook(context.Background(), e) })
	}
}

// note takes down that the visible state has changed, if it has, to be told when
// the lock is gone. The caller holds mu.
func (d *Dependency) note(at int64, why string, err error) {
	to := d.visible(at)
	if to == d.told {
		return
	}
	e := BreakerEvent{Dependency: d.name, From: d.told, To: to, At: d.at(at), Reason: why, Err: err}
	if ph := d.phase.Load(); to == StateOpen {
		until := ph.until
		if p := d.pause.Load(); p != nil {
			until = max(until, p.until)
		}
		if until != forever {
			e.OpenFor = time.Duration(until - at)
		}
		if why == d.ask.why {
			e.Calls, e.Failed, e.Slow = d.ask.tally.calls, d.ask.tally.failed, d.ask.tally.slow
		}
	}
	d.told, d.toldAt = to, at
	d.happened = append(d.happened, happening{e, d.cause})
}

// tell tells what has happened, in order. If somebody else is telling, he tells
// it. The caller must not hold mu.
func (d *Dependency) tell() {
	for d.tellOne() {
	}
}

// A happening is an event that is to be told, and the context of its cause.
type happening struct {
	BreakerEvent
	ctx context.Context //nolint:containedctx // until it is told
}

func (d *Dependency) tellOne() bool {
	d.mu.Lock()
	if d.telling || len(d.happened) == 0 {
		d.mu.Unlock()
		return false
	}
	e := d.happened[0]
	d.happened[0] = happening{} // the array lives on, and must not keep a request
	d.happened = d.happened[1:]
	d.telling = true
	d.mu.Unlock()
	defer func() { // also if a hook ends the goroutine
		d.mu.Lock()
		d.telling = false
		d.mu.Unlock()
	}()
	ctx := e.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	d.guard.log.breaker(ctx, &e.BreakerEvent)
	if hook := d.guard.hooks.BreakerChanged; hook != nil {
		d.guard.hooked(func() { hook(ctx, e.BreakerEvent) })
	}
	d.guard.healthChanged(ctx)
	return true
}
