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
	rawFile   = flag.String("raw", "", "output of the benchmarks, to write RESULTS.md and the charts from")
	rounds    = flag.String("rounds", "?", "how many rounds it holds, for the report")
	benchtime = flag.String("benchtime", "?", "the time of each, for the report")
)

// TestResults writes RESULTS.md, speed.svg and curves.svg from what was measured.
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
	r := report{&out, jobs}
	require.Empty(t, r.notesOfNothing(), "notes of no job: see notes")
	r.write(cpu, versions)
	require.NoError(t, os.WriteFile("RESULTS.md", []byte(out.String()), 0o644))
	require.NoError(t, drawSpeed(r, "speed.svg"))
	require.NoError(t, drawCurves(r, "curves.svg"))
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
median with 95 %% confidence, or ± ∞ for fewer than 6 rounds; × is the median of the
rounds' ratios to guard, above 1 where guard needs less; ~ stands where 1 is within the
95 %% confidence interval of that, so that it may be chance. In each row guard is compared
with the rival that needs least, of those that admit no more than they may (see *Exact*);
where one that admits more needs less than guard, it is named, too.

![Time of rivals as a multiple of guard's](speed.svg)

`)
	r.behind()
	r.budgets()
	for _, group := range r.groups() {
		r.f("## %s\n\n", group)
		switch group {
		case "EndToEnd":
			r.endToEnd()
		case "Exact":
			r.exact()
		case "Curve":
			r.curves()
		default:
			r.values(group)
		}
	}
}

func (r report) groups() (groups []string) {
	for _, j := range r.jobs {
		if !slices.Contains(groups, j.group()) {
			groups = append(groups, j.group())
		}
	}
	return groups
}

func (r report) of(group string) (jobs []*job) {
	for _, j := range r.jobs {
		if j.group() == group {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// job returns the job of that name, or nil.
func (r report) job(name string) *job {
	if n := slices.IndexFunc(r.jobs, func(j *job) bool { return j.name == name }); n >= 0 {
		return r.jobs[n]
	}
	return nil
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
