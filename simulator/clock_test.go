package simulator_test

import (
	"sync"
	"time"
)

// grid is the resolution of arrivals. What else happens to the model happens at
// odd nanoseconds, each only once: timers of a bubble that are due at the same
// instant run in random order.
const grid = 1 << 10

// A clock counts the nanoseconds of a run.
type clock struct {
	start time.Time

	mu    sync.Mutex // guards the fields below
	taken map[int64]struct{}
}

func newClock() *clock { return &clock{start: time.Now(), taken: make(map[int64]struct{})} }

func (c *clock) now() int64 { return int64(time.Since(c.start)) }

func (c *clock) sleepUntil(at int64) { time.Sleep(time.Duration(at - c.now())) }

// claim returns the first instant from at on that is no arrival and nobody else's.
func (c *clock) claim(at int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at |= 1; ; at += 2 {
		if _, taken := c.taken[at]; !taken {
			c.taken[at] = struct{}{}
			return at
		}
	}
}

// sleepUntilClaimed sleeps until an instant that was claimed.
func (c *clock) sleepUntilClaimed(at int64) {
	c.sleepUntil(at)
	c.mu.Lock()
	delete(c.taken, at)
	c.mu.Unlock()
}
