package simulator_test

import (
	"container/heap"
	"math"
	"time"
)

// sharing is a server whose workers are shared by all requests, as a CPU is. As
// all get the same, it is enough to know how much each has got since the start.
type sharing struct {
	*server
	got    float64 // nanoseconds of work that each request present since the start would have
	at     int64   // when that was
	worked float64 // nanoseconds of work done for all together
	work   []*shared
	timer  *time.Timer
}

// A shared is a request at the server.
type shared struct {
	until float64 // of got
	done  chan struct{}
}

func newSharing(s *server) *sharing {
	h := &sharing{server: s}
	h.timer = time.AfterFunc(time.Hour, h.tick)
	h.timer.Stop()
	for _, f := range s.faults { // the rate changes there
		time.AfterFunc(f.From, h.tick)
		time.AfterFunc(f.Until, h.tick)
	}
	return h
}

func (h *sharing) serve(j *job) {
	s := &shared{done: make(chan struct{})}
	h.mu.Lock()
	h.advance(h.clock.now())
	s.until = h.got + j.demand
	heap.Push(h, s)
	h.arm()
	h.mu.Unlock()
	<-s.done
}

// rate returns how fast each request is served, now.
func (h *sharing) rate() float64 {
	if len(h.work) == 0 {
		return 0
	}
	return math.Min(1, float64(h.shape.Workers)/float64(len(h.work))) / h.slow(h.at)
}

// advance brings got up to now. Nothing that rate depends on has changed since.
func (h *sharing) advance(now int64) {
	passed := float64(now - h.at)
	h.got += passed * h.rate()
	h.worked += passed * math.Min(float64(len(h.work)), float64(h.shape.Workers))
	h.at = now
}

func (h *sharing) workedLocked(now int64) float64 {
	return h.worked + float64(now-h.at)*math.Min(float64(len(h.work)), float64(h.shape.Workers))
}

// arm sets the timer for the next request to be done.
func (h *sharing) arm() {
	if len(h.work) > 0 {
		h.timer.Reset(time.Duration(math.Ceil(math.Max(0, h.work[0].until-h.got) / h.rate())))
	}
}

func (h *sharing) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance(h.clock.now())
	for len(h.work) > 0 && h.work[0].until <= h.got+0.5 {
		close(heap.Pop(h).(*shared).done)
	}
	h.arm()
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h *sharing) Len() int           { return len(h.work) }
func (h *sharing) Less(i, j int) bool { return h.work[i].until < h.work[j].until }
func (h *sharing) Swap(i, j int)      { h.work[i], h.work[j] = h.work[j], h.work[i] }
func (h *sharing) Push(x any)         { h.work = append(h.work, x.(*shared)) }
func (h *sharing) Pop() any {
	last := h.work[len(h.work)-1]
	h.work = h.work[:len(h.work)-1]
	return last
}
