package simulator_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// A Shape is what a server can do.
type Shape struct {
	Name    string
	Workers int
	Service time.Duration // mean time that a worker needs for a request of cost 1
	Dist    Dist
	Sigma   float64 // of Lognormal; 0: 0.5
	// Sharing makes the server share its workers among all requests instead of
	// queueing them: with n requests each gets min(1, Workers/n) of a worker.
	Sharing bool
	// Heeds makes handlers that are still queued give up when the client has.
	// Otherwise the work is done all the same, for nobody.
	Heeds bool
}

// Capacity returns how many requests of cost 1 a second the server can do.
func (s Shape) Capacity() float64 { return float64(s.Workers) / s.Service.Seconds() }

// size tells of workers and service time, as in 8 × 20 ms.
func (s Shape) size() string {
	return fmt.Sprintf("%d × %v", s.Workers, strings.Replace(s.Service.String(), "ms", " ms", 1))
}

func (s Shape) String() string {
	text := fmt.Sprintf("%d×%v %v", s.Workers, s.Service, s.Dist)
	if s.Sharing {
		text += ", shared"
	}
	return text
}

// The shapes of the tables.
var (
	shapeA = Shape{Name: "A", Workers: 8, Service: 20 * time.Millisecond}
	shapeB = Shape{Name: "B", Workers: 2, Service: 2 * time.Millisecond}
	shapeC = Shape{Name: "C", Workers: 100, Service: 100 * time.Millisecond}
	shapeD = Shape{Name: "D", Workers: 1, Service: 50 * time.Millisecond}
	shapeE = Shape{Name: "E", Workers: 400, Service: 50 * time.Millisecond}
	shapeS = Shape{Name: "A shared", Workers: 8, Service: 20 * time.Millisecond, Sharing: true}
	shapeX = Shape{Name: "A exponential", Workers: 8, Service: 20 * time.Millisecond, Dist: Exponential}
	shapeH = Shape{Name: "A heavy tail", Workers: 8, Service: 20 * time.Millisecond, Dist: HeavyTail}
)

// A Dist is a distribution of service times. The zero Dist is Lognormal.
type Dist int

// The distributions, each scaled to a mean of 1.
const (
	Lognormal   Dist = iota // sigma 0.5, or that of the shape
	Constant                // always the mean
	Exponential             // as in the M of M/M/c
	HeavyTail               // lognormal with sigma 1.5: 1 % take more than 10 times the mean
)

var distNames = [...]string{"lognormal", "constant", "exponential", "heavy"}

func (d Dist) String() string { return distNames[d] }

// distOf returns the distribution of a name.
func distOf(name string) (Dist, error) {
	for i, known := range distNames {
		if name == known {
			return Dist(i), nil
		}
	}
	return 0, fmt.Errorf("no such distribution, want one of %v", distNames)
}

// draw returns a service time as a multiple of the mean.
func (s Shape) draw(r *rand.Rand) float64 {
	switch s.Dist {
	case Constant:
		return 1
	case Exponential:
		return r.ExpFloat64()
	case Lognormal:
		if s.Sigma > 0 {
			return lognormal(r, s.Sigma)
		}
		return lognormal(r, 0.5)
	case HeavyTail:
		return lognormal(r, 1.5)
	}
	panic("no such distribution")
}

// lognormal draws from the lognormal distribution of mean 1.
func lognormal(r *rand.Rand, sigma float64) float64 {
	return math.Exp(sigma*r.NormFloat64() - sigma*sigma/2)
}
