package guard

import (
	"math"
	"runtime"
	"runtime/metrics"
	"time"
)

// measure sums up what a law goes by. A span is over after so many requests, twice
// as many as there are places, so that it is about two of their times, whether
// that is a millisecond or a minute; what a change of the limit has not reached
// yet is left out.
type measure struct {
	load      workload
	delay     *schedulerDelay // nil: it is no sign
	stretch   float64         // of the last span
	delayedAt int64           // when requests last waited for a processor
	usual     float64         // what a request of it was expected to take

	brief    bool // spans are half as long
	skip     int  // how many are still to be left out
	need     int
	n        int
	seconds  float64 // they took
	expected float64 // they should have taken

	lost                      int // of them: the client had gone, after longer than usual
	lostSeconds, lostExpected float64

	since int64
	at    int64   // up to where the next two are summed up
	busy  float64 // places × time
	idle  float64 // time in which a place was free
}

const (
	leastSamples = 32
	fewSamples   = 12 // if it takes as many of their times to get them
	idleShare    = 0.25
	lateBy       = 1.25 // times as long as usual: a client that has waited for that has lost patience
	// A wait for a processor of twice what a request takes is one to act on, but for
	// these: less is no harm, and more is, however long requests take.
	leastDelay = 10 * time.Millisecond
	mostDelay  = 50 * time.Millisecond
)

// advance sums up the time since it was called last, before something changes.
func (m *measure) advance(now int64, b *bound) {
	d := float64(now - m.at)
	if d <= 0 { // clocks are read before the lock is had
		return
	}
	m.busy += d * float64(b.taken)
	if b.taken < b.places {
		m.idle += d
	}
	m.at = now
}

func (m *measure) restart(now int64, places, skip int) {
	m.n, m.seconds, m.expected, m.busy, m.idle = 0, 0, 0, 0, 0
	m.lost, m.lostSeconds, m.lostExpected = 0, 0, 0
	m.since, m.at = now, max(now, m.at)
	m.need, m.skip = max(leastSamples, 2*places), skip
	if m.brief {
		m.need /= 2
	}
}

// add takes one that has come to its end, and reports whether the span is over.
func (m *measure) add(seconds float64, k kind, now int64, b *bound) bool {
	if m.skip > 0 {
		if m.skip--; m.skip == 0 {
			m.restart(now, b.places, 0)
		}
		return false
	}
	m.n++
	if well := m.load.usual(k.route); k.end == endedUnheard && well > 0 && seconds > lateBy*b.law.plain*well {
		m.lost++ // who hangs up sooner than usual tells nothing of the server
		m.lostSeconds += seconds
		m.lostExpected += well
	} else {
		m.seconds += seconds
		m.expected += m.load.saw(k, seconds, m.stretch)
	}
	return m.n >= m.need || m.n >= fewSamples && float64(now-m.since) > fewSamples*b.took
}

// span ends the span. plain: how much of what is expected a request takes when
// nothing queues.
func (m *measure) span(now int64, plain float64) (s span, ok bool) {
	d := float64(max(now-m.since, 1)) / nano
	switch {
	case 2*m.lost > m.n:
		m.load.close(1, false)
		return span{work: m.expected / d, seconds: d, lost: true}, true
	case m.lost <= m.n/8: // the long ones of a server that is well, which would be missed
		m.seconds += m.lostSeconds
		m.expected += m.lostExpected
	default:
		m.n -= m.lost
	}
	if m.expected <= 0 || m.seconds <= 0 {
		m.load = workload{} // what is learned from a clock that is too coarse is of no use
		return s, false     // all of them took no time at all
	}
	s = span{
		work: m.expected / d, busy: m.busy / nano / d, stretch: m.seconds / m.expected, seconds: d,
		scarce: m.idle/nano < idleShare*d,
	}
	if m.delay != nil {
		usual := time.Duration(plain * m.expected / float64(m.n) * nano)
		if m.delay.p90(now) > min(max(leastDelay, 2*usual), mostDelay) {
			m.delayedAt, s.starved = now, !s.scarce
		}
		if m.delayedAt > 0 && now-m.delayedAt < int64(time.Second) {
			s.least = headroom*float64(runtime.GOMAXPROCS(0)) + 0.5 // they are the workers then
		}
	}
	m.stretch, m.usual = s.stretch, m.expected/float64(m.n)
	m.load.close(s.stretch, !s.scarce && !s.starved)
	return s, true
}

// schedulerDelay tells how long goroutines wait until they run. It is read in
// passing, not by a ticker, which would have to wait itself.
type schedulerDelay struct {
	sample []metrics.Sample
	counts []uint64 // as they were at
	at     int64
	last   time.Duration
}

const delayEvery = 50 * time.Millisecond

// p90 returns what nine of ten have waited for at the most, of those that began
// to run since it was looked at last.
func (s *schedulerDelay) p90(now int64) time.Duration {
	if s.sample != nil && now-s.at < int64(delayEvery) {
		return s.last
	}
	if s.sample == nil {
		s.sample = []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	}
	s.at, s.last = now, 0
	metrics.Read(s.sample)
	if s.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h := s.sample[0].Value.Float64Histogram()
	if len(s.counts) != len(h.Counts) {
		s.counts = make([]uint64, len(h.Counts))
		copy(s.counts, h.Counts)
		return 0 // since when the process began: nothing new
	}
	var all, below uint64
	for i, n := range h.Counts {
		all += n - s.counts[i]
	}
	for i, n := range h.Counts {
		if below += n - s.counts[i]; all > 0 && below*10 >= all*9 {
			s.last = time.Duration(min(max(h.Buckets[i], 0)*nano, math.MaxInt64/2))
			break
		}
	}
	copy(s.counts, h.Counts)
	return s.last
}
