package dashboard

import (
	"math"
	"time"

	"example.com/guard"
)

// The history is kept for five minutes, one sample a second, in arrays of a fixed
// size. Routes and dependencies beyond these have none, but are shown.
const (
	kept               = 300
	maxRoutes          = 200
	maxDependencies    = 100
	latencyCheckpoints = 5 // samples from one to the next
)

// A column holds one number of each sample; sample n is at n modulo kept.
type column [kept]float32

// history is what has been seen. Samples are counted from 1.
type history struct {
	seq          uint64 // of the newest sample; 0: none yet
	last         guard.Snapshot
	times        [kept]int64 // Unix milliseconds
	server       serverSeries
	routes       []*routeSeries
	dependencies []*dependencySeries
	events       events
}

// serverSeries is the history of the whole server: requests per second, by what
// became of them, and how things stood.
type serverSeries struct {
	served, failed                         column // admitted: answered below 500, and the rest
	limits, overload, dependency, draining column // refused, by why
	tokens, inFlight, bound, waiting       column // bound 0: none
	p50, p99                               column // of this second, in milliseconds; 0: nothing was timed
}

// routeSeries is that of a route.
type routeSeries struct {
	served, failed, refused, p99 column
	latency                      recent
}

// dependencySeries is that of a dependency: calls per second.
type dependencySeries struct {
	fine, failed, refused, p99, state column // state: a guard.State
	latency                           recent
}

// recent is the latency of the last 5 to 10 seconds: that of one is of too few to
// tell much of a route or a dependency. Whole histograms for each second would
// take ten times the memory.
type recent struct {
	older, newer guard.Latency
	p50, p99     float32 // milliseconds; 0: nothing was timed
}

// begin takes the snapshot that the first sample is compared with.
func (h *history) begin(s guard.Snapshot) {
	h.last = s
	h.grow(s)
}

// grow makes room for what is new in a snapshot. Routes and dependencies are
// never taken away, and keep their order.
func (h *history) grow(s guard.Snapshot) {
	for i := len(h.routes); i < min(len(s.Routes), maxRoutes); i++ {
		l := s.Routes[i].Latency
		h.routes = append(h.routes, &routeSeries{latency: recent{older: l, newer: l}})
	}
	for i := len(h.dependencies); i < min(len(s.Dependencies), maxDependencies); i++ {
		l := s.Dependencies[i].Latency
		h.dependencies = append(h.dependencies, &dependencySeries{latency: recent{older: l, newer: l}})
	}
}

// add takes a sample: what has changed since the last.
func (h *history) add(s guard.Snapshot) {
	before := h.last
	elapsed := s.Time.Sub(before.Time).Seconds()
	if elapsed <= 0 { // two looks in one tick of a coarse clock
		return
	}
	h.seq++
	at := int(h.seq % kept)
	h.times[at] = s.Time.UnixMilli()
	h.server.add(at, elapsed, s.Requests, before.Requests, s.Shadow)
	checkpoint := h.seq%latencyCheckpoints == 0
	for i, series := range h.routes {
		now, was := s.Routes[i].Traffic, before.Routes[i].Traffic
		series.latency.add(now.Latency, checkpoint)
		series.add(at, elapsed, now.Counts, was.Counts, s.Shadow)
	}
	for i, series := range h.dependencies {
		now, was := s.Dependencies[i], before.Dependencies[i]
		series.latency.add(now.Latency, checkpoint)
		series.add(at, elapsed, now, was.Counts)
	}
	h.events.compare(before, s)
	h.last = s
	h.grow(s)
}

func (c *serverSeries) add(at int, elapsed float64, now, was guard.Traffic, shadow bool) {
	rate := func(column *column, now, was uint64) { column[at] = perSecond(now, was, elapsed) }
	n, w := now.Counts, was.Counts
	rate(&c.served, served(n, shadow), served(w, shadow))
	rate(&c.failed, n.Failed+n.Panicked, w.Failed+w.Panicked)
	rate(&c.limits, n.Refused.Limited+n.Refused.Client, w.Refused.Limited+w.Refused.Client)
	rate(&c.overload, n.Refused.Overloaded+n.Refused.Saturated, w.Refused.Overloaded+w.Refused.Saturated)
	rate(&c.dependency, n.Refused.Dependency, w.Refused.Dependency)
	rate(&c.draining, n.Refused.Draining, w.Refused.Draining)
	c.tokens[at] = tenths(now.Limit.Tokens)
	c.inFlight[at], c.bound[at] = float32(now.InFlight), float32(now.MaxInFlight)
	c.waiting[at] = float32(now.Bound.Waiting)
	second := now.Latency.Since(was.Latency)
	c.p50[at], c.p99[at] = milliseconds(second.P50), milliseconds(second.P99)
}

func (c *routeSeries) add(at int, elapsed float64, now, was guard.RequestCounts, shadow bool) {
	c.served[at] = perSecond(served(now, shadow), served(was, shadow), elapsed)
	c.failed[at] = perSecond(now.Failed+now.Panicked, was.Failed+was.Panicked, elapsed)
	c.refused[at] = perSecond(now.Refused.Total(), was.Refused.Total(), elapsed)
	c.p99[at] = c.latency.p99
}

func (c *dependencySeries) add(at int, elapsed float64, now guard.DependencySnapshot, was guard.CallCounts) {
	n := now.Counts
	c.fine[at] = perSecond(n.Succeeded+n.Answered+n.Ignored, was.Succeeded+was.Answered+was.Ignored, elapsed)
	c.failed[at] = perSecond(n.Failed, was.Failed, elapsed)
	c.refused[at] = perSecond(n.Open+n.Throttled+n.Saturated, was.Open+was.Throttled+was.Saturated, elapsed)
	c.p99[at], c.state[at] = c.latency.p99, float32(now.State)
}

// served counts the requests that were admitted and did not fail. Shadow mode
// counts those that it would have refused twice.
func served(c guard.RequestCounts, shadow bool) uint64 {
	n := c.Served + c.Aborted + c.Canceled + c.Hijacked
	if shadow {
		n -= min(c.Refused.Total(), n)
	}
	return n
}

func (r *recent) add(now guard.Latency, checkpoint bool) {
	r.p50, r.p99 = 0, 0
	if now.Count != r.older.Count {
		since := now.Since(r.older)
		r.p50, r.p99 = milliseconds(since.P50), milliseconds(since.P99)
	}
	if checkpoint {
		r.older, r.newer = r.newer, now
	}
}

func perSecond(now, was uint64, elapsed float64) float32 {
	return tenths(float64(now-min(was, now)) / elapsed)
}

// tenths rounds, so that less is sent.
func tenths(x float64) float32 { return float32(math.Round(x*10) / 10) }

func milliseconds(d time.Duration) float32 {
	return float32(math.Round(float64(d)/float64(time.Microsecond)) / 1000)
}
