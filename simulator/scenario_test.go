package simulator_test

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A Scenario is what happens to a server.
type Scenario struct {
	Name  string
	Shape Shape
	// Load is how much is offered, as a multiple of the capacity for the mix of
	// kinds. After a Shift, it is that for the mix as it is then.
	Load  float64
	Steps []Step // changes of the load
	// Kinds are what the requests consist of; nil means one kind of cost 1.
	Kinds []Kind
	// Shift is when the shares of the kinds become their Later, 0: never. The
	// rate of the arrivals stays.
	Shift   time.Duration
	Faults  []Fault
	Clients Clients
	Warmup  time.Duration // is not measured
	Measure time.Duration // after the warm-up
	Seed    uint64
}

// A Step changes the load at an instant.
type Step struct {
	At   time.Duration
	Load float64
}

// A Kind is a kind of requests: a route, a priority, or a client.
type Kind struct {
	Name     string
	Share    float64 // of all requests; the shares should add up to 1
	Later    float64 // the share after the Shift
	Cost     float64 // service time as a multiple of that of the shape; 0: 1
	Clients  int     // addresses that they come from; 0: 1000
	Priority Priority
}

// A Priority says how much a request matters. The zero Priority is Normal.
type Priority int

// The priorities.
const (
	Normal Priority = iota
	Critical
	Sheddable
)

// A Fault is something that goes wrong for a while.
type Fault struct {
	From, Until time.Duration
	// Slow multiplies the service times, and so divides the capacity; 0: 1.
	Slow float64
	// Wait has handlers wait, after the work, for as many times the service time,
	// on something that has room for any number of them.
	Wait float64
}

func (s *Scenario) kinds() []Kind {
	if s.Kinds == nil {
		return []Kind{{Name: "any", Share: 1, Later: 1}}
	}
	return s.Kinds
}

func (k Kind) cost() float64 {
	if k.Cost == 0 {
		return 1
	}
	return k.Cost
}

// Capacity returns how many requests a second of the mix the server can do when
// nothing is wrong.
func (s *Scenario) Capacity() float64 {
	mean, shares := 0.0, 0.0
	for _, k := range s.kinds() {
		share := k.Share
		if s.Shift > 0 {
			share = k.Later
		}
		mean += share * k.cost()
		shares += share
	}
	return s.Shape.Capacity() * shares / mean
}

// end returns when the last request arrives.
func (s *Scenario) end() time.Duration { return s.Warmup + s.Measure }

// An Env is what a contender may know of the run that it takes part in.
type Env struct {
	*Scenario
	tb     testing.TB
	server *server
	closes []func()
	watch  func() (limit int, note string)
}

// Cleanup has close called when the last request has been answered.
func (e *Env) Cleanup(closer func()) { e.closes = append(e.closes, closer) }

// Watch has f called at the end of each bin, and the Result keep what it returns:
// the limit that the contender has found, and perhaps why.
func (e *Env) Watch(f func() (limit int, note string)) { e.watch = f }

// follow notes what is to be watched.
func (e *Env) follow(r *Result, c *clock) {
	for n := range r.Bins {
		c.sleepUntil(int64(n+1)*int64(bin) + grid/2) // an instant of its own
		limit, note := e.watch()
		r.mu.Lock()
		r.Bins[n].Limit, r.Bins[n].Note = limit, note
		r.mu.Unlock()
	}
}

// Run lets a contender guard the server in the scenario. Two runs with the same
// seed see the same arrivals and service times, whoever the contender is.
func Run(t *testing.T, sc Scenario, c Contender) *Result {
	t.Helper()
	// One P: of the goroutines that can run, the order is that in which they
	// became able to.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var result *Result
	synctest.Test(t, func(t *testing.T) { result = simulate(t, &sc, c) })
	result.Contender = c.Name
	return result
}

func simulate(t *testing.T, sc *Scenario, c Contender) *Result {
	clock := newClock()
	result := newResult(sc)
	srv := newServer(sc, clock)
	srv.returnsEarly = !c.Holds && !sc.Shape.Sharing
	env := &Env{Scenario: sc, tb: t, server: srv}
	clients := &clients{
		Clients: sc.Clients.withDefaults(),
		clock:   clock,
		end:     int64(sc.end()),
		result:  result,
		handler: c.Build(env, http.Handler(srv)),
	}
	clients.templates()
	var all sync.WaitGroup
	clients.running = &all
	all.Go(func() { newArrivals(sc).run(clients) })
	if env.watch != nil {
		all.Go(func() { env.follow(result, clock) })
	}
	if h := sc.Clients.Herd; h.Size > 0 {
		all.Go(func() { clients.herd(sc) })
	}
	all.Go(func() {
		clock.sleepUntil(int64(sc.Warmup))
		before := srv.worked(clock.now())
		clock.sleepUntil(int64(sc.end()))
		result.Utilisation = (srv.worked(clock.now()) - before) / float64(sc.Measure) / float64(sc.Shape.Workers)
	})
	all.Wait()
	for _, closer := range env.closes {
		closer()
	}
	result.sort()
	return result
}
