package benchmarks_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A metric is what contenders of a job are judged by.
type metric struct {
	unit, name string
	more       bool // is better
}

func metricsOf(j *job) []metric {
	switch {
	case j.group() == "Exact":
		return nil // more than 1 is wrong, less is not better
	case j.group() == "Heap":
		return []metric{{"B/key", "bytes a key", false}}
	case j.name == "EndToEnd/saturation":
		return []metric{{"req/s", "answered a second", true}, {"cpu-ns/req", "CPU ns a request", false}}
	case j.group() == "EndToEnd":
		return []metric{{"cpu-ns/req", "CPU ns a request", false}, {"p99-ns", "p99, ns", false}}
	}
	return []metric{{"ns/op", "ns", false}}
}

// A rivalry is guard beside one rival.
type rivalry struct {
	rival *side
	comparison
	overAdmits bool
}

// rivalries of a job, from the rival that does best to the one that does worst.
func (r report) rivalries(j *job, m metric) (all []rivalry) {
	own := j.side("guard")
	if own == nil || len(own.values[m.unit]) == 0 {
		return nil
	}
	for _, s := range j.rivals() {
		if len(s.values[m.unit]) == 0 {
			continue
		}
		c := compare(own.values[m.unit], s.values[m.unit])
		if m.more {
			c = compare(s.values[m.unit], own.values[m.unit])
		}
		all = append(all, rivalry{s, c, r.overAdmission(j, s.contender) > mostAdmitted})
	}
	slices.SortStableFunc(all, func(a, b rivalry) int {
		if a.ratio < b.ratio {
			return -1
		}
		return 1
	})
	return all
}

// mostAdmitted is 1, and what the clock's steps may add to it.
const mostAdmitted = 1.01

// limitersIn are the limiters inside of what is not named like the one that it has.
var limitersIn = map[string][]string{
	"by-hand":              {"x-time-rate"},
	"failsafehttp":         {"failsafe-bursty"},
	"failsafe":             {"failsafe-bursty"},
	"failsafe+httprate":    {"failsafe-bursty", "httprate"},
	"go-limiter+gobreaker": {"go-limiter"},
	"throttled+gobreaker":  {"throttled"},
}

// overAdmission is the largest burst that a contender of the job has let through
// in any round, of what is allowed; 0 if it has no limiter, or none was measured.
func (r report) overAdmission(j *job, contender string) (worst float64) {
	if slices.Contains([]string{"Breaker", "Client", "Bound"}, j.group()) {
		return 0
	}
	names := append([]string{contender}, limitersIn[contender]...)
	for _, exact := range r.of("Exact") {
		for _, s := range exact.sides {
			if slices.Contains(names, s.contender) {
				worst = max(worst, slices.Max(s.values["burst/allowed"]))
			}
		}
	}
	return worst
}

// mark tells of a contender that it has admitted more than it may.
func (r report) mark(j *job, contender string) string {
	if worst := r.overAdmission(j, contender); worst > mostAdmitted {
		return fmt.Sprintf(" **over-admits (%s×)**", number(worst))
	}
	return ""
}

func (v rivalry) unsure() string {
	if v.differ() {
		return ""
	}
	return " ~"
}

// verdict says by how much guard is ahead of the best rival, or behind it. One that
// over-admits is the best only if there is no other; else it is named where guard is
// behind it.
func (r report) verdict(j *job, m metric) string {
	all := r.rivalries(j, m)
	var parts []string
	n := slices.IndexFunc(all, func(v rivalry) bool { return !v.overAdmits })
	if n >= 0 {
		text := all[n].String()
		if all[n].behind() {
			text = "**" + text + "**"
		}
		parts = append(parts, text)
	}
	if len(all) > 0 && all[0].overAdmits && (n < 0 || all[0].behind()) {
		parts = append(parts, all[0].String()+", which over-admits")
	}
	return strings.Join(parts, "; ")
}

func (v rivalry) behind() bool { return v.ratio < 1 && !v.level() }

// String tells the ratio, and where it says something for sure, or cannot, how guard
// stands to the rival.
func (v rivalry) String() string {
	how := "ahead of"
	switch {
	case v.level():
		how = "level with"
	case v.ratio < 1:
		how = "behind"
	}
	return fmt.Sprintf("%.2f×%s, %s %s", v.ratio, v.unsure(), how, v.rival.contender)
}

// behind lists where a rival needs less than guard, and why.
func (r report) behind() {
	r.f("## Where guard is behind\n\n")
	r.behindThose("", false)
	r.behindThose("Behind those alone that admit more than they may:\n\n", true)
}

func (r report) behindThose(title string, overAdmit bool) {
	lines, last := 0, ""
	for _, j := range r.jobs {
		for _, m := range metricsOf(j) {
			var ahead []string
			counts := false
			for _, v := range r.rivalries(j, m) {
				if !v.behind() {
					continue
				}
				counts = counts || !v.overAdmits
				ahead = append(ahead, fmt.Sprintf("%s needs %.2f of it%s%s", v.rival.contender, v.ratio, v.unsure(), r.mark(j, v.rival.contender)))
			}
			if m.more {
				for i := range ahead {
					ahead[i] = strings.Replace(ahead[i], " needs ", " leaves guard ", 1)
				}
			}
			if len(ahead) == 0 || counts == overAdmit {
				continue
			}
			if lines++; lines == 1 {
				r.f("%s", title)
			}
			why := note(j.name)
			switch why {
			case "":
			case last:
				why = " Why: as above."
			default:
				last, why = why, " Why: "+why
			}
			r.f("- %s: %s %s; %s.%s\n", j.name, number(summary(j.side("guard").values[m.unit]).Center), m.name, strings.Join(ahead, ", "), why)
		}
	}
	switch {
	case lines > 0:
		r.f("\n")
	case title == "":
		r.f("Nowhere.\n\n")
	}
}

// note returns that of the job, or of the jobs that it is among: the longest name wins.
func note(job string) string {
	for name := job; name != ""; {
		if text, ok := notes[name]; ok {
			return text
		}
		slash := strings.LastIndexByte(name, '/')
		name = name[:max(slash, 0)]
	}
	return ""
}

// notesOfNothing are the names of notes that no job of their group has.
func (r report) notesOfNothing() (names []string) {
	for name := range notes {
		group, _, _ := strings.Cut(name, "/")
		jobs := r.of(group)
		if len(jobs) > 0 && !slices.ContainsFunc(jobs, func(j *job) bool { return strings.HasPrefix(j.name+"/", name+"/") }) {
			names = append(names, name)
		}
	}
	return names
}

func TestVerdict(t *testing.T) {
	const raw = `BenchmarkLimiter/admit/serial/guard	1	100 ns/op
BenchmarkLimiter/admit/serial/x-time-rate	1	50 ns/op
BenchmarkLimiter/admit/serial/throttled	1	150 ns/op
BenchmarkLimiter/refuse/serial/guard	1	100 ns/op
BenchmarkLimiter/refuse/serial/throttled	1	80 ns/op
BenchmarkHandler/admit/serial/guard	1	100 ns/op
BenchmarkHandler/admit/serial/by-hand	1	50 ns/op
BenchmarkBreaker/open/serial/guard	1	100 ns/op
BenchmarkBreaker/open/serial/gobreaker	1	50 ns/op
BenchmarkEndToEnd/saturation/guard	1	100 req/s
BenchmarkEndToEnd/saturation/throttled	1	200 req/s
BenchmarkExact/8/x-time-rate	1	1.5 burst/allowed
BenchmarkExact/8/throttled	1	1 burst/allowed
`
	jobs, _, err := readJobs(strings.NewReader(raw))
	require.NoError(t, err)
	var out strings.Builder
	r := report{&out, jobs}
	for name, want := range map[string]string{
		"Limiter/admit/serial":  "1.50× ~, ahead of throttled; 0.50× ~, behind x-time-rate, which over-admits",
		"Limiter/refuse/serial": "**0.80× ~, behind throttled**",
		"Handler/admit/serial":  "0.50× ~, behind by-hand, which over-admits",
		"Breaker/open/serial":   "**0.50× ~, behind gobreaker**",
		"EndToEnd/saturation":   "**0.50× ~, behind throttled**",
	} {
		require.Equal(t, want, r.verdict(r.job(name), metricsOf(r.job(name))[0]), name)
	}
	r.behind()
	counting, others, found := strings.Cut(out.String(), "Behind those alone")
	require.True(t, found)
	require.Equal(t, 3, strings.Count(counting, "\n- "), counting)
	require.Equal(t, 2, strings.Count(others, "\n- "), others)
	require.Contains(t, others, "**over-admits (1.50×)**")
	require.Contains(t, counting, notes["Breaker/open"])
}

func TestRivalry(t *testing.T) {
	rival := &side{contender: "x"}
	for want, c := range map[string]comparison{
		"1.50×, ahead of x":     {1.5, 1.4, 1.6},
		"0.50×, behind x":       {0.5, 0.4, 0.6},
		"0.98× ~, level with x": {0.98, 0.9, 1.1},
		"0.97× ~, behind x":     {0.97, math.Inf(-1), math.Inf(1)},
		"1.03× ~, ahead of x":   {1.03, math.Inf(-1), math.Inf(1)},
	} {
		v := rivalry{rival, c, false}
		require.Equal(t, want, v.String())
		require.Equal(t, strings.Contains(want, "behind"), v.behind(), want)
	}
}

func TestNote(t *testing.T) {
	require.Equal(t, notes["Breaker/open"], note("Breaker/open/parallel"))
	require.Empty(t, note("Nothing/of/it"))
	require.Empty(t, note(""))
	r := report{jobs: []*job{{name: "Breaker/open/serial"}}}
	require.NotContains(t, r.notesOfNothing(), "Breaker/open")
	r = report{jobs: []*job{{name: "Breaker/opened/serial"}}}
	require.Contains(t, r.notesOfNothing(), "Breaker/open")
}
