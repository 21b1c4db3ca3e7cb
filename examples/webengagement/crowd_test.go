package main

import (
	"slices"
	"sync"
	"time"
)

// A crowd sends the same request over and over again, from several goroutines, and
// keeps what comes back.
type crowd struct {
	stopped chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex // guards the field below
	samples []sample
}

// A sample is one answer, or none.
type sample struct {
	began  time.Time
	took   time.Duration
	status int // 0: none
}

const (
	crowdSize  = 12                    // goroutines of a crowd: as many failures in a row open a breaker, and more
	crowdPause = 20 * time.Millisecond // of each, between an answer and the next request
)

func (r *rig) newCrowd(q request) *crowd {
	c := &crowd{stopped: make(chan struct{})}
	for i := range crowdSize {
		c.wg.Go(func() {
			time.Sleep(time.Duration(i) * crowdPause / crowdSize) // not all at once
			pause := time.NewTicker(crowdPause)
			defer pause.Stop()
			for {
				s := sample{began: time.Now()}
				if a, err := r.try(q); err == nil {
					s.status = a.StatusCode
				}
				s.took = time.Since(s.began)
				c.mu.Lock()
				c.samples = append(c.samples, s)
				c.mu.Unlock()
				select {
				case <-pause.C:
				case <-c.stopped:
					return
				}
			}
		})
	}
	return c
}

// stop ends it, and waits for the answers that are still to come.
func (c *crowd) stop() {
	close(c.stopped)
	c.wg.Wait()
}

// between returns the samples that began in a time, by when they did.
func (c *crowd) between(from, to time.Time) (all []sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.samples {
		if !s.began.Before(from) && s.began.Before(to) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b sample) int { return a.began.Compare(b.began) })
	return all
}

// first returns when the first answer with a status had come whose request began after.
func (c *crowd) first(status int, after time.Time) (time.Time, bool) {
	var first time.Time
	for _, s := range c.between(after, after.Add(time.Hour)) {
		if end := s.began.Add(s.took); s.status == status && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first, !first.IsZero()
}

// share returns how much of the samples has a status.
func share(all []sample, status int) float64 {
	n := 0
	for _, s := range all {
		if s.status == status {
			n++
		}
	}
	return float64(n) / float64(max(len(all), 1))
}

// p99 returns within which time 99 of 100 were answered.
func p99(all []sample) time.Duration { return quantile(all, 99) }

func longest(all []sample) time.Duration { return quantile(all, 100) }

func quantile(all []sample, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	took := make([]time.Duration, len(all))
	for i, s := range all {
		took[i] = s.took
	}
	slices.Sort(took)
	return took[(len(took)*percent+99)/100-1]
}
