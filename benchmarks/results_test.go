package benchmarks_test

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// A side is what the rounds measured of a contender, by unit.
type side struct {
	contender string
	values    map[string][]float64
}

// A job is the same work for all contenders.
type job struct {
	name  string // Limiter/admit/serial
	sides []*side
}

// readJobs reads the output of benchmarks, in the order in which it first names
// jobs and contenders.
func readJobs(r io.Reader) (jobs []*job, cpu string, err error) {
	reader := benchfmt.NewReader(r, "raw")
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, "", rec
		case *benchfmt.Result:
			cpu = rec.GetConfig("cpu")
			full := string(rec.Name.Full())
			if dash := strings.LastIndexByte(full, '-'); dash > strings.LastIndexByte(full, '/') && strings.Trim(full[dash+1:], "0123456789") == "" {
				full = full[:dash]
			}
			slash := strings.LastIndexByte(full, '/')
			if slash < 0 {
				return nil, "", fmt.Errorf("benchmark %q names no contender", full)
			}
			s := sideOf(&jobs, full[:slash], full[slash+1:])
			for _, v := range rec.Values {
				unit, value := v.Unit, v.Value
				if v.OrigUnit != "" {
					unit, value = v.OrigUnit, v.OrigValue
				}
				s.values[unit] = append(s.values[unit], value)
			}
		}
	}
	return jobs, cpu, reader.Err()
}

func sideOf(jobs *[]*job, name, contender string) *side {
	n := slices.IndexFunc(*jobs, func(j *job) bool { return j.name == name })
	if n < 0 {
		*jobs = append(*jobs, &job{name: name})
		n = len(*jobs) - 1
	}
	j := (*jobs)[n]
	if s := j.side(contender); s != nil {
		return s
	}
	s := &side{contender: contender, values: map[string][]float64{}}
	j.sides = append(j.sides, s)
	return s
}

func (j *job) side(contender string) *side {
	for _, s := range j.sides {
		if s.contender == contender {
			return s
		}
	}
	return nil
}

// group is the first element of the name.
func (j *job) group() string {
	group, _, _ := strings.Cut(j.name, "/")
	return group
}

// rivals are all but guard itself and what guards nothing.
func (j *job) rivals() []*side {
	var rivals []*side
	for _, s := range j.sides {
		if s.contender != "bare" && !strings.HasPrefix(s.contender, "guard") {
			rivals = append(rivals, s)
		}
	}
	return rivals
}

// A comparison is that of a contender with guard: above 1, guard needs less.
type comparison struct {
	ratio       float64 // the median of the rounds' ratios
	least, most float64 // between which it is, with 95 % confidence; infinite for fewer than 6 rounds
}

// compare pairs what was measured in the same round, so that a machine that drifts
// from round to round blurs nothing.
func compare(own, other []float64) comparison {
	var ratios []float64
	for n := range min(len(own), len(other)) {
		ratios = append(ratios, other[n]/own[n])
	}
	s := summary(ratios)
	return comparison{s.Center, s.Lo, s.Hi}
}

// differ reports whether the difference is more than chance.
func (c comparison) differ() bool { return c.least > 1 || c.most < 1 }

// level reports whether there are rounds enough to say that it may well be chance.
func (c comparison) level() bool { return !c.differ() && !math.IsInf(c.most, 1) }

func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
}

func summary(values []float64) benchmath.Summary {
	return benchmath.AssumeNothing.Summary(sample(values), 0.95)
}

func TestReadJobs(t *testing.T) {
	const raw = `goos: linux
cpu: A CPU
BenchmarkX/admit/guard-2	100	10.0 ns/op	0 allocs/op
BenchmarkX/admit/x-rate-2	100	20.0 ns/op	1 allocs/op
BenchmarkX/admit/guard-2	100	20.0 ns/op	0 allocs/op
BenchmarkX/admit/x-rate-2	100	60.0 ns/op	1 allocs/op
BenchmarkX/1000/guard	100	1.5 B/key
`
	jobs, cpu, err := readJobs(strings.NewReader(raw))
	require.NoError(t, err)
	require.Equal(t, "A CPU", cpu)
	require.Len(t, jobs, 2)
	require.Equal(t, "X/admit", jobs[0].name)
	require.Equal(t, []float64{10, 20}, jobs[0].side("guard").values["ns/op"])
	require.Equal(t, []float64{20, 60}, jobs[0].side("x-rate").values["ns/op"])
	require.Equal(t, []float64{1.5}, jobs[1].side("guard").values["B/key"])
	require.Len(t, jobs[0].rivals(), 1)
	c := compare(jobs[0].side("guard").values["ns/op"], jobs[0].side("x-rate").values["ns/op"])
	require.InDelta(t, 2.5, c.ratio, 1e-9)
	require.False(t, c.differ(), "two rounds prove nothing")
}

func TestCompare(t *testing.T) {
	own := []float64{10, 20, 10, 12, 10, 40, 10, 10}
	other := []float64{20, 42, 21, 24, 20, 82, 20, 20}
	c := compare(own, other)
	require.InDelta(t, 2, c.ratio, 0.05)
	require.True(t, c.differ(), "the machine drifts, but in each round the other needs twice as much")
	require.False(t, c.level())
	c = compare(own, []float64{11, 19, 11, 11, 11, 39, 9, 11})
	require.False(t, c.differ())
	require.True(t, c.level())
	c = compare(own[:3], other[:3])
	require.False(t, c.differ(), "three rounds prove nothing")
	require.False(t, c.level())
}
