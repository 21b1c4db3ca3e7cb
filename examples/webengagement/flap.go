package main

import (
	"sync"
	"time"

	"example.com/guard"
	"example.com/guard/genesys/genesystest"
)

// A flapper makes the fake Genesys flap by time; its own way goes by requests,
// of which there are few behind a breaker.
type flapper struct {
	mu   sync.Mutex // guards the field below
	stop func()
}

// set ends what goes on, and injects a fault, or flaps between it and none.
func (f *flapper) set(inject func(genesystest.Fault), fault genesystest.Fault, down, up time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
	inject(fault)
	if down == 0 {
		return
	}
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			for _, next := range []struct {
				after time.Duration
				fault genesystest.Fault
			}{{down, genesystest.Fault{}}, {up, fault}} {
				timer := time.NewTimer(next.after)
				select {
				case <-timer.C:
					inject(next.fault)
				case <-quit:
					timer.Stop()
					return
				}
			}
		}
	})
	f.stop = func() {
		close(quit)
		done.Wait()
	}
}

// failGenesys makes the fake misbehave.
func (s *standIns) failGenesys(f fault) error {
	if s.genesys == nil {
		return guard.NotFound("Genesys is a real one: it has no switches.")
	}
	var g genesystest.Fault
	var down, up time.Duration
	switch f.kind {
	case faultDown:
		g = genesystest.Down()
	case faultHang:
		g = genesystest.Hang()
	case faultSlow:
		g = genesystest.Slow(f.delay)
	case faultErrors:
		g = genesystest.Status(f.code)
	case faultFlapping:
		g, down, up = genesystest.Down(), f.down, f.up
	}
	s.flap.set(s.genesys.GWS.Inject, g, down, up)
	return nil
}
