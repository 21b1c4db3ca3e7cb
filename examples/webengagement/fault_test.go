package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// faultFor is how long each fault lasts: go test -run Fault -v . -args -fault.for 10s.
var faultFor = flag.Duration("fault.for", 750*time.Millisecond, "how long each fault lasts, at least")

// A faultySystem is one that the server depends on, real or a stand-in, and that
// can be made to fail while the server runs.
type faultySystem interface {
	// Fault begins a fault of a kind; Heal ends it, and returns when the system
	// is well, however long that takes it.
	Fault(kind string) error
	Heal() error
	// Calls returns how many calls of the crowd have reached it so far, or the
	// driver of it, and not the probes.
	Calls() int
}

// A faultCase is a fault of a system under load.
type faultCase struct {
	system     string // for the table
	kind       string
	dependency string        // whose breaker is to open
	faulty     string        // path that needs the system
	unharmed   string        // path that needs another one, but not it
	partly     bool          // it also answers well at times
	atOnce     bool          // there is nothing before the fault
	good       int           // the status of an answer that is well; 0: 200
	lasts      time.Duration // 0: as the flag says
}

// figures are what is measured of a case.
type figures struct {
	answers      int           // while the fault lasted, on the path that needs the system
	share502     float64       // of these
	shareOK      float64       // of these
	others       map[int]int   // the rest, by status; 0: no answer
	longest      time.Duration // of these, until the answer
	toOpen       time.Duration // from the fault to the first opening
	openings     int           // while the fault lasted
	calls        int           // that reached the system while the breaker was not closed
	p99Before    time.Duration // of the path that does not need the system
	p99During    time.Duration
	medianDuring time.Duration
	unharmed     float64       // share of 200 on that path, during the fault
	recovery     time.Duration // from the end of the fault to the first 200
	goroutines   [2]int        // before and after, without load
	heapMiB      [2]float64
}

// A breakerWatch sees when the breaker of a dependency opens and closes, and
// counts the calls that reach the system in between.
type breakerWatch struct {
	dependency string

	mu     sync.Mutex // guards the fields below
	calls  func() int // nil: not yet
	opened []time.Time
	begun  int // calls when it opened
	open   bool
	leaked int
}

// hook is the BreakerChanged of the guard's hooks.
func (w *breakerWatch) hook(_ context.Context, e guard.BreakerEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Dependency != w.dependency || w.calls == nil {
		return
	}
	switch n := w.calls(); e.To {
	case guard.StateOpen:
		if !w.open {
			w.opened, w.begun, w.open = append(w.opened, e.At), n, true
		}
	case guard.StateClosed:
		if w.open {
			w.leaked, w.open = w.leaked+n-w.begun, false
		}
	case guard.StateHalfOpen: // the Check probes
	}
}

// watch begins.
func (w *breakerWatch) watch(calls func() int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = calls
}

// end stops watching.
func (w *breakerWatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open {
		w.leaked, w.open = w.leaked+w.calls()-w.begun, false
	}
	w.calls = nil
}

func (w *breakerWatch) seen() (opened []time.Time, leaked int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.opened...), w.leaked
}

// measure runs a case: load, a fault, its end, and rest again.
func measure(t *testing.T, r *rig, sys faultySystem, w *breakerWatch, c faultCase) figures {
	t.Helper()
	lasts := max(c.lasts, *faultFor)
	switch c.kind {
	case faultSlow: // the good calls from before count for a whole window
		lasts += defaults().breaker.Window
	case faultHang, faultHole, faultHalfOpen: // until nothing is on its way any more that began before the breaker was open
		lasts += 3 * defaults().breaker.Timeout / 2
	}
	if c.good == 0 {
		c.good = http.StatusOK
	}
	r.load(c, time.Second/8).stop() // connections are made, and pools are full
	var f figures
	f.goroutines[0], f.heapMiB[0] = r.rest()

	load := r.load(c, time.Second/2)
	w.watch(sys.Calls)
	broken := time.Now()
	require.NoError(t, sys.Fault(c.kind))
	time.Sleep(lasts)
	eventually(t, func() bool { opened, _ := w.seen(); return c.atOnce || len(opened) > 0 }, "the breaker opens")
	opened, _ := w.seen()
	if c.kind == faultHole {
		w.end() // what it has held back arrives now, and is no call of now
	}
	healing := time.Now()
	require.NoError(t, sys.Heal())
	mended := time.Now()
	eventually(t, func() bool { _, ok := load.faulty.first(c.good, healing); return ok }, "it recovers by itself")
	var end time.Time
	eventually(t, func() bool { // and stays so
		end = time.Now()
		all := load.faulty.between(end.Add(-time.Second/2), end)
		return len(all) > crowdSize && share(all, c.good) == 1
	}, "it stays well")
	load.stop()

	first, _ := load.faulty.first(c.good, healing)
	f.recovery = max(0, first.Sub(mended))
	during := load.faulty.between(broken, healing)
	f.answers = len(during)
	f.share502, f.shareOK, f.others = share(during, http.StatusBadGateway), share(during, c.good), map[int]int{}
	whole := load.faulty.between(broken, end)
	f.longest = longest(whole)
	for _, s := range whole {
		if s.status != http.StatusBadGateway && s.status != c.good {
			f.others[s.status]++
		}
	}
	unharmed := load.unharmed.between(broken, mended)
	f.unharmed, f.p99During = share(unharmed, http.StatusOK), p99(unharmed)
	f.medianDuring = quantile(unharmed, 50)
	f.p99Before = p99(load.unharmed.between(broken.Add(-time.Second/2), broken))
	if f.openings = len(opened); f.openings > 0 {
		f.toOpen = opened[0].Sub(broken)
	}
	_, f.calls = w.seen()
	load = nil // so that its samples are not counted as the server's memory
	f.goroutines[1], f.heapMiB[1] = r.rest()
	return f
}

// crowds are the load: on a path that needs the system, and on one that does not.
type crowds struct{ faulty, unharmed *crowd }

// load begins, and has gone on for a while when it returns.
func (r *rig) load(c faultCase, lasts time.Duration) *crowds {
	all := &crowds{faulty: r.newCrowd(request{path: c.faulty}), unharmed: r.newCrowd(request{path: c.unharmed})}
	time.Sleep(lasts)
	return all
}

func (c *crowds) stop() {
	c.faulty.stop()
	c.unharmed.stop()
}

// rest returns goroutines and memory when nothing goes on. The number of
// goroutines is the least that is seen within a while.
func (r *rig) rest() (goroutines int, heapMiB float64) {
	r.client.CloseIdleConnections()
	r.server.genesys.client.CloseIdleConnections()
	goroutines = runtime.NumGoroutine()
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		goroutines = min(goroutines, runtime.NumGoroutine())
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return goroutines, float64(m.HeapAlloc) / (1 << 20)
}

// check asserts what holds for every fault, whatever the machine is.
func (f figures) check(t *testing.T, c faultCase) {
	t.Helper()
	assert.Empty(t, f.others, "only 200 and 502: no 500, and none without an answer")
	assert.Positive(t, f.share502)
	if !c.partly {
		assert.Greater(t, f.share502, 0.9)
	}
	if !c.atOnce {
		assert.NotZero(t, f.openings, "the breaker opens")
		assert.LessOrEqual(t, f.goroutines[1], f.goroutines[0]+10, "goroutines are level")
	}
	assert.LessOrEqual(t, f.calls, max(f.openings, 1)*crowdSize, "while it is open there are only those that were on their way")
	const slack = 9 * time.Second // of a busy machine, which is not what this is about
	assert.Greater(t, f.unharmed, 0.8, "what does not need the system is answered as ever, but for the stalls of such a machine")
	assert.Less(t, f.medianDuring, defaults().breaker.SlowCall, "what does not need the system does not wait for it")
	assert.Less(t, f.p99During, defaults().breaker.Timeout+slack)
	assert.Less(t, f.longest, defaults().breaker.Timeout+slack, "nobody hangs")
	assert.Less(t, f.heapMiB[1], f.heapMiB[0]+20, "memory is level")
}

// faultTable prints the rows of README.md's table when the test is over.
type faultTable struct{ lines []string }

const faultHead = `| system | fault | 502 (200) | longest | opens after | calls while open | other routes: 200, p99 (before) | first 200 after | goroutines | heap, MiB |
|---|---|---|---|---|---|---|---|---|---|`

func (table *faultTable) add(c faultCase, f figures) {
	toOpen := ms(f.toOpen)
	if f.openings == 0 {
		toOpen = "before"
	}
	table.lines = append(table.lines, fmt.Sprintf("| %s | %s | %.1f %% (%.1f %%) of %d | %s | %s | %d | %.1f %%, %s (%s) | %s | %d, %d | %.1f, %.1f |",
		c.system, c.kind, 100*f.share502, 100*f.shareOK, f.answers, ms(f.longest), toOpen, f.calls,
		100*f.unharmed, ms(f.p99During), ms(f.p99Before), ms(f.recovery),
		f.goroutines[0], f.goroutines[1], f.heapMiB[0], f.heapMiB[1]))
}

func (table *faultTable) print() {
	fmt.Println(faultHead)
	for _, line := range table.lines {
		fmt.Println(line)
	}
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }
