package benchmarks_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

var (
	rawFile   = flag.String("raw", "", "output of the benchmarks, to write RESULTS.md and speed.svg from")
	rounds    = flag.String("rounds", "?", "how many rounds it holds, for the report")
	benchtime = flag.String("benchtime", "?", "the time of each, for the report")
)

// TestResults writes RESULTS.md and speed.svg from what was measured.
func TestResults(t *testing.T) {
	if *rawFile == "" {
		t.Skip("make bench-rivals runs it, with -raw")
	}
	raw, err := os.Open(*rawFile)
	require.NoError(t, err)
	defer raw.Close()
	jobs, cpu, err := readJobs(raw)
	require.NoError(t, err)
	require.NotEmpty(t, jobs)
	versions, err := moduleVersions("go.mod")
	require.NoError(t, err)
	var out strings.Builder
	report{&out, jobs}.write(cpu, versions)
	require.NoError(t, os.WriteFile("RESULTS.md", []byte(out.String()), 0o644))
	require.NoError(t, drawSpeed(jobs, "speed.svg"))
}

// moduleVersions are those of the modules that are required directly.
func moduleVersions(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(file, text, nil)
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, r := range mod.Require {
		if !r.Indirect && r.Mod.Path != "example.com/guard" {
			versions = append(versions, r.Mod.Path+" "+r.Mod.Version)
		}
	}
	return versions, nil
}

// A report writes Markdown.
type report struct {
	out  *strings.Builder
	jobs []*job
}

func (r report) f(format string, args ...any) { fmt.Fprintf(r.out, format, args...) }

func (r report) write(cpu string, versions []string) {
	r.f("# Results\n\nMade by `make bench-rivals`: %s rounds of %s on %s/%s, %s, %d CPUs, with %s.\n\n",
		*rounds, *benchtime, runtime.GOOS, runtime.GOARCH, cpu, runtime.NumCPU(), runtime.Version())
	r.f("The modules: %s.\n\n", strings.Join(versions, ", "))
	r.f(`Times are medians over the rounds, and ± the half of the interval that holds the
median with 95 %% confidence, or ± ∞ for too few rounds; × is the median of the
rounds' ratios to guard, above 1 where guard needs less; ~ stands where the U test
(p < 0.05) does not tell the two apart.

![Time of rivals as a multiple of guard's](speed.svg)

`)
	r.behind()
	for _, group := range r.groups() {
		r.f("## %s\n\n", group)
		switch group {
		case "EndToEnd":
			r.endToEnd()
		case "Heap":
			r.one(group, "B/key", "bytes a key")
		case "Exact":
			r.one(group, "burst/allowed", "largest burst, of what is allowed")
		default:
			r.times(group)
		}
	}
}

func (r report) groups() (groups []string) {
	for _, j := range r.jobs {
		if g, _, _ := strings.Cut(j.name, "/"); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

func (r report) of(group string) (jobs []*job) {
	for _, j := range r.jobs {
		if strings.HasPrefix(j.name, group+"/") {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func contendersOf(jobs []*job) (names []string) {
	for _, j := range jobs {
		for _, s := range j.sides {
			if !slices.Contains(names, s.contender) {
				names = append(names, s.contender)
			}
		}
	}
	return names
}

// behind lists where a rival needs less than guard.
func (r report) behind() {
	r.f("## Where guard is behind\n\n")
	none := true
	for _, j := range r.jobs {
		for _, s := range j.rivals() {
			for _, unit := range []string{"ns/op", "B/key", "cpu-ns/req"} {
				own := j.own(s.contender)
				if own == nil || len(s.values[unit]) == 0 || len(own.values[unit]) == 0 || strings.HasPrefix(j.name, "Heap/") != (unit == "B/key") {
					continue
				}
				mine, theirs := own.values[unit], s.values[unit]
				c := compare(mine, theirs)
				if c.ratio >= 1 || unit == "ns/op" && strings.HasPrefix(j.name, "EndToEnd/") || strings.HasPrefix(j.name, "Exact/") {
					continue
				}
				none = false
				sure := ""
				if !c.differ() {
					sure = ", which may be chance"
				}
				r.f("- %s: %s needs %s where guard needs %s (%s), %.2f of it%s%s\n", j.name, s.contender,
					number(summary(theirs).Center), number(summary(mine).Center), unit, c.ratio, sure, r.mark(s.contender))
			}
		}
	}
	if none {
		r.f("Nowhere.\n")
	}
	r.f("\n")
}

// mark tells of a limiter that it has admitted more than it may.
func (r report) mark(contender string) string {
	for _, j := range r.jobs {
		if s := j.side(contender); s != nil && strings.HasPrefix(j.name, "Exact/") {
			if worst := slices.Max(s.values["burst/allowed"]); worst > 1.01 {
				return fmt.Sprintf(" **over-admits (%.2f×)**", worst)
			}
		}
	}
	return ""
}

// times is a table of contenders by jobs.
func (r report) times(group string) {
	jobs := r.of(group)
	r.f("| ns/op")
	for _, j := range jobs {
		r.f(" | %s", strings.TrimPrefix(j.name, group+"/"))
	}
	r.f(" |\n|---%s|\n", strings.Repeat("|---:", len(jobs)))
	for _, contender := range contendersOf(jobs) {
		r.f("| %s%s", contender, r.mark(contender))
		for _, j := range jobs {
			r.f(" | %s", cell(j, contender, "ns/op"))
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
	if own := j.own(contender); own != nil && own != s {
		c := compare(own.values[unit], s.values[unit])
		text += fmt.Sprintf(", %.2f×", c.ratio)
		if !c.differ() {
			text += " ~"
		}
	}
	return text
}

// one is a table of one unit.
func (r report) one(group, unit, title string) {
	for _, j := range r.of(group) {
		r.f("| %s | %s |\n|---|---:|\n", strings.TrimPrefix(j.name, group+"/"), title)
		for _, s := range j.sides {
			r.f("| %s%s | %s |\n", s.contender, r.mark(s.contender), number(summary(s.values[unit]).Center))
		}
		r.f("\n")
	}
}

func (r report) endToEnd() {
	r.f("A server and its load, each a process of its own on the same CPUs. The rate of the\n"+
		"flood is %d/s, ten times the limit. CPU is the server's, for each request, refused ones\n"+
		"included; latencies are those of what was admitted.\n\n", floodRate)
	for _, j := range r.of("EndToEnd") {
		r.f("| %s | answered/s | of bare | admitted/s | CPU µs/request | cores | p50 ms | p99 ms | p99.9 ms |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
			strings.TrimPrefix(j.name, "EndToEnd/"))
		for _, s := range j.sides {
			v := func(unit string) float64 { return summary(s.values[unit]).Center }
			of := compare(j.side("bare").values["req/s"], s.values["req/s"]).ratio
			r.f("| %s%s | %.0f | %.2f | %.0f | %.1f | %.2f | %.2f | %.2f | %.2f |\n", s.contender, r.mark(s.contender), v("req/s"), of, v("admitted/s"),
				v("cpu-ns/req")/1e3, v("cores"), v("p50-ns")/1e6, v("p99-ns")/1e6, v("p99.9-ns")/1e6)
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
