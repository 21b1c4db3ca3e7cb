package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// guardedCalls returns a guard and its only dependency, "db".
func guardedCalls(tb testing.TB, gc guard.Config, dc guard.DependencyConfig) (*guard.Guard, *guard.Dependency) {
	tb.Helper()
	g := newGuard(tb, gc)
	d, err := g.Dependency("db", dc)
	require.NoError(tb, err)
	return g, d
}

// callsOf tells what became of the calls to the only dependency of a guard.
func callsOf(g *guard.Guard) guard.CallCounts { return g.Snapshot().Dependencies[0].Counts }

// requireIdle requires that every call has given back its place.
func requireIdle(tb testing.TB, g *guard.Guard) {
	tb.Helper()
	require.Zero(tb, g.Snapshot().Dependencies[0].InFlight, "a place is lost")
}

// comesTo is a call that comes to an error, or to nil.
func comesTo(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// wayToCall is Do, or something that must come to the same.
type wayToCall = func(ctx context.Context, d *guard.Dependency, fn func(context.Context) error) error

// waysToCall are all of them.
var waysToCall = map[string]wayToCall{
	"Do": func(ctx context.Context, d *guard.Dependency, fn func(context.Context) error) error {
		return d.Do(ctx, fn)
	},
	"Call": func(ctx context.Context, d *guard.Dependency, fn func(context.Context) error) error {
		_, err := guard.Call(ctx, d, func(ctx context.Context) (int, error) { return 1, fn(ctx) })
		return err
	},
	"Acquire": func(ctx context.Context, d *guard.Dependency, fn func(context.Context) error) error {
		ctx, permit, err := d.Acquire(ctx)
		if err != nil {
			return err
		}
		return permit.Result(fn(ctx))
	},
}

// What is not a call at all is an error of its own kind, which is not held
// against the dependency.
func TestCallWithoutFunctionOrContext(t *testing.T) {
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{MinCalls: 1})
	never := func(context.Context) error { panic("called") }
	var none context.Context
	value, err := guard.Call[int](t.Context(), d, nil)
	assert.Zero(t, value)
	errs := map[string]error{"Do, no function": d.Do(t.Context(), nil), "Call, no function": err, "neither": d.Do(none, nil)}
	for name, call := range waysToCall {
		errs[name+", no context"] = call(none, d, never)
	}
	for name, err := range errs {
		require.ErrorContains(t, err, `"db"`, name)
		require.ErrorContains(t, err, "nil", name)
		var dependency *guard.DependencyError
		require.NotErrorAs(t, err, &dependency, "a mistake in the program is no 502: %s", name)
	}
	ctx, permit, _ := d.Acquire(none)
	assert.Nil(t, ctx)
	assert.Nil(t, permit)
	assert.Zero(t, callsOf(g))
	requireIdle(t, g)
}

func TestNilPermit(t *testing.T) {
	var permit *guard.Permit
	assert.NotPanics(t, func() { permit.Done(io.EOF) })
	assert.Equal(t, io.EOF, permit.Result(io.EOF))
	assert.NoError(t, permit.Result(nil))
}

// A context that has ended before the call is nobody's failure, whatever state
// the breaker is in: nothing is called, and nothing counted.
func TestCallWithContextDoneAtEntry(t *testing.T) {
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the cause"))
	expired, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer stop()
	for state, bring := range map[string]func(*guard.Dependency){
		"closed": func(*guard.Dependency) {},
		"open":   func(d *guard.Dependency) { d.Force(guard.ModeOpen) },
		"full":   func(d *guard.Dependency) { _, _, _ = d.Acquire(context.Background()) },
	} {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
		bring(d)
		for name, call := range waysToCall {
			for _, ctx := range []context.Context{cancelled, expired} {
				err := call(ctx, d, func(context.Context) error { panic("called") })
				var dependency *guard.DependencyError
				require.ErrorAs(t, err, &dependency, "%s, %s", name, state)
				require.Equal(t, ctx.Err(), dependency.Unwrap())
				require.NotErrorIs(t, err, guard.ErrTimeout, "it was not the guard's")
				require.NotErrorIs(t, err, guard.ErrOpen)
				require.NotErrorIs(t, err, guard.ErrSaturated)
			}
		}
		got, permit, err := d.Acquire(cancelled)
		require.Error(t, err)
		require.Nil(t, permit)
		require.Equal(t, cancelled, got)
		require.Zero(t, callsOf(g), state)
	}
}

// goroutine returns the number of the caller's goroutine.
func goroutine() string {
	var stack [64]byte
	return strings.Fields(string(stack[:runtime.Stack(stack[:], false)]))[1]
}

func TestCallRunsInTheGoroutineOfTheCaller(t *testing.T) {
	for name, call := range waysToCall {
		for _, timeout := range []time.Duration{0, guard.NoTimeout} {
			d := newDependency(t, guard.DependencyConfig{Timeout: timeout})
			in := ""
			require.NoError(t, call(t.Context(), d, func(context.Context) error { in = goroutine(); return nil }))
			assert.Equal(t, goroutine(), in, "%s, timeout %v", name, timeout)
		}
	}
}

// The value comes back also with an error, as from fn itself.
func TestCallReturnsTheValue(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	for _, want := range []error{nil, io.ErrUnexpectedEOF} {
		value, err := guard.Call(t.Context(), d, func(context.Context) (string, error) { return "half", want })
		assert.Equal(t, "half", value)
		require.ErrorIs(t, err, want)
	}
	d.Force(guard.ModeOpen)
	value, err := guard.Call(t.Context(), d, func(context.Context) (string, error) { return "half", nil })
	assert.Empty(t, value)
	require.ErrorIs(t, err, guard.ErrOpen)
}

// fate runs f in a goroutine of its own, and returns what it panicked with, and
// whether it came to its end.
func fate(f func()) (panicked any, returned bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f()
		returned = true
	}()
	<-done
	return panicked, returned
}

// A panic of fn goes on as it was, and is a failure; Goexit goes on, and says
// nothing. Either gives back everything, also of a half-open breaker.
func TestGuarantee3CallsThatDoNotReturn(t *testing.T) {
	list := []int{1}
	var nothing any
	for name, test := range map[string]struct {
		end  func()
		want any // nil: Goexit
	}{
		"error":           {func() { panic(io.EOF) }, io.EOF},
		"ErrAbortHandler": {func() { panic(http.ErrAbortHandler) }, http.ErrAbortHandler},
		"uncomparable":    {func() { panic(list) }, list},
		"nil":             {func() { panic(nothing) }, new(runtime.PanicNilError)},
		"Goexit":          {runtime.Goexit, nil},
	} {
		for _, timeout := range []time.Duration{0, guard.NoTimeout} {
			for _, halfOpen := range []bool{false, true} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{
							Timeout: timeout, MinCalls: 2, OpenFor: time.Second, Concurrency: guard.Concurrency{Max: 1},
						})
						if halfOpen {
							for range 2 {
								_ = d.Do(t.Context(), comesTo(io.EOF))
							}
							time.Sleep(2 * time.Second)
							require.Equal(t, guard.StateHalfOpen, d.State())
						}
						before := callsOf(g)
						var inner context.Context
						panicked, returned := fate(func() {
							_ = d.Do(t.Context(), func(ctx context.Context) error {
								inner = ctx
								test.end()
								return nil
							})
						})
						require.False(t, returned)
						if err, is := panicked.(*runtime.PanicNilError); is {
							require.IsType(t, test.want, err)
						} else {
							require.Equal(t, test.want, panicked)
						}
						if timeout == 0 {
							require.ErrorIs(t, inner.Err(), context.Canceled, "the context ends with the call")
						}
						after := callsOf(g)
						if test.want == nil {
							assert.Equal(t, before.Ignored+1, after.Ignored)
							assert.Equal(t, before.Failed, after.Failed)
						} else {
							assert.Equal(t, before.Failed+1, after.Failed)
							assert.Equal(t, "panic", g.Snapshot().Dependencies[0].LastFailure)
						}
						requireIdle(t, g)
						if halfOpen && test.want != nil {
							require.Equal(t, guard.StateOpen, d.State(), "the probe has failed")
							return
						}
						require.NoError(t, d.Do(t.Context(), comesTo(nil)), "there is room for the next")
						require.Equal(t, guard.StateClosed, d.State())
					})
				})
			}
		}
	}
}

// The panic of a nested call is one failure of each, and still the same value.
func TestPanicThroughNestedCalls(t *testing.T) {
	g, outer := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
	inner, err := g.Dependency("inner", guard.DependencyConfig{})
	require.NoError(t, err)
	value := &http.Request{}
	panicked, _ := fate(func() {
		_ = outer.Do(t.Context(), func(ctx context.Context) error {
			return inner.Do(ctx, func(context.Context) error { panic(value) })
		})
	})
	require.Equal(t, reflect.ValueOf(value).Pointer(), reflect.ValueOf(panicked).Pointer())
	for _, s := range g.Snapshot().Dependencies {
		assert.Equal(t, guard.CallCounts{Failed: 1}, s.Counts, s.Name)
		assert.Zero(t, s.InFlight)
	}
}

// Guarantee 11: without a Timeout nothing is allocated, with one a single object.
func TestGuarantee11CallsAllocateNothing(t *testing.T) {
	cancellable, cancel := context.WithCancel(t.Context())
	defer cancel()
	soon, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	called := 0
	fn := func(ctx context.Context) error {
		if _, has := ctx.Deadline(); has {
			called++
		}
		called++
		return ctx.Err()
	}
	valued := func(ctx context.Context) (string, error) { return "v", fn(ctx) }
	for name, test := range map[string]struct {
		config guard.DependencyConfig
		ctx    context.Context
		bring  func(*guard.Dependency)
		most   float64
	}{
		"closed":                        {guard.DependencyConfig{Timeout: guard.NoTimeout}, t.Context(), nil, 0},
		"closed, bulkhead":              {guard.DependencyConfig{Timeout: guard.NoTimeout, Concurrency: guard.Concurrency{Max: 1}}, cancellable, nil, 0},
		"closed, slow calls":            {guard.DependencyConfig{Timeout: guard.NoTimeout, SlowCall: time.Hour}, cancellable, nil, 0},
		"closed, Timeout":               {guard.DependencyConfig{Timeout: time.Second}, cancellable, nil, 1},
		"closed, Timeout of the caller": {guard.DependencyConfig{Timeout: time.Hour}, soon, nil, 0},
		"open":                          {guard.DependencyConfig{Timeout: guard.NoTimeout}, cancellable, tripByFailures, 0},
		"open, Timeout":                 {guard.DependencyConfig{}, cancellable, tripByFailures, 0},
		"forced open":                   {guard.DependencyConfig{}, cancellable, func(d *guard.Dependency) { d.Force(guard.ModeOpen) }, 0},
		"forced closed": {
			guard.DependencyConfig{Timeout: guard.NoTimeout}, cancellable, func(d *guard.Dependency) { d.Force(guard.ModeClosed) }, 0,
		},
		"saturated": {
			guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}},
			cancellable,
			func(d *guard.Dependency) { _, _, _ = d.Acquire(context.Background()) }, 0,
		},
	} {
		d := newDependency(t, test.config)
		if test.bring != nil {
			test.bring(d)
		}
		assert.LessOrEqual(t, testing.AllocsPerRun(500, func() { _ = d.Do(test.ctx, fn) }), test.most, "Do, "+name)
		assert.LessOrEqual(t, testing.AllocsPerRun(500, func() { _, _ = guard.Call(test.ctx, d, valued) }), test.most, "Call, "+name)
	}
	require.Positive(t, called)
}

// tripByFailures opens a breaker for a while, by failures.
func tripByFailures(d *guard.Dependency) {
	for range 10 {
		_ = d.Do(context.Background(), comesTo(io.EOF))
	}
	if d.State() != guard.StateOpen {
		panic("ten failures do not trip it")
	}
}

// Only the first Done counts, whoever calls it.
func TestPermitIsDoneOnce(t *testing.T) {
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
	_, permit, err := d.Acquire(t.Context())
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { permit.Done(io.EOF) })
	}
	wg.Wait()
	permit.Done(nil)
	assert.Equal(t, io.EOF, permit.Result(io.EOF), "a late Result has nothing to add")
	assert.Equal(t, guard.CallCounts{Failed: 1}, callsOf(g))
	requireIdle(t, g)
}
