package guard_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

type contextKey string

// requireContext requires that a context keeps its own contract: its methods
// agree with each other, and with context.Cause.
func requireContext(t *testing.T, ctx context.Context) { //nolint:revive // a test comes first
	t.Helper()
	err, cause := ctx.Err(), context.Cause(ctx)
	select {
	case <-ctx.Done():
		require.Error(t, ctx.Err(), "Done is closed")
	default:
		require.NoError(t, err, "Done is not closed")
	}
	require.Equal(t, err == nil, cause == nil, "Err is %v, Cause is %v", err, cause)
	if err != nil {
		require.True(t, err == context.Canceled || err == context.DeadlineExceeded, "Err is %v", err)
		require.Equal(t, err, ctx.Err(), "it stays")
	}
	done := ctx.Done()
	require.Equal(t, done, ctx.Done(), "the channel stays")
}

// requireSame requires that two contexts cannot be told apart.
func requireSame(t *testing.T, want, got context.Context) { //nolint:revive // a test comes first
	t.Helper()
	requireContext(t, got)
	require.Equal(t, want.Err(), got.Err())
	require.Equal(t, context.Cause(want), context.Cause(got))
	wantAt, wantHas := want.Deadline()
	gotAt, gotHas := got.Deadline()
	require.Equal(t, wantHas, gotHas)
	require.True(t, wantAt.Equal(gotAt), "deadline %v, want %v", gotAt, wantAt)
	require.Equal(t, want.Value(contextKey("k")), got.Value(contextKey("k")))
	require.Nil(t, got.Value(contextKey("none")))
}

// callers returns the context of some caller, and what ends it.
func callers(ctx context.Context, r *rand.Rand) (context.Context, func()) {
	ctx = context.WithValue(ctx, contextKey("k"), r.IntN(100))
	switch r.IntN(5) {
	case 0:
		return ctx, func() {}
	case 1:
		ctx, cancel := context.WithCancel(ctx)
		return context.WithValue(ctx, contextKey("other"), 1), cancel
	case 2:
		ctx, cancel := context.WithCancelCause(ctx)
		return ctx, func() { cancel(errCause) }
	case 3:
		return context.WithTimeoutCause(ctx, ownTimeout+time.Duration(1+r.IntN(5))*time.Second, errCause)
	default:
		ctx, cancel := context.WithCancel(ctx)
		return undeclared{ctx}, cancel // of no type that package context knows
	}
}

// The context of a call cannot be told from context.WithDeadline but by its
// cost, if somebody looks at it whenever something has happened, or once.
func TestTimedContextIsLikeWithDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		for seed := range uint64(500) {
			r := rand.New(rand.NewPCG(seed, 7))
			ctx, cancel := callers(t.Context(), r)
			d := newDependency(t, guard.DependencyConfig{Timeout: ownTimeout})
			want, stop := context.WithDeadline(ctx, time.Now().Add(ownTimeout))
			got, permit, err := d.Acquire(ctx)
			require.NoError(t, err)
			watched := r.IntN(2) == 0
			for step := 0; step < 8 && (watched || want.Err() == nil); step++ {
				switch r.IntN(6) {
				case 0:
					cancel()
				case 1:
					permit.Done(nil)
					stop()
				default:
					time.Sleep(time.Duration(r.IntN(5)) * time.Second)
				}
				synctest.Wait()
				if watched {
					requireSame(t, want, got)
				}
			}
			requireSame(t, want, got)
			if want.Err() != nil {
				ended++
			}
			permit.Done(nil)
			stop()
			cancel()
		}
		require.Greater(t, ended, 100)
	})
}

// The cause is there for who asks for nothing else, also with Go 1.25, whose
// context.Cause looks at Value first.
func TestTimedContextHasACause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDependency(t, guard.DependencyConfig{Timeout: time.Second})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		got, permit, err := d.Acquire(ctx)
		require.NoError(t, err)
		require.NoError(t, context.Cause(got))
		time.Sleep(time.Second)
		require.Equal(t, context.DeadlineExceeded, context.Cause(got))
		permit.Done(nil)

		got, permit, err = d.Acquire(ctx)
		require.NoError(t, err)
		permit.Done(nil)
		require.Equal(t, context.Canceled, context.Cause(got))

		got, permit, err = d.Acquire(ctx)
		require.NoError(t, err)
		cancel(errCause)
		require.Equal(t, errCause, context.Cause(got))
		permit.Done(nil)
	})
}

// What is derived from the context of a call ends with it, whatever ends it, and
// costs no goroutine.
func TestTimedContextHasChildren(t *testing.T) {
	for name, end := range map[string]func(hangUp func(error), permit *guard.Permit){
		"Timeout":   func(func(error), *guard.Permit) { time.Sleep(ownTimeout) },
		"Done":      func(_ func(error), permit *guard.Permit) { permit.Done(nil) },
		"cancelled": func(hangUp func(error), _ *guard.Permit) { hangUp(errCause) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDependency(t, guard.DependencyConfig{Timeout: ownTimeout})
				parent, hangUp := context.WithCancelCause(t.Context())
				defer hangUp(nil)
				ctx, permit, err := d.Acquire(parent)
				require.NoError(t, err)
				before := runtime.NumGoroutine()
				child, cancel := context.WithCancel(ctx)
				defer cancel()
				longer, cancel := context.WithTimeout(context.WithValue(ctx, contextKey("k"), 1), time.Hour)
				defer cancel()
				shorter, cancel := context.WithTimeout(child, time.Second)
				defer cancel()
				free := context.WithoutCancel(ctx)
				after := 0
				context.AfterFunc(ctx, func() { after++ })
				kept := context.AfterFunc(ctx, func() { after += 100 })
				require.True(t, kept())
				for range 100 {
					_, cancel := context.WithCancel(ctx)
					defer cancel()
				}
				require.Equal(t, before, runtime.NumGoroutine(), "none follows its end")
				at, has := longer.Deadline()
				require.True(t, has)
				require.Equal(t, ownTimeout, time.Until(at))

				time.Sleep(time.Second)
				synctest.Wait()
				require.Equal(t, context.DeadlineExceeded, shorter.Err())
				requireContext(t, ctx)
				require.NoError(t, ctx.Err(), "children do not end it")
				end(hangUp, permit)
				synctest.Wait()
				require.Error(t, ctx.Err())
				for _, c := range []context.Context{child, longer} {
					requireContext(t, c)
					require.Equal(t, ctx.Err(), c.Err())
					require.Equal(t, context.Cause(ctx), context.Cause(c))
				}
				require.NoError(t, free.Err())
				require.Equal(t, 1, after)
				late, cancel := context.WithCancel(ctx)
				defer cancel()
				require.Equal(t, ctx.Err(), late.Err(), "who comes late is born ended")
				permit.Done(nil)
			})
		})
	}
}

// The Timeout comes when it should, not a nanosecond earlier, also if the call
// has begun long after the dependency.
func TestTimedContextEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDependency(t, guard.DependencyConfig{Timeout: ownTimeout})
		for range 3 {
			time.Sleep(time.Hour + 7)
			for _, wait := range []func(context.Context){
				func(ctx context.Context) { <-ctx.Done() },
				func(ctx context.Context) {
					for ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
				},
			} {
				began := time.Now()
				err := d.Do(t.Context(), func(ctx context.Context) error {
					at, has := ctx.Deadline()
					require.True(t, has)
					require.Equal(t, began.Add(ownTimeout), at)
					wait(ctx)
					return ctx.Err()
				})
				require.ErrorIs(t, err, guard.ErrTimeout)
				require.Equal(t, ownTimeout, time.Since(began))
			}
		}
	})
}

// A call keeps what is earlier: the caller's deadline, which is then the caller's
// own context, or that of an outer call.
func TestTimedContextKeepsTheEarlierDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outer := newDependency(t, guard.DependencyConfig{Timeout: time.Second})
		inner := newDependency(t, guard.DependencyConfig{Timeout: time.Minute})
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, timeout := range []time.Duration{time.Second + 1, guard.NoTimeout} {
			d := newDependency(t, guard.DependencyConfig{Timeout: timeout})
			require.NoError(t, d.Do(soon, func(ctx context.Context) error { require.Equal(t, soon, ctx); return nil }))
		}
		for _, pair := range [][2]*guard.Dependency{{outer, inner}, {inner, outer}} {
			began := time.Now()
			err := pair[0].Do(t.Context(), func(ctx context.Context) error {
				return pair[1].Do(ctx, func(ctx context.Context) error {
					<-ctx.Done()
					require.Equal(t, time.Second, time.Since(began))
					return ctx.Err()
				})
			})
			require.ErrorIs(t, err, guard.ErrTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

// A context that outlives its call has ended, whoever asks it what and when.
func TestTimedContextAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, look := range map[string]func(context.Context) error{
			"Err":   context.Context.Err,
			"Cause": context.Cause,
			"Done":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"child": func(ctx context.Context) error {
				child, cancel := context.WithCancel(ctx)
				defer cancel()
				return child.Err()
			},
			"AfterFunc": func(ctx context.Context) error {
				called := make(chan struct{})
				context.AfterFunc(ctx, func() { close(called) })
				<-called
				return ctx.Err()
			},
		} {
			for way, call := range waysToCall {
				d := newDependency(t, guard.DependencyConfig{Timeout: ownTimeout})
				parent := context.WithValue(t.Context(), contextKey("k"), "v")
				var kept context.Context
				require.NoError(t, call(parent, d, func(ctx context.Context) error { kept = ctx; return nil }))
				require.Equal(t, "v", kept.Value(contextKey("k")))
				require.Equal(t, context.Canceled, look(kept), "%s, %s", name, way)
				requireContext(t, kept)
				time.Sleep(ownTimeout)
				require.Equal(t, context.Canceled, kept.Err(), "it stays")
			}
		}
	})
}

// Nothing holds on to a call that is over: no timer waits for its Timeout. The
// runtime forgets stopped timers when they are many, so this looks at many.
func TestTimedContextLeavesNoTimer(t *testing.T) {
	for way, call := range waysToCall {
		d := newDependency(t, guard.DependencyConfig{Timeout: time.Hour})
		var held []weak.Pointer[[128]byte]
		for range 1000 {
			value := new([128]byte)
			held = append(held, weak.Make(value))
			_ = call(context.WithValue(context.Background(), contextKey("k"), value), d, func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				default:
				}
				return ctx.Err()
			})
		}
		kept := len(held)
		for tries := 0; tries < 100 && kept > len(held)/2; tries++ {
			kept = 0
			runtime.GC()
			for _, h := range held {
				if h.Value() != nil {
					kept++
				}
			}
		}
		assert.LessOrEqual(t, kept, len(held)/2, way)
	}
}

// All methods may be called at once, also while the call comes to its end.
func TestTimedContextConcurrently(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{Timeout: time.Minute})
	for range 200 {
		var wg sync.WaitGroup
		var channels [4]<-chan struct{}
		var after atomic.Int32
		err := d.Do(t.Context(), func(ctx context.Context) error {
			for i := range channels {
				wg.Go(func() {
					context.AfterFunc(ctx, func() { after.Add(1) })
					_, _ = ctx.Deadline()
					_, _ = ctx.Err(), ctx.Value(contextKey("k"))
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					_ = fmt.Sprint(ctx)
					channels[i] = ctx.Done()
					<-child.Done()
					assert.Equal(t, context.Canceled, ctx.Err())
					assert.Equal(t, context.Canceled, context.Cause(child))
				})
			}
			return nil
		})
		require.NoError(t, err)
		wg.Wait()
		for _, c := range channels {
			require.Equal(t, channels[0], c, "there is one channel")
		}
		require.Eventually(t, func() bool { return after.Load() == int32(len(channels)) }, time.Minute, time.Microsecond)
	}
}

// A context prints as those of the standard library do: without its insides,
// which somebody else may be changing just then (mocks print their arguments).
func TestTimedContextPrints(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	parent := context.WithValue(context.Background(), contextKey("k"), "v")
	require.NoError(t, d.Do(parent, func(ctx context.Context) error {
		fresh := fmt.Sprint(ctx)
		_ = ctx.Done()
		assert.NotContains(t, fresh, "{")
		assert.NotContains(t, fmt.Sprint(ctx), "{")
		assert.Contains(t, fmt.Sprint(ctx), fmt.Sprint(parent))
		return nil
	}))
}
