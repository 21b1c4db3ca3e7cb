package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report prints a table for each server.
func (e *experiment) report(out io.Writer) error {
	var s strings.Builder
	fmt.Fprintf(&s, "%s, %s/%s, %d processors, which the load shares. The load is %.3g times the capacity, for %v after %v. ",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), e.plan.Factor, e.plan.Length, e.plan.Warmup)
	fmt.Fprintf(&s, "Median [least-most] of %d interleaved rounds. In time is a 200 within %v of when the request was due. ",
		e.plan.Rounds, e.plan.Timeout)
	s.WriteString("The time there was is that of the workers, or of the processors as far as other programs left it, which the load has a part of; ")
	s.WriteString("the bound is twice what the server can work on, in the same round. ")
	late, failed, example := time.Duration(0), 0, ""
	for _, r := range e.results {
		late = max(late, r.Load.Late)
		failed += r.Load.Failed
		if r.Load.Example != "" {
			example = fmt.Sprintf(", one with %q", r.Load.Example)
		}
	}
	fmt.Fprintf(&s, "In each run, 99 %% of the requests were sent within %v of when they were due. %d failed in another way than the tables tell%s.\n",
		late.Round(100*time.Microsecond), failed, example)
	for _, b := range e.plan.Servers {
		e.table(&s, b)
	}
	_, err := io.WriteString(out, s.String())
	return err
}

func (e *experiment) table(s *strings.Builder, b bench) {
	fmt.Fprintf(s, "\n### %s\n\nCapacity: %s requests per second.\n\n", b.title(), spread(e.capacities(b)))
	s.WriteString("| | in time, % of capacity | of the time there was, % | against the bound, points | p50 of 200s, ms | p99 of 200s, ms | refused, % | timed out, % | goroutines | CPU of others, % |\n")
	s.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	best := e.of(b, bestBound)
	for _, c := range contenders() {
		rs := e.of(b, c.name)
		if len(rs) == 0 {
			continue
		}
		of := func(what func(r result) float64) string {
			var all []float64
			for _, r := range rs {
				all = append(all, what(r))
			}
			return spread(all)
		}
		share := func(n, all int) float64 { return 100 * float64(n) / float64(max(all, 1)) }
		fmt.Fprintf(s, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", c.title,
			of(func(r result) float64 { return r.goodput(e.plan.Length) }),
			of(func(r result) float64 { return r.used(b, e.plan.Length) }),
			spread(e.against(b, rs, best)),
			times(rs, func(l loadResult) time.Duration { return l.P50 }),
			times(rs, func(l loadResult) time.Duration { return l.P99 }),
			of(func(r result) float64 { return share(r.Load.Refused, r.Load.Sent) }),
			of(func(r result) float64 { return share(r.Load.TimedOut, r.Load.Sent) }),
			of(func(r result) float64 { return float64(r.Server.Goroutines) }),
			of(func(r result) float64 { return 100 * r.Others }))
	}
}

// times writes, in milliseconds, how long the 200s took, if there were any.
func times(rs []result, what func(loadResult) time.Duration) string {
	var all []float64
	for _, r := range rs {
		if r.Load.OK > 0 {
			all = append(all, what(r.Load).Seconds()*1000)
		}
	}
	return spread(all)
}

// of returns the results of a contender, by round.
func (e *experiment) of(b bench, contender string) (rs []result) {
	for _, r := range e.results {
		if r.Bench == b.name() && r.Contender == contender {
			rs = append(rs, r)
		}
	}
	return rs
}

// capacities are those of a server, by round.
func (e *experiment) capacities(b bench) (all []float64) {
	for _, r := range e.results {
		if r.Bench == b.name() && r.Contender == e.plan.Contenders[0] {
			all = append(all, r.Capacity)
		}
	}
	return all
}

// against returns by how many points a contender makes more of the time there was
// than the best bound in the same round.
func (e *experiment) against(b bench, rs, best []result) (points []float64) {
	for i := range min(len(rs), len(best)) {
		points = append(points, rs[i].used(b, e.plan.Length)-best[i].used(b, e.plan.Length))
	}
	return points
}

// spread writes the median, and the least and the most if there are others.
func spread(all []float64) string {
	switch len(all) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%.0f", all[0])
	}
	slices.Sort(all)
	return fmt.Sprintf("%.0f [%.0f..%.0f]", median(all), all[0], all[len(all)-1])
}

// median returns the one in the middle of what is sorted.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
