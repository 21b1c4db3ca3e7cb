package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/guard"
)

// A sample is what has been counted up to a time, or since an earlier sample.
type sample struct {
	at      time.Time
	took    time.Duration // since the earlier one
	counts  [2][kinds]int64
	latency guard.Latency // of the requests that were admitted
	state   [2]guard.State
	changed [2]time.Time // when the breaker came to that state
	usage                // of a phase, the least: what it takes all the time
}

// A usage is what the process takes, the crowd and the dependencies included.
type usage struct {
	goroutines int
	heap       float64 // MB, without garbage
}

func usageNow() usage {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine(), float64(m.HeapAlloc) / 1e6}
}

func (s *storm) sample() sample {
	now := s.guard.Snapshot() // a server would have it in its metrics
	m := sample{at: now.Time, latency: now.Requests.Latency, usage: usageNow()}
	for i, d := range s.deps {
		for k := range m.counts[i] {
			m.counts[i][k] = d.counts[k].Load()
		}
		m.counts[i][refused] = int64(now.Routes[i].Counts.Refused.Dependency)
		m.state[i], m.changed[i] = now.Dependencies[i].State, now.Dependencies[i].Since
	}
	return m
}

func (m sample) since(earlier sample) sample {
	for i := range m.counts {
		for k := range m.counts[i] {
			m.counts[i][k] -= earlier.counts[i][k]
		}
	}
	m.took, m.latency = m.at.Sub(earlier.at), m.latency.Since(earlier.latency)
	return m
}

// sum returns how much of a kind there is for both routes.
func (m sample) sum(kind int) int64 { return m.counts[visits][kind] + m.counts[agents][kind] }

// A table prints lines. Each is written at once, so that what happens at the same
// time does not tear it.
type table struct {
	slog.Handler // for what the guard's log does not use
	mu           sync.Mutex
	out          io.Writer
	start        time.Time
	logged       atomic.Int64 // lines of the log
}

func (t *table) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *table) event(format string, args ...any) {
	t.line("%5.1fs  -- %s", time.Since(t.start).Seconds(), fmt.Sprintf(format, args...))
}

func (t *table) header() {
	t.line("                 answers / second   visits database    agents service  admitted")
	t.line("  time  phase     200   502   503   breaker  calls/s   breaker  calls/s     p99  goroutines    heap")
}

func (t *table) row(phase string, m sample) {
	rate := func(n int64) int64 { return int64(float64(n)/m.took.Seconds() + 0.5) }
	other := ""
	if n := m.sum(gotOther); n > 0 {
		other = fmt.Sprintf(" + %d other", n)
	}
	t.line("%5.1fs  %-8s %4d %5d %5d   %-9s %6d   %-9s %6d  %6s  %10d  %4.1fMB%s", m.at.Sub(t.start).Seconds(), phase,
		rate(m.sum(got200)), rate(m.sum(got502)), rate(m.sum(got503)),
		m.state[visits], rate(m.counts[visits][reached]), m.state[agents], rate(m.counts[agents][reached]),
		short(m.latency.P99), m.goroutines, m.heap, other)
}

// short rounds a time so that it fits into the table.
func short(d time.Duration) time.Duration {
	unit := 100 * time.Microsecond
	for d >= 100*unit {
		unit *= 10
	}
	return d.Round(unit)
}

// Enabled is a part of slog.Handler, which the table is for the guard's log.
func (t *table) Enabled(context.Context, slog.Level) bool { return true }

// Handle prints what becomes of breakers, and only counts the other lines of the
// log: the table has what they tell in numbers.
func (t *table) Handle(_ context.Context, r slog.Record) error {
	t.logged.Add(1)
	if r.Message != "guard: breaker changed" {
		return nil
	}
	of, wait := map[string]slog.Value{}, ""
	r.Attrs(func(a slog.Attr) bool {
		of[a.Key] = a.Value
		return true
	})
	if v, ok := of["open_for"]; ok {
		wait = fmt.Sprintf(", for %v", short(v.Duration()))
	}
	t.event("breaker of %v: %v -> %v%s (%v)", of["dependency"], of["from"], of["to"], wait, of["reason"])
	return nil
}

// verdict returns an error if something happened that never must. What has to
// happen was waited for in play.
func verdict(seen []sample, before, after usage) error {
	first, last := seen[0], seen[len(seen)-1]
	for _, m := range seen {
		if n := m.sum(strays); n > 0 {
			return fmt.Errorf("%d calls reached a dependency while its breaker was open", n)
		}
	}
	if last.goroutines > 2*first.goroutines+50 {
		return fmt.Errorf("under the same load there were %d goroutines at first, and %d in the end", first.goroutines, last.goroutines)
	}
	if after.goroutines > before.goroutines {
		return fmt.Errorf("there were %d goroutines before the start, and %d are left", before.goroutines, after.goroutines)
	}
	return nil
}

// tell says in words what was seen. Every number is of this run.
func (s *storm) tell(seen []sample, before, after usage) {
	normal, overload, last, all := seen[0], seen[1], seen[5], int64(0)
	for _, m := range seen {
		all += m.sum(answers)
	}
	s.table.line(`
What you have just seen

1. Normal load. The server accepts %d requests a second, and fewer came. %d of %d got
   200, 99 in 100 of them within %v.

2. Overload. %d requests came in %.1f s. The server went on with what it can do: %d got
   200, 99 in 100 within %v. The other %d got 503 Service Unavailable at once, with a
   Retry-After that says when to come back.
`, limit, normal.sum(got200), normal.sum(answers), short(normal.latency.P99),
		overload.sum(answers), overload.took.Seconds(), overload.sum(got200), short(overload.latency.P99), overload.sum(got503))

	death := func(title string, route, other int, m, after sample) {
		c, o := m.counts[route], m.counts[other]
		s.table.line(`%s.
   %d calls reached it, then its circuit breaker opened. From then on it got nothing but
   probes (%d; other calls: %d), which ask whether it works again. %d requests for /%s got
   502 Bad Gateway at once, without a call. /%s does not need it and went on: %d of %d got
   200. When it worked again, a probe found that out after %v, and its breaker closed.
`, title, c[reached]-c[probes], c[probes], c[strays], c[refused], s.deps[route].name, s.deps[other].name, o[got200], o[answers],
			short(after.changed[route].Sub(after.at.Add(-after.took))))
	}
	death("3. A failing dependency. The visits database answered each call with 500", visits, agents, seen[2], seen[3])
	death(fmt.Sprintf("4. A hanging dependency. The agents service did not answer: each call waited %v in vain", timeout),
		agents, visits, seen[4], seen[5])

	s.table.line(`5. What it cost. Under normal load there were %d goroutines and %.1f MB of heap before the
   storm, %d and %.1f MB after it, crowd and dependencies included. Now that all is stopped
   it is %d and %.1f MB, as against %d and %.1f MB before the start. The guard's log has %d
   lines for %d requests, since it sums up refusals once a second.`,
		normal.goroutines, normal.heap, last.goroutines, last.heap, after.goroutines, after.heap,
		before.goroutines, before.heap, s.table.logged.Load(), all)
}
