package main

import (
	"bytes"
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// What a line of each kind looks like.
var (
	row    = regexp.MustCompile(`^ *\d+\.\ds  ([a-z]+) +\d+ +\d+ +\d+ +(closed|open|half-open) +\d+ +(closed|open|half-open) +\d+ +[\d.]+(µs|ms|s)? +\d+ +\d+\.\dMB( \+ \d+ other)?$`)
	beside = regexp.MustCompile(`^ *\d+\.\ds  flood +(\d+ +){8}\d+$`)
	event  = regexp.MustCompile(`^ *\d+\.\ds  -- (normal|overload|failing|recovery|hanging|breaker of (visits|agents)): .+$`)
	opened = regexp.MustCompile(`breaker of (\w+): closed -> open, for \S+ \(\S.*\)`)
	shut   = regexp.MustCompile(`breaker of (\w+): half-open -> closed \(\S.*\)`)
)

// The program checks itself what the guard did. Here it is whether it says so,
// and whether the lines are whole.
func TestStorm(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, 4*time.Second), "%s", &out)
	t.Log(out.String())
	lines, story, ok := strings.Cut(out.String(), "\nWhat you have just seen\n")
	require.True(t, ok)
	lines, last, ok := strings.Cut(lines, "\n\n") // the last act has other columns
	require.True(t, ok)

	table := strings.Split(strings.TrimRight(lines, "\n"), "\n")
	for _, column := range []string{"answers / second", "visits database", "agents service", "admitted"} {
		assert.Contains(t, table[0], column)
	}
	assert.Equal(t, strings.Fields("time phase 200 502 503 breaker calls/s breaker calls/s p99 goroutines heap"), strings.Fields(table[1]))
	var phases []string
	for _, line := range table[2:] {
		if m := row.FindStringSubmatch(line); m == nil {
			assert.Regexp(t, event, line)
		} else if len(phases) == 0 || phases[len(phases)-1] != m[1] {
			phases = append(phases, m[1])
		}
	}
	assert.Equal(t, []string{"normal", "overload", "failing", "recovery", "hanging", "recovery"}, phases)
	act := strings.Split(strings.TrimRight(last, "\n"), "\n")
	require.Len(t, act, 3+floodFor)
	assert.Contains(t, act[0], "a self-tuned bound")
	assert.Equal(t, strings.Fields("time phase 200 503 given up waiting 200 503 given up waiting limit"), strings.Fields(act[1]))
	assert.Contains(t, act[2], "-- flood: ")
	for _, line := range act[3:] {
		assert.Regexp(t, beside, line)
	}
	for _, change := range []*regexp.Regexp{opened, shut} {
		of := map[string]bool{}
		for _, m := range change.FindAllStringSubmatch(lines, -1) {
			of[m[1]] = true
		}
		assert.Equal(t, map[string]bool{"visits": true, "agents": true}, of, "%v", change)
	}

	for _, title := range []string{"1. Normal load", "2. Overload", "3. A failing", "4. A hanging", "5. What it cost", "6. Overload that nobody"} {
		assert.Contains(t, story, "\n"+title)
	}
	assert.NotContains(t, story, "%!", "a verb without its value")
	for line := range strings.Lines(out.String()) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " + ") // more than 200, 502 and 503 is not for a good day
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 100, "100 columns: %s", line)
	}
}

// An interrupter interrupts the storm when the table gets to a phase.
type interrupter struct {
	bytes.Buffer
	at     string
	cancel context.CancelFunc
}

func (i *interrupter) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(i.at)) {
		i.cancel()
	}
	return i.Buffer.Write(line)
}

func TestInterrupted(t *testing.T) {
	for _, at := range []string{"-- overload", "-- flood"} {
		t.Run(at, func(t *testing.T) {
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			out := &interrupter{at: at, cancel: cancel}
			require.NoError(t, run(ctx, out, 4*time.Second))
			assert.Contains(t, out.String(), "Stopped before the end")
			assert.NotContains(t, out.String(), "What you have just seen")
			settle(before)
			assert.LessOrEqual(t, runtime.NumGoroutine(), before, "goroutines")
		})
	}
}

func TestTooShort(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), &bytes.Buffer{}, time.Second), "-for 1s is too short")
}

// What each phase has to show is not shown by nothing, nor by a part of it.
func TestPhases(t *testing.T) {
	good := sample{state: [2]guard.State{guard.StateClosed, guard.StateClosed}}
	for i := range good.counts {
		good.counts[i][answers], good.counts[i][got200], good.counts[i][got503] = 10, 8, 2
	}
	dead := good
	dead.state = [2]guard.State{guard.StateOpen, guard.StateOpen}
	for i := range dead.counts {
		dead.counts[i][got502], dead.counts[i][refused], dead.counts[i][probes] = 2, 1, 1
	}
	const both = -1
	for i, want := range []struct {
		shown   sample
		route   int   // that has to show it
		without []int // any of these, it is not shown
		other   int   // route that has to answer with 200
	}{
		{good, both, []int{got200}, both},
		{good, both, []int{got503}, both},
		{dead, visits, []int{got502, refused, probes}, agents},
		{good, visits, []int{got200}, both},
		{dead, agents, []int{got502, refused, probes}, visits},
		{good, agents, []int{got200}, both},
	} {
		p := phases()[i]
		assert.True(t, p.shows(want.shown), p.what)
		for _, kind := range want.without {
			m := want.shown
			for r := range m.counts {
				if want.route == both || want.route == r {
					m.counts[r][kind] = 0
				}
			}
			assert.False(t, p.shows(m), "%s: without %d", p.what, kind)
		}
		if want.other != both {
			m := want.shown
			m.counts[want.other][got200] = 2
			assert.False(t, p.shows(m), "%s: the other route fails, too", p.what)
		}
		if want.route != both {
			m := want.shown
			m.state[want.route] = guard.StateOpen - m.state[want.route]
			assert.False(t, p.shows(m), "%s: but the breaker is %v", p.what, m.state[want.route])
		}
	}
}

func TestVerdict(t *testing.T) {
	level := sample{usage: usage{goroutines: 20}}
	stray, many := level, level
	stray.counts[agents][strays] = 1
	many.goroutines = 91
	idle := usage{goroutines: 3}
	require.NoError(t, verdict([]sample{level, level}, idle, idle))
	require.ErrorContains(t, verdict([]sample{level, stray, level}, idle, idle), "1 calls reached a dependency while its breaker was open")
	require.ErrorContains(t, verdict([]sample{level, many}, idle, idle), "20 goroutines at first, and 91 in the end")
	require.ErrorContains(t, verdict([]sample{level, level}, idle, usage{goroutines: 4}), "3 goroutines before the start, and 4 are left")
}
