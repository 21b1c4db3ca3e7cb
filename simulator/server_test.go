package simulator_test

import (
	"math"
	"net/http"
	"sync"
	"time"
)

// server is the model of what is guarded: workers behind an unbounded queue, in
// order of arrival, or workers that all requests share.
//
// Nobody can overtake in the queue, so a request's end is known when it enters
// (the recursion of Kiefer and Wolfowitz), and it costs one timer.
type server struct {
	clock        *clock
	shape        Shape
	faults       []Fault
	returnsEarly bool // do not wait for the end of a request, but note it

	mu       sync.Mutex // guards the fields below
	free     []int64    // when each of the workers will have nothing to do, a heap
	assigned float64    // work, in nanoseconds, that has been given to workers
	sharing  *sharing
}

func newServer(sc *Scenario, c *clock) *server {
	s := &server{
		clock: c, shape: sc.Shape, faults: sc.Faults,
		free: make([]int64, sc.Shape.Workers),
	}
	if sc.Shape.Sharing {
		s.sharing = newSharing(s)
	}
	return s
}

// ServeHTTP does the work that the request asks for.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j := jobOf(r.Context())
	if s.sharing != nil {
		s.sharing.serve(j)
		if wait := s.wait(s.clock.now(), j.demand); wait > 0 {
			time.Sleep(time.Duration(wait))
		}
		w.WriteHeader(http.StatusOK)
		return
	}
	end, done := s.enter(s.clock.now(), j)
	if s.returnsEarly {
		j.end = end
	} else {
		s.clock.sleepUntilClaimed(end)
	}
	if done {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// enter queues a request and returns when the handler will return, and whether
// it will have done its work.
func (s *server) enter(now int64, j *job) (end int64, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := max(now, s.free[0])
	if done = !s.shape.Heeds || start < j.deadline; done {
		work := j.demand * s.slow(start)
		end = start + int64(work)
		s.assigned += work
		s.free[0] = end
		s.sink()
		end += int64(s.wait(end, j.demand))
	} else {
		end = j.deadline
	}
	if !s.returnsEarly {
		end = s.clock.claim(end)
	}
	return end, done
}

// sink restores the heap after its first element has grown.
func (s *server) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.free); child++ {
			if s.free[child] < s.free[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		s.free[i], s.free[least] = s.free[least], s.free[i]
		i = least
	}
}

// slow returns by how much work takes longer that begins at an instant.
func (s *server) slow(at int64) float64 {
	slow := 1.0
	for _, f := range s.faults {
		if f.Slow > 0 && at >= int64(f.From) && at < int64(f.Until) {
			slow *= f.Slow
		}
	}
	return slow
}

// wait returns for how long a handler waits that has done its work.
func (s *server) wait(at int64, demand float64) float64 {
	wait := 0.0
	for _, f := range s.faults {
		if at >= int64(f.From) && at < int64(f.Until) {
			wait += f.Wait * demand
		}
	}
	return wait
}

// worked returns for how many nanoseconds workers have been busy until now, all
// together.
func (s *server) worked(now int64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sharing != nil {
		return s.sharing.workedLocked(now)
	}
	worked := s.assigned
	for _, free := range s.free { // a worker has no gaps in what it is yet to do
		worked -= math.Max(0, float64(free-now))
	}
	return worked
}
