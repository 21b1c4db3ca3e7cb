package simulator_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// patient lets everything through and waits for it.
func patient() Contender {
	c := nothing()
	c.Holds = true
	return c
}

// long is a run that is long enough for means to be within some percent.
func long(shape Shape, load float64, requests float64) Scenario {
	seconds := requests / load / shape.Capacity()
	return Scenario{
		Name: "long", Shape: shape, Load: load, Seed: 7, Clients: Clients{Timeout: time.Hour},
		Warmup: time.Duration(seconds / 10 * 1e9), Measure: time.Duration(seconds * 1e9),
	}
}

// erlangB returns the part of requests that find all of n servers busy and go
// away, where the offered load is a.
func erlangB(n int, a float64) float64 {
	b := 1.0
	for i := 1; i <= n; i++ {
		b = a * b / (float64(i) + a*b)
	}
	return b
}

// erlangC returns the part that find all busy and wait.
func erlangC(n int, a float64) float64 {
	b := erlangB(n, a)
	return float64(n) * b / (float64(n) - a*(1-b))
}

// mean returns how long the measured 200s took in the mean.
func mean(r *Result) time.Duration {
	sum, n := 0.0, 0
	for _, a := range r.answers {
		if a.at >= int64(r.scenario.Warmup) && a.at < int64(r.scenario.end()) {
			sum += float64(a.took)
			n++
		}
	}
	return time.Duration(sum / float64(n))
}

// What requests take in the mean is what theory says: by Erlang C with
// exponential service times, by Pollaczek and Khinchine with one worker and any,
// and whatever they are with workers that are shared.
func TestMeanTimeIsThatOfTheory(t *testing.T) {
	const ms = time.Millisecond
	pollaczek := func(load, variance float64) float64 { return 1 + load/(1-load)*(1+variance)/2 }
	shared := func(n int, load float64) float64 { return 1 + erlangC(n, float64(n)*load)/(float64(n)*(1-load)) }
	erlang := shared // M/M/c is as long in the mean, in whatever order it serves
	heavy := math.Exp(1.5*1.5) - 1
	for _, tt := range []struct {
		name     string
		shape    Shape
		load     float64
		requests float64
		want     float64 // as a multiple of the service time
		within   float64
	}{
		{"M/M/1", Shape{Workers: 1, Service: 10 * ms, Dist: Exponential}, 0.7, 2e5, erlang(1, 0.7), 0.04},
		{"M/M/8", Shape{Workers: 8, Service: 20 * ms, Dist: Exponential}, 0.9, 2e5, erlang(8, 0.9), 0.04},
		{"M/M/100", Shape{Workers: 100, Service: 100 * ms, Dist: Exponential}, 0.95, 2e5, erlang(100, 0.95), 0.04},
		{"M/D/1", Shape{Workers: 1, Service: 10 * ms, Dist: Constant}, 0.8, 2e5, pollaczek(0.8, 0), 0.04},
		{"M/G/1, lognormal", Shape{Workers: 1, Service: 10 * ms}, 0.8, 2e5, pollaczek(0.8, math.Exp(0.25)-1), 0.04},
		{"M/G/1, heavy tail", Shape{Workers: 1, Service: 10 * ms, Dist: HeavyTail}, 0.5, 3e5, pollaczek(0.5, heavy), 0.1},
		{"M/M/1, shared", Shape{Workers: 1, Service: 10 * ms, Dist: Exponential, Sharing: true}, 0.7, 1e5, shared(1, 0.7), 0.04},
		{"M/G/8, shared, heavy tail", Shape{Workers: 8, Service: 20 * ms, Dist: HeavyTail, Sharing: true}, 0.8, 1e5, shared(8, 0.8), 0.04},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contender := nothing()
			if tt.name == "M/M/8" {
				contender = patient() // whose goroutines wait for the end of each request
			}
			r := Run(t, long(tt.shape, tt.load, tt.requests), contender)
			require.InEpsilon(t, tt.want, mean(r).Seconds()/tt.shape.Service.Seconds(), tt.within)
			require.InDelta(t, tt.load, r.Utilisation, 0.02)
			require.InDelta(t, 100*tt.load, r.Goodput(), 2)
		})
	}
}

// With as many places as workers nobody queues, and as many are refused as
// Erlang's loss formula says, whatever the service times are.
func TestRefusedAreThoseOfErlangB(t *testing.T) {
	for _, dist := range []Dist{Constant, Exponential, Lognormal, HeavyTail} {
		t.Run(dist.String(), func(t *testing.T) {
			shape := Shape{Workers: 8, Service: 20 * time.Millisecond, Dist: dist}
			r := Run(t, long(shape, 1.2, 1e5), guarded("as many as workers", true, func(*Env) guard.Config {
				return guard.Config{Concurrency: guard.Concurrency{Max: shape.Workers}}
			}))
			require.InDelta(t, 100*erlangB(8, 8*1.2), r.Measured.Share(Refused), 0.5)
			require.InEpsilon(t, shape.Service.Seconds(), mean(r).Seconds(), 0.05)
		})
	}
}

// The distributions have a mean of 1 and the variance that they should have.
func TestServiceTimesHaveTheirMoments(t *testing.T) {
	for _, tt := range []struct {
		shape    Shape
		variance float64
		within   float64 // of the variance
	}{
		{Shape{Dist: Constant}, 0, 0},
		{Shape{Dist: Exponential}, 1, 0.04},
		{Shape{Dist: Lognormal}, math.Exp(0.25) - 1, 0.04},
		{Shape{Dist: Lognormal, Sigma: 0.8}, math.Exp(0.64) - 1, 0.05},
		{Shape{Dist: HeavyTail}, math.Exp(2.25) - 1, 0.3},
	} {
		r, n, sum, squares := stream(3, 3), 1_000_000, 0.0, 0.0
		for range n {
			x := tt.shape.draw(r)
			sum += x
			squares += x * x
		}
		m := sum / float64(n)
		require.InDelta(t, 1, m, 0.02, tt.shape.Dist)
		require.InDelta(t, tt.variance, squares/float64(n)-m*m, tt.within*tt.variance+1e-9, tt.shape.Dist)
	}
}

// Nothing that guards a server for which too much is offered is answered in time
// once the queue is as long as the clients' patience.
func TestGoodputOfNothingIsWhatFitsIntoTheQueue(t *testing.T) {
	for _, load := range []float64{2, 5, 10} {
		sc := Scenario{Shape: shapeA, Load: load, Measure: 20 * time.Second, Seed: 1}
		r := Run(t, sc, nothing())
		want := 100 * load / (load - 1) / sc.Measure.Seconds() // those who come while it grows to 1 s
		require.InEpsilon(t, want, r.Goodput(), 0.1)
		require.InDelta(t, 1, r.Utilisation, 0.01)
	}
}

// Handlers that heed their context do no work for clients who have gone.
func TestHandlersThatHeedTheirContext(t *testing.T) {
	shape := shapeA
	shape.Heeds = true
	sc := Scenario{Shape: shape, Load: 2, Warmup: 5 * time.Second, Measure: 10 * time.Second, Seed: 1}
	r := Run(t, sc, patient())
	require.InDelta(t, 1, r.Utilisation, 0.01)
	require.Less(t, r.Quantile(1), sc.Clients.withDefaults().Timeout+300*time.Millisecond, "only who was being served is late")
	require.InDelta(t, 50, r.Measured.Share(TimedOut), 50)
}

var _ http.Handler = (*server)(nil)
