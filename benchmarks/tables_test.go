package benchmarks_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// values is a table of jobs by contenders.
func (r report) values(group string) {
	jobs := r.of(group)
	m := metricsOf(jobs[0])[0]
	contenders := contendersOf(jobs)
	r.f("| %s | guard is", m.name)
	for _, c := range contenders {
		r.f(" | %s%s", c, r.mark(jobs[0], c))
	}
	r.f(" |\n|---|---%s|\n", strings.Repeat("|---:", len(contenders)))
	for _, j := range jobs {
		r.f("| %s | %s", strings.TrimPrefix(j.name, group+"/"), r.verdict(j, m))
		for _, c := range contenders {
			r.f(" | %s", cell(j, c, m.unit))
		}
		r.f(" |\n")
	}
	r.f("\n")
}

// cell is what one contender needs for one job, and in terms of guard.
func cell(j *job, contender, unit string) string {
	s := j.side(contender)
	if s == nil || len(s.values[unit]) == 0 {
		return ""
	}
	m := summary(s.values[unit])
	text := number(m.Center) + " ±" + strings.TrimSpace(strings.TrimPrefix(m.PctRangeString(), "±"))
	if a := s.values["allocs/op"]; len(a) > 0 {
		text += fmt.Sprintf(", %.0f allocs", summary(a).Center)
	}
	if own := j.side("guard"); own != nil && own != s && len(own.values[unit]) > 0 {
		c := compare(own.values[unit], s.values[unit])
		text += fmt.Sprintf(", %.2f×", c.ratio)
		if !c.differ() {
			text += " ~"
		}
	}
	return text
}

func (r report) exact() {
	jobs := r.of("Exact")
	r.f("The largest burst that goroutines taking from one bucket were given, of what is\n" +
		"allowed: beyond rate·t, no more than the burst. The median, and the largest of all rounds.\n\n|")
	for _, j := range jobs {
		r.f(" | %s", strings.TrimPrefix(j.name, "Exact/"))
	}
	r.f(" |\n|---%s|\n", strings.Repeat("|---:", len(jobs)))
	for _, c := range contendersOf(jobs) {
		r.f("| %s%s", c, r.mark(jobs[0], c))
		for _, j := range jobs {
			if s := j.side(c); s != nil {
				summed := summary(s.values["burst/allowed"])
				r.f(" | %s, %s", number(summed.Center), number(slices.Max(s.values["burst/allowed"])))
			}
		}
		r.f(" |\n")
	}
	r.f("\n")
}

// curves are tables of contenders by how many there are of something.
func (r report) curves() {
	r.f("![Time by how many routes, dependencies and keys there are](curves.svg)\n\n")
	for _, c := range curved {
		jobs, many := r.curve(c.before, c.after, c.many)
		if len(jobs) == 0 {
			continue
		}
		contenders := contendersOf(jobs)
		r.f("| %s, ns and × of the first | guard is", c.of)
		for _, name := range contenders {
			r.f(" | %s%s", name, r.mark(jobs[0], name))
		}
		r.f(" |\n|---:|---%s|\n", strings.Repeat("|---:", len(contenders)))
		for n, j := range jobs {
			r.f("| %d | %s", many[n], r.verdict(j, metricsOf(j)[0]))
			for _, name := range contenders {
				r.f(" | ")
				if s, first := j.side(name), jobs[0].side(name); s != nil && first != nil {
					r.f("%s, %.2f×", number(summary(s.values["ns/op"]).Center), compare(first.values["ns/op"], s.values["ns/op"]).ratio)
				}
			}
			r.f(" |\n")
		}
		r.f("\n")
	}
}

// curve returns the jobs of a curve that were measured, and their numbers.
func (r report) curve(before, after string, many []int) (jobs []*job, measured []int) {
	for _, n := range many {
		if j := r.job(fmt.Sprintf("%s%d%s", before, n, after)); j != nil {
			jobs, measured = append(jobs, j), append(measured, n)
		}
	}
	return jobs, measured
}

// budgets are what a whole guarded request may need over the bare handler, in ns
// where rate.Limiter.Allow() needs 100, and in allocations.
var budgets = []struct {
	job        string
	ns, allocs float64
}{
	{"Request/whole/serial", 350, 2},
	{"Request/whole-zipf/serial", 350, 2},
	{"Request/whole-timeout/serial", 400, 3},
}

func (r report) budgets() {
	allow := r.job("Limiter/admit/serial")
	if allow == nil || allow.side("x-time-rate") == nil {
		return
	}
	lines := 0
	for _, budget := range budgets {
		j := r.job(budget.job)
		if j == nil || j.side("guard") == nil || j.side("bare") == nil {
			continue
		}
		guarded, bare := j.side("guard"), j.side("bare").values["ns/op"]
		var over []float64
		for n, ns := range guarded.values["ns/op"] {
			if unit := allow.side("x-time-rate").values["ns/op"]; n < min(len(bare), len(unit)) {
				over = append(over, (ns-bare[n])/unit[n]*100)
			}
		}
		if len(over) == 0 {
			continue
		}
		if lines++; lines == 1 {
			r.f("## Budgets\n\nWhat the whole guarded request (the limit of all, that of one client of %d, and a call\n"+
				"to a dependency) needs over the bare handler, where `rate.Limiter.Allow()` needs 100 ns.\n\n"+
				"| job | ns | at most | allocs | at most | |\n|---|---:|---:|---:|---:|---|\n", manyClients)
		}
		ns, allocs, met := summary(over).Center, summary(guarded.values["allocs/op"]).Center, "met"
		if ns > budget.ns || allocs > budget.allocs {
			met = "**not met**"
		}
		r.f("| %s | %s | %s | %.0f | %.0f | %s |\n", budget.job, number(ns), number(budget.ns), allocs, budget.allocs, met)
	}
	if lines > 0 {
		r.f("\n")
	}
}

func (r report) endToEnd() {
	r.f("A server and its load, each a process of its own on the same CPUs. The rate of the\n"+
		"flood is %d/s, ten times the limit. CPU is the server's, for each request, refused ones\n"+
		"included; latencies are those of what was admitted. How a self-tuned bound fares when the\n"+
		"server cannot keep up is another matter: see ../simulator/rig.\n\n", floodRate)
	for _, j := range r.of("EndToEnd") {
		r.f("| %s | answered/s | of bare | admitted/s | CPU µs/request | of bare | cores | p50 ms | p99 ms | p99.9 ms |\n|---%s|\n",
			strings.TrimPrefix(j.name, "EndToEnd/"), strings.Repeat("|---:", 9))
		for _, s := range j.sides {
			v := func(unit string) float64 { return summary(s.values[unit]).Center }
			of := func(unit string) float64 {
				bare := j.side("bare")
				if bare == nil {
					return math.NaN()
				}
				return compare(bare.values[unit], s.values[unit]).ratio
			}
			r.f("| %s%s | %.0f | %.2f | %.0f | %.1f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", s.contender, r.mark(j, s.contender), v("req/s"), of("req/s"), v("admitted/s"),
				v("cpu-ns/req")/1e3, of("cpu-ns/req"), v("cores"), v("p50-ns")/1e6, v("p99-ns")/1e6, v("p99.9-ns")/1e6)
		}
		r.f("\n")
		for _, m := range metricsOf(j) {
			if text := r.verdict(j, m); text != "" {
				r.f("- %s: guard is %s\n", m.name, text)
			}
		}
		r.f("\n")
	}
}

func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func TestReport(t *testing.T) {
	const raw = `BenchmarkRequest/whole/serial/bare	1	10 ns/op	0 allocs/op
BenchmarkRequest/whole/serial/guard	1	185 ns/op	1 allocs/op
BenchmarkRequest/whole-timeout/serial/bare	1	10 ns/op	0 allocs/op
BenchmarkRequest/whole-timeout/serial/guard	1	215 ns/op	2 allocs/op
BenchmarkLimiter/admit/serial/guard	1	25 ns/op	0 allocs/op
BenchmarkLimiter/admit/serial/x-time-rate	1	50 ns/op	0 allocs/op
BenchmarkKeyed/1/serial/guard	1	20 ns/op	0 allocs/op
BenchmarkKeyed/1000/serial/guard	1	30 ns/op	0 allocs/op
BenchmarkHeap/million/guard	1	100 B/key
BenchmarkHeap/million/httprate	1	50 B/key
BenchmarkCurve/routes/1/guard	1	100 ns/op
BenchmarkEndToEnd/flood/guard	1	3000 req/s	300 admitted/s	50000 cpu-ns/req	0.1 cores	100000 p50-ns	1000000 p99-ns	2000000 p99.9-ns
BenchmarkExact/8-goroutines/x-time-rate	1	1.5 burst/allowed
BenchmarkExact/8-goroutines/x-time-rate	1	2.5 burst/allowed
BenchmarkExact/8-goroutines/x-time-rate	1	1.25 burst/allowed
`
	jobs, _, err := readJobs(strings.NewReader(raw))
	require.NoError(t, err)
	var out strings.Builder
	r := report{&out, jobs}
	r.write("A CPU", []string{"x 1"})
	for _, line := range []string{
		"| Request/whole/serial | 350 | 350 | 1 | 2 | met |",
		"| Request/whole-timeout/serial | 410 | 400 | 2 | 3 | **not met** |",
		"| admit/serial | 2.00× ~, ahead of x-time-rate, which over-admits | 25.0 ±∞, 0 allocs | 50.0 ±∞, 0 allocs, 2.00× ~ |",
		"| 1000 |  | 30.0, 1.50× |",
		"| million | **0.50× ~, behind httprate** | 100 ±∞ | 50.0 ±∞, 0.50× ~ |",
		"| guard | 3000 | NaN | 300 | 50.0 | NaN | 0.10 | 0.10 | 1.00 | 2.00 |",
		"| x-time-rate **over-admits (2.50×)** | 1.50, 2.50 |",
	} {
		require.Contains(t, out.String(), line)
	}
	for name, c := range map[string]struct {
		draw func(report, string) error
		want string
	}{"speed.svg": {drawSpeed, "x-time-rate"}, "curves.svg": {drawCurves, "1k"}} {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, c.draw(r, file))
		svg, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(svg), ">"+c.want+"</text>")
	}
}
