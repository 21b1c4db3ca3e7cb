package simulator_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// mixed is a scenario in which everything happens at once.
func mixed() Scenario {
	sc := mixChange(shapeA, 1.5)
	sc.Warmup, sc.Measure, sc.Shift = time.Second, 4*time.Second, 2*time.Second
	sc.Steps = []Step{{At: 3 * time.Second, Load: 0.5}}
	sc.Faults = []Fault{{From: time.Second, Until: 1500 * time.Millisecond, Slow: 5}, {From: 2 * time.Second, Until: 3 * time.Second, Wait: 3}}
	sc.Clients = Clients{Timeout: 300 * time.Millisecond, Return: Once, Herd: Herd{At: 1200 * time.Millisecond, Size: 300}}
	return sc
}

// Every request that is sent comes to one end, whoever guards the server.
func TestEveryRequestHasOneOutcome(t *testing.T) {
	for _, sharing := range []bool{false, true} {
		sc := mixed()
		sc.Shape.Sharing = sharing
		for _, c := range append(contenders(), patient()) {
			r := Run(t, sc, c)
			for _, counts := range append([]Counts{r.Total, r.Measured, r.Again, r.Herd, r.HerdAgain}, r.ByKind...) {
				sum := 0
				for _, n := range counts.Became {
					sum += n
				}
				require.Equal(t, counts.Arrived, sum, c.Name)
			}
			require.Equal(t, r.Measured.Arrived, r.ByKind[0].Arrived+r.ByKind[1].Arrived, c.Name)
			require.Equal(t, sc.Clients.Herd.Size, r.Herd.Arrived, c.Name)
			require.Zero(t, r.Total.Became[Failed], c.Name)
			require.LessOrEqual(t, r.Utilisation, 1.0, c.Name)

			arrived, inTime := 0, 0
			for _, b := range r.Bins {
				arrived += b.Arrived
				inTime += b.Became[InTime]
			}
			require.Equal(t, r.Total.Arrived, arrived, c.Name)
			require.LessOrEqual(t, inTime, r.Total.Became[InTime], c.Name)
		}
	}
}

// A run can be had again, but where a contender draws lots: for the Retry-After,
// for instance.
func TestSameSeedSameResult(t *testing.T) {
	for _, c := range []Contender{nothing(), tokens("right", 1), bound("right", 1), failsafeLimiter(false)} {
		sc := mixed()
		sc.Clients.Return = Never
		first, second := Run(t, sc, c), Run(t, sc, c)
		require.Equal(t, first.Total, second.Total, c.Name)
		require.Equal(t, first.answers, second.answers, c.Name)
		require.Equal(t, first.Bins, second.Bins, c.Name)
		sc.Seed++
		require.NotEqual(t, first.answers, Run(t, sc, c).answers, c.Name)
	}
}

// Contenders that do not hold on to requests are spared the goroutines that wait,
// and it makes no difference.
func TestReturningEarlyMakesNoDifference(t *testing.T) {
	sc := mixed()
	early, late := Run(t, sc, nothing()), Run(t, sc, patient())
	require.Equal(t, early.Total, late.Total)
	require.InDelta(t, early.Utilisation, late.Utilisation, 1e-6)
	for _, q := range []float64{0.1, 0.5, 0.99} {
		require.InDelta(t, early.Quantile(q), late.Quantile(q), float64(time.Microsecond))
	}
}

// The same requests come, and take the same work, whoever guards the server.
func TestAllSeeTheSameArrivals(t *testing.T) {
	type seen struct {
		sent   int64
		kind   int
		demand float64
	}
	look := func(with Contender) (all []seen) {
		sc := mixed()
		sc.Clients = Clients{}
		var mu sync.Mutex
		build := with.Build
		with.Build = func(env *Env, next http.Handler) http.Handler {
			inner := build(env, next)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				j := jobOf(r.Context())
				mu.Lock()
				all = append(all, seen{j.sent, j.kind, j.demand})
				mu.Unlock()
				inner.ServeHTTP(w, r)
			})
		}
		Run(t, sc, with)
		return all
	}
	want := look(patient())
	require.Equal(t, want, look(bound("right", 1)))
	for i := 1; i < len(want); i++ {
		require.Greater(t, want[i].sent, want[i-1].sent)
	}
}

// The load is what was asked for, before and after a step, and so are the shares.
func TestArrivalsFollowTheScenario(t *testing.T) {
	sc := mixChange(shapeA, 0.5)
	sc.Shift, sc.Warmup, sc.Measure = 50*time.Second, 0, 100*time.Second
	sc.Steps = []Step{{At: 25 * time.Second, Load: 1}}
	a := newArrivals(&sc)
	var count [2]int    // before and after the step
	var kinds [2][2]int // before and after the shift
	var work [2]float64 // likewise, of the short kind
	for a.next() {
		at := time.Duration(a.at)
		kind, demand := a.draw()
		stepped, shifted := 0, 0
		if at >= 25*time.Second {
			stepped = 1
		}
		if at >= sc.Shift {
			shifted = 1
		}
		count[stepped]++
		kinds[shifted][kind]++
		if kind == 0 {
			work[shifted] += demand
		}
	}
	require.InEpsilon(t, 0.5*sc.Capacity()*25, count[0], 0.05)
	require.InEpsilon(t, sc.Capacity()*75, count[1], 0.03)
	for shifted, share := range []float64{0.9, 0.5} {
		n := float64(kinds[shifted][0] + kinds[shifted][1])
		require.InDelta(t, share, float64(kinds[shifted][0])/n, 0.02)
		require.InEpsilon(t, float64(5*time.Millisecond), work[shifted]/float64(kinds[shifted][0]), 0.03)
	}
	require.InEpsilon(t, shapeA.Capacity()/1.375, sc.Capacity(), 1e-9)
}

// Each kind has the share that it should have.
func TestKindsHaveTheirShares(t *testing.T) {
	sc := priorities(shapeA, 5)
	var count [3]int
	a, n := newArrivals(&sc), 0.0
	for ; a.next(); n++ {
		kind, _ := a.draw()
		count[kind]++
	}
	for kind, k := range sc.Kinds {
		require.InDelta(t, k.Share, float64(count[kind])/n, 0.01, k.Name)
	}
}

// The context of a request ends when its client hangs up, and then only.
func TestContextOfARequest(t *testing.T) {
	for _, tell := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := &clients{Clients: Clients{Timeout: time.Second, TellDeadline: tell}, clock: newClock()}
			j := c.job(0, 0, 1)
			ctx, cancel := context.WithTimeout(j, time.Hour)
			defer cancel()
			time.Sleep(time.Second - time.Nanosecond)
			synctest.Wait()
			require.NoError(t, j.Err())
			require.NoError(t, ctx.Err())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			want := context.Canceled
			if tell {
				want = context.DeadlineExceeded
			}
			require.Equal(t, want, j.Err())
			require.Equal(t, want, ctx.Err())
			<-j.Done()
			at, ok := j.Deadline()
			require.Equal(t, tell, ok)
			if ok {
				require.Equal(t, c.clock.start.Add(time.Second), at)
			}

			answered := c.job(0, 0, 1)
			done := answered.Done()
			answered.hangUp()
			<-done
			require.Equal(t, context.Canceled, answered.Err())
		})
	}
}

// A dependency that is slow for a while takes capacity away; a wait does not.
func TestFaults(t *testing.T) {
	sc := slowDependency(shapeA, 0.9)
	sc.Faults[0].From, sc.Faults[0].Until, sc.Warmup, sc.Measure = 5*time.Second, 10*time.Second, time.Second, 40*time.Second
	r := Run(t, sc, bound("right", 1))
	require.InDelta(t, 100, r.GoodputIn(6*time.Second, 10*time.Second, faultSlow), 5)
	require.InDelta(t, 90, r.GoodputIn(11*time.Second, 20*time.Second, 1), 5)
	require.Less(t, r.Recovery(10*time.Second), 300*time.Millisecond)
	backlog := 5*(0.9-1.0/faultSlow) - 1 // seconds of work, but for the one that clients wait
	require.InDelta(t, backlog/(1-0.9), Run(t, sc, nothing()).Recovery(10*time.Second).Seconds(), 3)

	sc = latencyStep(shapeA, 0.5)
	sc.Faults[0].From, sc.Warmup, sc.Measure = 2*time.Second, 3*time.Second, 20*time.Second
	r = Run(t, sc, patient())
	require.InDelta(t, 50, r.Goodput(), 2)
	require.InEpsilon(t, (faultSlow * shapeA.Service).Seconds(), mean(r).Seconds(), 0.1)
}

// Who is refused comes back when told to, as often as the scenario says.
func TestClientsComeBack(t *testing.T) {
	sc := herd(shapeA, 0.5)
	sc.Clients.Herd = Herd{At: time.Second, Size: 200}
	sc.Warmup, sc.Measure = 0, 10*time.Second
	told := Contender{Name: "Retry-After: 2", Build: func(_ *Env, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if j := jobOf(r.Context()); j.herd && j.attempt < 3 {
				w.Header().Set("Retry-After", "2")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	}}
	r := Run(t, sc, told)
	require.Equal(t, 200, r.Herd.Became[Refused])
	require.Equal(t, 400, r.HerdAgain.Arrived)
	require.Equal(t, 200, r.HerdAgain.Became[Refused], "the second time")
	require.Equal(t, 3, r.MaxAttempts)
	require.InDelta(t, 4.5*float64(time.Second), float64(r.HerdServed()), 0.6*float64(time.Second))

	sc.Clients.Return = Once
	r = Run(t, sc, told)
	require.Equal(t, 200, r.HerdAgain.Arrived)
	require.Equal(t, 2, r.MaxAttempts)
	sc.Clients.Return = Never
	require.Zero(t, Run(t, sc, told).HerdAgain.Arrived)
}
