package simulator_test

import (
	"flag"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// The flags of TestYours.
var (
	yours = struct {
		shape           Shape
		load            loads
		limit           float64
		burst, max      int
		timeout         time.Duration
		warmup, measure time.Duration
		seed            uint64
		scenario, only  string
		timeline        bool
	}{shape: Shape{Name: "yours", Workers: 8, Service: 20 * time.Millisecond}}
	_ = define()
)

// define tells package flag of them before the testing package parses.
func define() bool {
	s := &yours.shape
	flag.IntVar(&s.Workers, "workers", s.Workers, "requests that the server can work on at once")
	flag.DurationVar(&s.Service, "service", s.Service, "mean time of a request while nothing queues")
	flag.Func("dist", "of the service times: "+strings.Join(distNames[:], ", "), func(name string) (err error) {
		s.Dist, err = distOf(name)
		return err
	})
	flag.Float64Var(&s.Sigma, "sigma", 0, "of the lognormal distribution; 0: 0.5")
	flag.BoolVar(&s.Sharing, "sharing", false, "requests share the workers, as on a CPU, instead of queueing for them")
	flag.BoolVar(&s.Heeds, "heeds", false, "handlers that are queued give up when the client has")
	flag.Var(&yours.load, "load", "as a multiple of what the server can do; several with commas")
	flag.Float64Var(&yours.limit, "limit", 0, "try a token bucket of so many requests a second")
	flag.IntVar(&yours.burst, "burst", 0, "of the token bucket; 0: a second's worth")
	flag.IntVar(&yours.max, "max", 0, "try a bound of so many requests in flight")
	flag.DurationVar(&yours.timeout, "patience", time.Second, "after which a client gives up")
	flag.DurationVar(&yours.warmup, "warmup", -1, "that is not measured; negative: that of the scenario")
	flag.DurationVar(&yours.measure, "measure", 0, "how long to measure; 0: as the scenario says")
	flag.Uint64Var(&yours.seed, "seed", 1, "of the arrivals and service times")
	flag.StringVar(&yours.scenario, "scenario", "steady", "one of "+strings.Join(slices.Sorted(maps.Keys(catalogue)), ", "))
	flag.StringVar(&yours.only, "contenders", "", "regular expression: whom to run besides your own setting; empty: all")
	flag.BoolVar(&yours.timeline, "timeline", false, "print what happens in each second")
	return true
}

// loads are those of -load.
type loads []float64

func (l *loads) String() string { return "1,2,5" }

func (l *loads) Set(text string) error {
	*l = nil
	for field := range strings.SplitSeq(text, ",") {
		load, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return err
		}
		*l = append(*l, load)
	}
	return nil
}

// asked reports whether somebody wants to see TestYours.
func asked() (asked bool) {
	flag.Visit(func(f *flag.Flag) {
		asked = asked || f.Name == "test.run" || !strings.HasPrefix(f.Name, "test.")
	})
	return asked
}

// TestYours runs a scenario on a server of the user's own shape.
func TestYours(t *testing.T) {
	build, ok := catalogue[yours.scenario]
	require.True(t, ok, "-scenario is %q, want one of %v", yours.scenario, slices.Sorted(maps.Keys(catalogue)))
	only, err := regexp.Compile(yours.only)
	require.NoError(t, err, "-contenders")
	require.Positive(t, yours.shape.Workers, "-workers")
	require.Positive(t, yours.shape.Service, "-service")

	var run []Contender
	if yours.limit > 0 || yours.max > 0 {
		run = append(run, guarded("your setting", true, func(*Env) guard.Config {
			var c guard.Config
			c.Limit = guard.Limit{Rate: rate.Limit(yours.limit), Burst: yours.burst}
			c.Concurrency.Max = yours.max
			return c
		}))
	}
	for _, c := range contenders() {
		if only.MatchString(c.Name) {
			run = append(run, c)
		}
	}
	offered, warmup, measure := yours.load, yours.warmup, yours.measure
	if offered == nil {
		offered = loads{1, 2, 5}
	}
	if !asked() { // one of all the tests
		offered, warmup, measure = loads{1, 2}, time.Second, 2*time.Second
	}
	for _, load := range offered {
		sc := build(yours.shape, load)
		sc.Seed, sc.Clients.Timeout = yours.seed, yours.timeout
		if warmup >= 0 {
			sc.Warmup = warmup
		}
		if measure > 0 {
			sc.Measure = measure
		}
		table := &table{head: append([]string{""}, summaryHead(&sc)...)}
		for _, c := range run {
			r := Run(t, sc, c)
			table.add(append([]string{c.Name}, summary(r)...)...)
			if yours.timeline {
				t.Logf("%s, load %g, %s\n%s", sc.Name, load, c.Name, timeline(r))
			}
		}
		t.Logf("%s, %v = %.4g/s, load %g, %v after %v\n\n%v", sc.Name, sc.Shape, sc.Capacity(), load, sc.Measure, sc.Warmup, table)
	}
}
