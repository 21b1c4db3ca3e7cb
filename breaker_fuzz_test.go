package guard_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

var (
	errDown    = errors.New("down")
	errRefused = errors.New("no such thing")
	errUnsaid  = errors.New("says nothing")
)

// classified is a Classify for the three errors above.
func classified(err error) guard.Outcome {
	switch {
	case errors.Is(err, errRefused):
		return guard.OutcomeAnswered
	case errors.Is(err, errUnsaid):
		return guard.OutcomeIgnored
	}
	return guard.OutcomeDefault
}

// A heldCall is one that has begun, with what the model makes of it.
type heldCall struct {
	permit *guard.Permit
	ctx    context.Context
	cancel context.CancelFunc
	model  *modelCall
}

// A breakerRun drives a breaker and its model through the same life.
type breakerRun struct {
	t      *testing.T
	start  time.Time
	guard  *guard.Guard
	d      *guard.Dependency
	model  *breakerModel
	events []guard.BreakerEvent // not yet accounted for
	last   guard.State          // that an event spoke of
	held   []*heldCall
	counts guard.CallCounts
}

func newBreakerRun(t *testing.T, c modelConfig) *breakerRun {
	run := &breakerRun{t: t, start: time.Now(), model: newBreakerModel(c)}
	run.guard = newGuard(t, guard.Config{Hooks: guard.Hooks{
		BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
			require.Equal(t, run.last, e.From, "the events do not chain")
			run.last = e.To
			run.events = append(run.events, e)
		},
	}})
	given := c.given()
	given.Classify = classified
	var err error
	run.d, err = run.guard.Dependency("db", given)
	require.NoError(t, err)
	run.model.moved = func(m modelMove) { run.told(m) }
	run.model.opened = run.told
	return run
}

func (run *breakerRun) now() time.Duration { return time.Since(run.start) }

// told accounts for the next event.
func (run *breakerRun) told(m modelMove) time.Duration {
	if len(run.events) == 0 {
		run.d.State() // a call that ends well need not look at the clock
	}
	require.NotEmpty(run.t, run.events, "nothing was told of %+v", m)
	e := run.events[0]
	run.events = run.events[1:]
	require.Equal(run.t, m.to, e.To)
	require.Equal(run.t, m.from, e.From)
	require.Equal(run.t, m.at, e.At.Sub(run.start), "when it went from %v to %v", m.from, m.to)
	require.Equal(run.t, [3]int64{m.calls, m.failed, m.slow}, [3]int64{e.Calls, e.Failed, e.Slow})
	require.GreaterOrEqual(run.t, e.OpenFor, m.least)
	require.LessOrEqual(run.t, e.OpenFor, m.most)
	return e.OpenFor
}

// refusedAs holds a refusal against the model's.
func (run *breakerRun) refusedAs(want *modelRefusal, err error) {
	if want == nil {
		require.NoError(run.t, err, "refused while %v", run.model.state)
		return
	}
	require.ErrorIs(run.t, err, want.why)
	var e *guard.DependencyError
	require.ErrorAs(run.t, err, &e)
	if want.known {
		require.Equal(run.t, want.wait, e.RetryAfter())
		require.Positive(run.t, want.wait)
	} else {
		require.Negative(run.t, e.RetryAfter())
	}
	if errors.Is(want.why, guard.ErrSaturated) {
		run.counts.Saturated++
	} else {
		run.counts.Open++
	}
}

func (run *breakerRun) begin() {
	caller, cancel := context.WithCancel(context.Background())
	ctx, permit, err := run.d.Acquire(caller)
	c, refused := run.model.begin(run.now())
	run.refusedAs(refused, err)
	if refused == nil {
		run.held = append(run.held, &heldCall{permit, ctx, cancel, c})
	} else {
		cancel()
	}
}

// finish ends a call that has begun, with one of the errors, or with the one of
// its context.
func (run *breakerRun) finish(i, how int) {
	h := run.held[i]
	run.held = append(run.held[:i:i], run.held[i+1:]...)
	end, late := h.ctx.Err(), false
	if end != nil {
		late = errors.Is(end, context.DeadlineExceeded)
	}
	err := []error{nil, errDown, errRefused, errUnsaid, end}[how]
	o := []guard.Outcome{
		guard.OutcomeSucceeded, guard.OutcomeFailed, guard.OutcomeAnswered, guard.OutcomeIgnored, guard.OutcomeSucceeded,
	}[how]
	if end != nil && err != nil {
		switch {
		case late && how == 4:
			o = guard.OutcomeFailed
		case !late && o != guard.OutcomeAnswered: // it hung up
			o = guard.OutcomeIgnored
		}
	}
	got := h.permit.Result(err)
	h.cancel()
	run.ended(h.model, o)
	if o == guard.OutcomeFailed {
		var e *guard.DependencyError
		require.ErrorAs(run.t, got, &e)
		if run.model.state == guard.StateOpen && run.model.mode == guard.ModeAuto {
			require.Equal(run.t, run.model.until-run.now(), e.RetryAfter())
		} else {
			require.Negative(run.t, e.RetryAfter())
		}
	}
	h.permit.Done(errDown) // only the first one counts
}

// ended has the model take the outcome of a call that ends now.
func (run *breakerRun) ended(c *modelCall, o guard.Outcome) {
	if run.model.end(c, o, run.now()) {
		run.counts.Slow++
	}
	switch o {
	case guard.OutcomeFailed:
		run.counts.Failed++
	case guard.OutcomeAnswered:
		run.counts.Answered++
	case guard.OutcomeIgnored:
		run.counts.Ignored++
	case guard.OutcomeSucceeded, guard.OutcomeDefault:
		run.counts.Succeeded++
	}
}

// abort has a call end without returning.
func (run *breakerRun) abort(takes time.Duration, value any) {
	began, called := run.now(), false
	var err error
	var recovered any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { recovered = recover() }()
		err = run.d.Do(context.Background(), func(context.Context) error {
			called = true
			time.Sleep(takes)
			if value == nil {
				runtime.Goexit()
			}
			panic(value)
		})
	}()
	<-done
	c, refused := run.model.begin(began)
	require.Equal(run.t, refused == nil, called)
	run.refusedAs(refused, err)
	switch {
	case refused != nil:
		require.Nil(run.t, recovered)
	case value == nil:
		run.ended(c, guard.OutcomeIgnored)
	default:
		require.Equal(run.t, value, recovered)
		run.ended(c, guard.OutcomeFailed)
	}
}

// pause is how far time may go at once: among others to just before, and up
// to, whatever happens next.
func (run *breakerRun) pause(s *script) time.Duration {
	c, now := run.model.config, run.now()
	next := time.Nanosecond
	switch {
	case run.model.mode != guard.ModeAuto:
	case run.model.state == guard.StateOpen:
		next = run.model.until - now
	case len(run.model.probes) > 0:
		next = run.model.probes[s.next(len(run.model.probes))].deadline - now
	}
	return []time.Duration{
		1, next, next - 1, c.slowCall, c.slowCall - 1, run.model.slot, c.window, c.window - run.model.slot,
		run.model.slot*10 - (now - run.model.since), run.model.slot*10 - (now - run.model.since) - 1,
		c.openFor, 3 * c.most, c.call, c.probeTimeout,
	}[s.next(14)]
}

func (run *breakerRun) tune(s *script) {
	c := someModelConfig(s)
	require.NoError(run.t, run.d.Tune(func(to *guard.DependencyConfig) {
		*to = c.given()
		to.Classify = classified
	}))
	run.model.config = c
	run.model.advance(run.now()) // Tune looks at the health
}

func (run *breakerRun) step(s *script) {
	switch s.next(20) {
	case 0, 1, 2, 3:
		run.begin()
	case 4, 5, 6, 7, 8:
		if n := len(run.held); n > 0 {
			run.finish(s.next(n), []int{0, 0, 1, 2, 3, 4}[s.next(6)])
		}
	case 9, 10: // some fail, one after the other
		for range 1 + s.next(4) {
			if run.begin(); len(run.held) > 0 {
				run.finish(len(run.held)-1, 1)
			}
		}
	case 11, 12, 13, 14, 15:
		time.Sleep(run.pause(s))
	case 16: // the caller hangs up
		if n := len(run.held); n > 0 {
			if h := run.held[s.next(n)]; h.ctx.Err() == nil {
				h.cancel()
			}
		}
	case 17:
		value := []any{nil, "boom", http.ErrAbortHandler}[s.next(3)]
		run.abort(max(run.pause(s), 0)*time.Duration(s.next(2)), value)
	case 18:
		m := []guard.Mode{guard.ModeAuto, guard.ModeAuto, guard.ModeOpen, guard.ModeClosed, -1, 3}[s.next(6)]
		if run.model.mode != guard.ModeAuto || s.next(3) == 0 { // forced is dull
			run.d.Force(m)
			run.model.force(m, run.now())
		}
	case 19:
		if s.next(2) == 0 {
			run.tune(s)
		}
	}
}

// agree holds all that can be seen against the model.
func (run *breakerRun) agree() {
	m, got := run.model, run.guard.Snapshot().Dependencies[0]
	m.advance(run.now())
	require.Equal(run.t, m.state, run.d.State())
	require.Empty(run.t, run.events, "that of which the model knows nothing")
	require.Equal(run.t, m.state, got.State)
	require.Equal(run.t, m.mode, got.Mode)
	require.Equal(run.t, int64(m.inFlight), got.InFlight)
	got.Counts.Throttled = 0
	require.Equal(run.t, run.counts, got.Counts)
	want := guard.WindowSnapshot{}
	if m.state == guard.StateClosed {
		want.Calls, want.Failed, want.Slow = m.tally(run.now())
		want.Streak = int64(m.streak)
	}
	w := got.Window
	require.Equal(run.t, want, guard.WindowSnapshot{Calls: w.Calls, Failed: w.Failed, Slow: w.Slow, Streak: w.Streak})
	if m.state == guard.StateOpen && m.mode == guard.ModeAuto {
		require.Equal(run.t, m.until-run.now(), got.NextProbe)
	}
}

func runBreaker(t *testing.T, s script) {
	synctest.Test(t, func(t *testing.T) {
		run := newBreakerRun(t, someModelConfig(&s))
		for len(s) > 0 {
			run.step(&s)
			// Who looks moves the breaker on, too: let calls do it at times.
			if s.next(3) > 0 {
				run.agree()
			}
		}
		for len(run.held) > 0 {
			run.finish(0, 0)
		}
		run.agree()
		require.Zero(t, run.guard.Snapshot().Dependencies[0].InFlight)
	})
}

// Any sequence of calls, their ends in time and late, Force, Tune and time, held
// against the model.
func FuzzBreakerModel(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 8, 3, 1, 9, 1, 1, 0, 1, 4, 0, 1, 1})
	f.Add([]byte{0, 2, 0, 0, 2, 0, 3, 2, 1, 2, 1, 8, 3, 1, 9, 2, 1, 9, 0, 1, 0, 0, 0, 0, 9, 1, 1, 4, 0, 0, 1})
	f.Add([]byte{2, 0, 1, 1, 3, 1, 0, 0, 0, 0, 0, 13, 1, 0, 0, 1, 13, 0, 3, 1, 1, 14, 1, 1, 14, 0, 1, 0, 12, 0, 4, 0, 4, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 400 {
			t.Skip("long scripts find nothing more, slowly")
		}
		runBreaker(t, data)
	})
}

func TestBreakerModel(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := make(script, 300)
		for i := range s {
			s[i] = byte(random.IntN(256))
		}
		runBreaker(t, s)
	}
}
