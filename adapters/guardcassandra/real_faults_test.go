//go:build unix

package guardcassandra_test

import (
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A realFault is something that happens to a node under load.
type realFault struct {
	name   string
	atOnce bool        // the node is down from the start
	proxy  *faultProxy // between driver and node; nil: none
	lasts  int         // so many answers once the breaker is open; 0: 500
	strike func()
	heal   func() time.Time // returns when the node was well again
}

// Whatever happens to a real Cassandra: who needs it is answered 502, at once
// when the breaker is open, nobody else notices, and all is well soon after it is.
func TestRealFaults(t *testing.T) {
	c := newRealCassandra(t)
	table := &realTable{head: []string{
		"fault", "lasted", "502 of all", "502 once open", "latest answer", "open after", "reached the driver while open",
		"dials", "p99 without Cassandra", "first 200 after", "goroutines before, during, after", "heap before, during, after",
	}}
	defer table.log(t)
	start := func() time.Time {
		c.start()
		return c.awaken(c.cluster())
	}
	suffer := func(f realFault) {
		require.True(t, t.Run(f.name, func(t *testing.T) { f.test(t, c, table) }), "what follows needs a node that is well")
	}

	suffer(realFault{name: "refused from the start", atOnce: true, strike: func() {}, heal: start})
	hole := realFault{
		name:   "black hole (SIGSTOP)",
		strike: func() { c.signal(syscall.SIGSTOP) },
		heal: func() time.Time {
			c.signal(syscall.SIGCONT)
			return time.Now()
		},
	}
	suffer(hole)
	hole.name += ", long" // so that the driver drops its connections, after six heartbeats that fail
	hole.lasts = int(45 * time.Second / realPace * 4 / 5)
	suffer(hole)
	proxy := newFaultProxy(t, c.addr())
	suffer(realFault{
		name: "slow node", proxy: proxy,
		strike: func() { proxy.slow(realDelay) },
		heal: func() time.Time {
			proxy.slow(0)
			return time.Now()
		},
	})
	suffer(realFault{
		name: "resets", proxy: proxy,
		strike: func() { proxy.reset(true) },
		heal: func() time.Time {
			proxy.reset(false)
			return time.Now()
		},
	})
	suffer(realFault{name: "kill -9 and restart", strike: c.kill, heal: start})
}

// test lets it happen, to a server of its own.
func (f realFault) test(t *testing.T, c *realCassandra, table *realTable) {
	addr := c.addr()
	if f.proxy != nil {
		addr = f.proxy.addr()
	}
	s := newRealServer(t, addr)
	before, heapBefore := footprint()
	stop := s.load()
	defer stop()
	if !f.atOnce {
		s.served(time.Now(), 100)
		before, heapBefore = footprint()
	}

	struck := time.Now()
	dials := s.dials.Load()
	f.strike()
	eventually(t, func() bool { _, open := s.told(struck, guard.StateOpen); return open }, "the breaker did not open")
	opened, _ := s.told(struck, guard.StateOpen)
	checks, known := s.checks.Load(), time.Now()
	if f.lasts == 0 {
		f.lasts = 500
	}
	require.Eventually(t, func() bool { return len(s.sent(known, time.Now(), true)) >= f.lasts }, startTime, 20*time.Millisecond, "answers do not come any more")
	during, heapDuring := footprint()
	healing := time.Now()
	checks = s.checks.Load() - checks
	dials = s.dials.Load() - dials
	well := f.heal()
	first := s.served(healing, 100)
	after, heapAfter := footprint()
	stop()

	all, once := s.sent(struck, healing, true), s.sent(known, healing, true)
	for _, a := range s.sent(struck, time.Now(), true) {
		require.Contains(t, []int{http.StatusOK, http.StatusBadGateway}, a.status, "%v after the fault: %v", a.sent.Sub(struck), a.problem)
		require.LessOrEqual(t, a.took, realTimeout+realSlack, "an answer that hangs")
	}
	plain := s.sent(struck, first, false)
	require.NotEmpty(t, plain)
	require.EqualValues(t, 1, share(plain, http.StatusOK), "who does not need Cassandra must not notice")
	require.EqualValues(t, 1, share(once, http.StatusBadGateway), "the breaker is open")
	require.Zero(t, s.leaked.Load(), "calls that reached the driver though the breaker was open")
	if !f.atOnce {
		require.LessOrEqual(t, after, before+200, "goroutines are left of the fault")
	}

	table.add(f.name,
		millis(healing.Sub(struck)),
		percent(share(all, http.StatusBadGateway)),
		percent(share(once, http.StatusBadGateway)),
		millis(percentile(all, 1)),
		millis(opened.At.Sub(struck))+" ("+opened.Reason+")",
		fmt.Sprintf("%d, and %d checks", s.leaked.Load(), checks),
		strconv.FormatInt(dials, 10),
		percentile(plain, 0.99).Round(10*time.Microsecond).String(),
		millis(max(first.Sub(well), 0)),
		fmt.Sprintf("%d, %d, %d", before, during, after),
		fmt.Sprintf("%.1f, %.1f, %.1f MB", mega(heapBefore), mega(heapDuring), mega(heapAfter)),
	)
}
