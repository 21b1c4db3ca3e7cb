package simulator_test

import (
	"math"
	"math/rand/v2"
	"time"
)

// arrivals draws an open-loop Poisson process: it does not care whether anybody
// is still waiting. Gaps, kinds and service times come from streams of their own,
// so that a change in one does not change the others.
type arrivals struct {
	sc                   *Scenario
	capacity             float64
	gaps, kinds, demands *rand.Rand
	t                    float64 // nanoseconds, before rounding
	at                   int64   // of the last arrival
	steps                []Step
	load                 float64
}

func newArrivals(sc *Scenario) *arrivals {
	return &arrivals{
		sc: sc, capacity: sc.Capacity(), steps: sc.Steps, load: sc.Load, at: -grid,
		gaps: stream(sc.Seed, 1), kinds: stream(sc.Seed, 2), demands: stream(sc.Seed, 3),
	}
}

func stream(seed, n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }

// run sends a request at each arrival, until the end of the run.
func (a *arrivals) run(c *clients) {
	for a.next() {
		kind, demand := a.draw()
		addresses := a.sc.kinds()[kind].Clients
		if addresses == 0 {
			addresses = defaultAddresses
		}
		c.clock.sleepUntil(a.at)
		c.send(c.job(kind, a.kinds.IntN(addresses), demand))
	}
}

// next moves to the next arrival and reports whether there is one.
func (a *arrivals) next() bool {
	for need := a.gaps.ExpFloat64(); ; {
		until := float64(a.sc.end())
		if len(a.steps) > 0 {
			until = float64(a.steps[0].At)
		}
		perNano := a.load * a.capacity / float64(time.Second)
		if t := a.t + need/perNano; t <= until {
			a.t = t
			a.at = max(int64(math.Round(t/grid))*grid, a.at+grid)
			return true
		}
		if len(a.steps) == 0 {
			return false
		}
		need -= (until - a.t) * perNano
		a.t, a.load, a.steps = until, a.steps[0].Load, a.steps[1:]
	}
}

// draw returns the kind of the arrival and the service time, in nanoseconds.
func (a *arrivals) draw() (kind int, demand float64) {
	kinds, u := a.sc.kinds(), a.kinds.Float64()
	for kind = range kinds {
		share := kinds[kind].Share
		if a.sc.Shift > 0 && a.at >= int64(a.sc.Shift) {
			share = kinds[kind].Later
		}
		if u -= share; u < 0 {
			break
		}
	}
	return kind, float64(a.sc.Shape.Service) * kinds[kind].cost() * a.sc.Shape.draw(a.demands)
}
