package guard_test

import (
	"time"

	"example.com/guard"
)

// A modelConfig is what a modelled breaker goes by. Shares are fractions, so
// that the model can compare them exactly.
type modelConfig struct {
	window             time.Duration
	minCalls           int
	failures, slows    [2]int // numerator and denominator
	slowCall           time.Duration
	openFor, most      time.Duration
	probes, atOnce     int
	probeTimeout, call time.Duration
}

func (c modelConfig) given() guard.DependencyConfig {
	return guard.DependencyConfig{
		Timeout: c.call, Concurrency: guard.Concurrency{Max: c.atOnce},
		Window: c.window, MinCalls: c.minCalls,
		FailureRate: float64(c.failures[0]) / float64(c.failures[1]),
		SlowCall:    c.slowCall,
		SlowRate:    float64(c.slows[0]) / float64(c.slows[1]),
		OpenFor:     c.openFor, MaxOpenFor: c.most,
		Probes: c.probes, ProbeTimeout: c.probeTimeout,
	}
}

func someModelConfig(s *script) modelConfig {
	c := modelConfig{
		window:   []time.Duration{10 * time.Second, 1000003 * time.Nanosecond, time.Second}[s.next(3)],
		minCalls: []int{1, 2, 3, 5}[s.next(4)],
		failures: [][2]int{{1, 2}, {1, 1}, {3, 10}, {1, 3}}[s.next(4)],
		slows:    [][2]int{{4, 5}, {1, 1}, {1, 2}, {1, 100}}[s.next(4)],
		slowCall: []time.Duration{0, 0, 100 * time.Millisecond, 2 * time.Second}[s.next(4)],
		openFor:  []time.Duration{time.Second, time.Millisecond, 5 * time.Second}[s.next(3)],
		probes:   []int{1, 1, 2, 3}[s.next(4)],
		atOnce:   []int{0, 0, 1, 3}[s.next(4)],
		call:     []time.Duration{guard.NoTimeout, 3 * time.Second}[s.next(2)],
	}
	c.most = []time.Duration{c.openFor, 3 * c.openFor, time.Minute}[s.next(3)]
	c.probeTimeout = []time.Duration{c.openFor, time.Minute, 1}[s.next(3)]
	return c
}

// A modelCall is one that was let through.
type modelCall struct {
	period   int // of the breaker, in which it began
	began    time.Duration
	config   modelConfig
	deadline time.Duration // of a probe
	out      bool          // a probe that is waited for
}

// A modelEntry is an outcome that a closed breaker has counted.
type modelEntry struct {
	at           time.Duration
	failed, slow bool
}

// A modelMove is a change of state.
type modelMove struct {
	from, to            guard.State
	at                  time.Duration
	least, most         time.Duration // bounds of the open time; 0: not told
	calls, failed, slow int64         // when it trips
}

// A breakerModel is a breaker as slow and as plain as can be: it keeps every
// outcome in a list, and every probe in another. Instants are times since the
// start. It is told how long the breaker stays open, since that is random.
type breakerModel struct {
	config modelConfig
	state  guard.State
	mode   guard.Mode
	period int // counts the changes

	since, until time.Duration
	opened       func(modelMove) time.Duration // tells the open time
	moved        func(modelMove)

	slot    time.Duration // closed
	entries []modelEntry
	streak  int

	wanted, passed int // half-open
	probes         []*modelCall

	openTime time.Duration // of the last time, without jitter
	inFlight int
}

func newBreakerModel(c modelConfig) *breakerModel {
	return &breakerModel{config: c, slot: c.window / 10}
}

// tally counts what is within the window.
func (m *breakerModel) tally(now time.Duration) (calls, failed, slow int64) {
	for _, e := range m.entries {
		if now/m.slot-e.at/m.slot >= 10 {
			continue
		}
		calls++
		if e.failed {
			failed++
		}
		if e.slow {
			slow++
		}
	}
	return calls, failed, slow
}

func (m *breakerModel) enter(to guard.State, at time.Duration) {
	m.state, m.since = to, at
	m.period++
	m.probes, m.passed, m.entries, m.streak = nil, 0, nil, 0
	m.wanted, m.slot = m.config.probes, m.config.window/10
}

func (m *breakerModel) open(at time.Duration, move modelMove) {
	m.openTime = min(max(m.openTime, m.config.openFor), m.config.most)
	move.from, move.to, move.at = m.state, guard.StateOpen, at
	move.least, move.most = m.openTime*9/10, min(m.openTime*11/10, m.config.most)
	m.enter(guard.StateOpen, at)
	m.until = at + m.opened(move)
}

// advance does what time does.
func (m *breakerModel) advance(now time.Duration) {
	for m.mode == guard.ModeAuto {
		var hung *modelCall
		for _, p := range m.probes {
			if p.deadline <= now && (hung == nil || p.deadline < hung.deadline) {
				hung = p
			}
		}
		switch {
		case m.state == guard.StateOpen && now >= m.until:
			m.moved(modelMove{from: m.state, to: guard.StateHalfOpen, at: m.until})
			m.enter(guard.StateHalfOpen, m.until)
		case hung != nil:
			m.openTime *= 2
			m.open(hung.deadline, modelMove{})
		default:
			return
		}
	}
}

// A modelRefusal is why a call is refused, and what it is told to wait.
type modelRefusal struct {
	why   error
	wait  time.Duration
	known bool
}

// begin lets a call through, or says why not.
func (m *breakerModel) begin(now time.Duration) (*modelCall, *modelRefusal) {
	m.advance(now)
	switch {
	case m.mode == guard.ModeOpen:
		return nil, &modelRefusal{why: guard.ErrOpen}
	case m.state == guard.StateOpen:
		return nil, &modelRefusal{why: guard.ErrOpen, wait: m.until - now, known: true}
	case m.state == guard.StateHalfOpen && len(m.probes)+m.passed >= m.wanted:
		return nil, &modelRefusal{why: guard.ErrOpen}
	case m.config.atOnce > 0 && m.inFlight >= m.config.atOnce:
		return nil, &modelRefusal{why: guard.ErrSaturated}
	}
	m.inFlight++
	c := &modelCall{period: m.period, began: now, config: m.config}
	if m.state == guard.StateHalfOpen {
		c.deadline, c.out = now+m.config.probeTimeout, true
		m.probes = append(m.probes, c)
	}
	return c, nil
}

// end takes the outcome of a call, and reports whether it was slow.
func (m *breakerModel) end(c *modelCall, o guard.Outcome, now time.Duration) (slow bool) {
	m.advance(now)
	m.inFlight--
	slow = c.config.slowCall > 0 && now-c.began >= c.config.slowCall
	if c.period != m.period {
		return slow
	}
	switch m.state {
	case guard.StateClosed:
		if o == guard.OutcomeFailed || o == guard.OutcomeSucceeded {
			m.count(now, o == guard.OutcomeFailed, slow)
		}
	case guard.StateHalfOpen:
		m.probed(c, o, slow, now)
	case guard.StateOpen:
	}
	return slow
}

func (m *breakerModel) count(now time.Duration, bad, slow bool) {
	m.entries = append(m.entries, modelEntry{now, bad, slow})
	if m.streak++; !bad {
		m.streak = 0
	}
	calls, failed, slows := m.tally(now)
	reaches := func(n int64, share [2]int) bool {
		return calls >= int64(m.config.minCalls) && n*int64(share[1]) >= calls*int64(share[0])
	}
	trips := bad && (m.streak >= m.config.minCalls || reaches(failed, m.config.failures)) ||
		slow && reaches(slows, m.config.slows)
	if !trips || m.mode != guard.ModeAuto {
		return
	}
	if now-m.since >= m.slot*10 { // it had recovered
		m.openTime = 0
	}
	m.open(now, modelMove{calls: calls, failed: failed, slow: slows})
}

func (m *breakerModel) probed(c *modelCall, o guard.Outcome, slow bool, now time.Duration) {
	var others []*modelCall
	for _, p := range m.probes {
		if p != c {
			others = append(others, p)
		}
	}
	m.probes = others
	switch {
	case o == guard.OutcomeIgnored:
	case o == guard.OutcomeFailed, o == guard.OutcomeSucceeded && slow:
		m.openTime *= 2
		m.open(now, modelMove{})
	default:
		if m.passed++; m.passed == m.wanted {
			m.moved(modelMove{from: m.state, to: guard.StateClosed, at: now})
			m.enter(guard.StateClosed, now)
		}
	}
}

// force is Force.
func (m *breakerModel) force(to guard.Mode, now time.Duration) {
	m.advance(now)
	var state guard.State
	switch to {
	case guard.ModeAuto:
		m.openTime = 0
	case guard.ModeOpen:
		state = guard.StateOpen
	case guard.ModeClosed:
	default:
		return
	}
	if to == m.mode && to != guard.ModeAuto {
		return
	}
	if state != m.state {
		m.moved(modelMove{from: m.state, to: state, at: now})
	}
	m.mode = to
	m.enter(state, now)
}
