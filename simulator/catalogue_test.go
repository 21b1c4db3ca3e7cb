package simulator_test

import "time"

// The scenarios of the tables. Each has a warm-up in which the contender may find
// out what it has to guard, but for the cold start.

const warmup = 10 * time.Second

// steady offers the same load all the time.
func steady(shape Shape, load float64) Scenario {
	sc := Scenario{Name: "steady", Shape: shape, Load: load, Warmup: warmup, Measure: 20 * time.Second, Seed: 1}
	switch capacity := shape.Capacity(); {
	case capacity < 50: // too few requests to tell
		sc.Warmup, sc.Measure = 3*sc.Warmup, 6*sc.Measure
	case capacity > 5000: // more than enough
		sc.Measure /= 2
	}
	return sc
}

// The instants at which something happens in the scenarios below.
const (
	faultFrom  = 20 * time.Second
	faultUntil = 50 * time.Second
	faultSlow  = 5
)

// slowDependency makes all work take five times as long for half a minute, and
// has a minute to recover.
func slowDependency(shape Shape, load float64) Scenario {
	return Scenario{
		Name: "slow dependency", Shape: shape, Load: load,
		Faults: []Fault{{From: faultFrom, Until: faultUntil, Slow: faultSlow}},
		Warmup: warmup, Measure: faultUntil - warmup + time.Minute, Seed: 1,
	}
}

// latencyStep makes handlers take five times as long, though the server could do
// as much as ever.
func latencyStep(shape Shape, load float64) Scenario {
	return Scenario{
		Name: "latency step", Shape: shape, Load: load,
		Faults: []Fault{{From: faultFrom, Until: time.Hour, Wait: faultSlow - 1}},
		Warmup: warmup, Measure: 40 * time.Second, Seed: 1,
	}
}

// mixChange turns a server that mostly has requests of a quarter of the usual
// service time into one of which half take ten times as long.
func mixChange(shape Shape, load float64) Scenario {
	return Scenario{
		Name: "route mix", Shape: shape, Load: load, Shift: faultFrom,
		Kinds: []Kind{
			{Name: "short", Share: 0.9, Later: 0.5, Cost: 0.25},
			{Name: "long", Share: 0.1, Later: 0.5, Cost: 2.5},
		},
		Warmup: warmup, Measure: 40 * time.Second, Seed: 1,
	}
}

// coldStart has the load from the first moment on.
func coldStart(shape Shape, load float64) Scenario {
	return Scenario{Name: "cold start", Shape: shape, Load: load, Measure: 10 * time.Second, Seed: 1}
}

// The kinds of the scenario of priorities.
const (
	kindCritical = iota
	kindNormal
	kindSheddable
)

// priorities is overload by requests that matter more and less.
func priorities(shape Shape, load float64) Scenario {
	sc := steady(shape, load)
	sc.Name = "priorities"
	sc.Kinds = []Kind{
		kindCritical:  {Name: "critical", Share: 0.1, Priority: Critical},
		kindNormal:    {Name: "normal", Share: 0.3},
		kindSheddable: {Name: "sheddable", Share: 0.6, Priority: Sheddable},
	}
	return sc
}

// The kinds of the scenario of the heavy client.
const (
	kindMany = iota
	kindHeavy
)

// heavyClient is one client that sends four times as much as a thousand others.
func heavyClient(shape Shape, load float64) Scenario {
	sc := steady(shape, load)
	sc.Name = "heavy client"
	sc.Kinds = []Kind{
		kindMany:  {Name: "many", Share: 0.2},
		kindHeavy: {Name: "heavy", Share: 0.8, Clients: 1},
	}
	return sc
}

// herd lets as many clients loose at once as the server can serve in five seconds,
// who come back whenever they are told to.
func herd(shape Shape, load float64) Scenario {
	return Scenario{
		Name: "herd", Shape: shape, Load: load,
		Clients: Clients{Return: UntilServed, Herd: Herd{At: faultFrom, Size: int(5 * shape.Capacity())}},
		Warmup:  warmup, Measure: 40 * time.Second, Seed: 1,
	}
}

// catalogue are the scenarios by the names by which -scenario knows them.
var catalogue = map[string]func(Shape, float64) Scenario{
	"steady": steady, "slow": slowDependency, "latency": latencyStep, "mix": mixChange,
	"cold": coldStart, "priorities": priorities, "heavy": heavyClient, "herd": herd,
}
