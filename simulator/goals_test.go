package simulator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// brief makes a scenario of steady load short enough to be run each time.
func brief(sc Scenario) Scenario {
	if sc.Shape.Capacity() > 2000 {
		sc.Warmup, sc.Measure = 5*time.Second, 8*time.Second
	}
	return sc
}

// What the self-tuned bound is to reach, with nothing set. The cells that it
// misses are in RESULTS.md.

func TestGoalGoodput(t *testing.T) {
	tuned, right := selfTuned()[0], bound("right", 1)
	for _, test := range []struct {
		shape Shape
		loads []float64
		least float64 // goodput, in percent
		times float64 // the 99th percentile of a static bound that is right
	}{
		{shapeA, []float64{2, 5, 10}, 95, 2},
		{shapeB, []float64{2, 5, 10}, 95, 2},
		{shapeC, []float64{2, 5}, 95, 2},
		{shapeD, []float64{5, 10}, 90, 2},
		{shapeE, []float64{5}, 95, 2},
		{shapeS, []float64{2, 5}, 95, 2},
		{shapeX, []float64{5}, 95, 2},
		{Shape{Name: "50", Workers: 50, Service: 40 * time.Millisecond}, []float64{2, 5}, 95, 2},
		{Shape{Name: "20", Workers: 20, Service: 5 * time.Millisecond, Sigma: 1}, []float64{2, 5}, 95, 2},
	} {
		for _, load := range test.loads {
			sc := brief(steady(test.shape, load))
			r := Run(t, sc, tuned)
			assert.GreaterOrEqual(t, r.Goodput(), test.least, "goodput of %v at %g", test.shape.size(), load)
			assert.LessOrEqual(t, float64(r.Quantile(0.99)), test.times*float64(Run(t, sc, right).Quantile(0.99)), "p99 of %v at %g", test.shape.size(), load)
		}
	}
}

func TestGoalBelowCapacity(t *testing.T) {
	for _, shape := range []Shape{shapeA, shapeB, shapeC, shapeD, shapeS, shapeX, shapeH} {
		for _, load := range []float64{0.5, 0.8} {
			r := Run(t, brief(steady(shape, load)), selfTuned()[0])
			assert.LessOrEqual(t, r.RefusedIn(r.scenario.Warmup, r.scenario.end()), 3.0, "%v at %g", shape.size(), load)
		}
	}
}

func TestGoalChanges(t *testing.T) {
	fifty := Shape{Name: "50", Workers: 50, Service: 40 * time.Millisecond}
	for _, shape := range []Shape{shapeA, fifty} {
		step := Run(t, latencyStep(shape, 0.8), selfTuned()[0])
		assert.LessOrEqual(t, step.RefusedIn(faultFrom, step.scenario.end()), 6.0, "latency, %v", shape.size())
		mix := Run(t, mixChange(shape, 0.8), selfTuned()[0])
		assert.LessOrEqual(t, mix.RefusedIn(faultFrom, mix.scenario.end()), 6.0, "mix, %v", shape.size())
		for _, load := range []float64{0.8, 5} {
			slow := Run(t, slowDependency(shape, load), selfTuned()[0])
			assert.GreaterOrEqual(t, slow.GoodputIn(faultFrom, faultUntil, faultSlow), 90.0, "slow dependency, %v at %g", shape.size(), load)
			assert.LessOrEqual(t, slow.Recovery(faultUntil), time.Second, "%v at %g", shape.size(), load)
		}
		assert.GreaterOrEqual(t, Run(t, coldStart(shape, 5), selfTuned()[0]).Goodput(), 95.0, "cold start, %v", shape.size())
	}
}

func TestGoalPriorities(t *testing.T) {
	r := Run(t, brief(priorities(shapeA, 5)), selfTuned()[0])
	c := &r.ByKind[kindCritical]
	assert.GreaterOrEqual(t, c.Share(InTime), 98.0)
	heavy := Run(t, brief(heavyClient(shapeA, 3)), selfTuned()[0])
	assert.GreaterOrEqual(t, heavy.ByKind[kindMany].Share(InTime), 90.0, "who asks for 0.6 of the capacity beside one who asks for 2.4 of it")
}
