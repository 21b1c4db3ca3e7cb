package simulator_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

var (
	full  = flag.Bool("full", false, "TestTable runs all tables, which takes a minute or two")
	write = flag.Bool("write", false, "as -full, and write RESULTS.md and goodput.svg")
)

// TestTable prints how the contenders do, side by side.
func TestTable(t *testing.T) {
	if !*full && !*write {
		t.Logf("\n\n%v", quickTable(t))
		return
	}
	report := &report{}
	curves := goodputTables(t, report)
	shapesTable(t, report)
	changesTable(t, report)
	prioritiesTable(t, report)
	heavyTable(t, report)
	herdTable(t, report)
	if *write {
		require.NoError(t, os.WriteFile("RESULTS.md", []byte(report.String()), 0o644))
		require.NoError(t, drawGoodput(curves, "goodput.svg"))
	}
}

// quickTable is small enough to be run each time, and says whether the model and
// the contenders are what they were.
func quickTable(t *testing.T) *table {
	loads := []float64{0.5, 1, 2}
	out := &table{head: []string{"goodput %"}}
	for _, load := range loads {
		out.head = append(out.head, fmt.Sprintf("%g×", load))
	}
	atTwice := map[string]float64{"token bucket, right": 95, "static bound, right": 95, "self-tuned bound": 90}
	for _, c := range contenders() {
		row := []string{c.Name}
		for _, load := range loads {
			sc := steady(shapeA, load)
			sc.Warmup, sc.Measure = 3*time.Second, 5*time.Second
			r := Run(t, sc, c)
			row = append(row, percent(r.Goodput()))
			require.LessOrEqual(t, r.Goodput(), 105.0, "%s at %g", c.Name, load)
			if load == 2 {
				require.GreaterOrEqual(t, r.Goodput(), atTwice[c.Name], c.Name)
			}
		}
		out.add(row...)
	}
	return out
}

// A report is what RESULTS.md says.
type report struct{ strings.Builder }

func (r *report) section(t *testing.T, title, text string, out *table) {
	fmt.Fprintf(r, "## %s\n\n%s\n\n%v\n", title, text, out)
	t.Logf("%s\n\n%v", title, out)
}

// versions returns the rivals' versions, from go.mod.
func versions(t *testing.T) string {
	text, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S*(?:failsafe-go|go-zero)) (v\S+)$`).FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1]+" "+m[2])
	}
	require.Len(t, found, 2)
	return strings.Join(found, " and ")
}

// A curve is the goodput of a contender over the load.
type curve struct {
	contender string
	loads     []float64
	goodput   []float64
}

// curveShapes are the servers of the plot, from small to large.
var curveShapes = []Shape{shapeD, shapeA, shapeC}

// goodputTables runs each shape of the plot at each load.
func goodputTables(t *testing.T, out *report) (curves map[string][]curve) {
	fmt.Fprintf(out, `# Results

Made by `+"`go test -run TestTable -write`"+` in virtual time: they are the same on any
machine, but for the queue of failsafe-go, which draws lots. The others are
%s.

Service times are lognormal with a sigma of 0.5 where nothing else is said,
clients wait for a second, and work that they do not wait for is done all the
same. Goodput is what is answered in time, in percent of what the server can do.
What is measured begins after a warm-up of 10 s (30 s for 1 × 50 ms) under the same
load. The static settings are those of somebody who knows the server, and of
somebody who has got it wrong.

![Goodput over load](goodput.svg)

`, versions(t))
	loads := []float64{0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 7, 10}
	shown := []float64{0.5, 1, 2, 5, 10}
	curves = make(map[string][]curve)
	for _, shape := range curveShapes {
		tab := &table{head: []string{"goodput %"}}
		for _, load := range shown {
			tab.head = append(tab.head, fmt.Sprintf("%g×", load))
		}
		tab.head = append(tab.head, "p50 at 2×", "p99 at 2×", "p99 at 10×")
		for _, c := range contenders() {
			line := curve{contender: c.Name, loads: loads}
			var row, tail []string
			for _, load := range loads {
				r := Run(t, steady(shape, load), c)
				line.goodput = append(line.goodput, r.Goodput())
				for _, l := range shown {
					if l == load {
						row = append(row, percent(r.Goodput()))
					}
				}
				switch load {
				case 2:
					tail = append(tail, span(r.Quantile(0.5)), span(r.Quantile(0.99)))
				case 10:
					tail = append(tail, span(r.Quantile(0.99)))
				}
			}
			tab.add(append(append([]string{c.Name}, row...), tail...)...)
			curves[shape.Name] = append(curves[shape.Name], line)
		}
		out.section(t, "Load on a server of "+shape.size(),
			"The times are those of the answers, late ones included.", tab)
	}
	return curves
}

// shapesTable runs other servers at five times what they can do.
func shapesTable(t *testing.T, out *report) {
	shapes := []Shape{shapeD, shapeB, shapeA, shapeC, shapeE, shapeS, shapeX, shapeH}
	tab := &table{head: []string{"goodput % / p99"}}
	for _, s := range shapes {
		name := s.size()
		if rest, ok := strings.CutPrefix(s.Name, "A "); ok {
			name += ", " + rest
		}
		tab.head = append(tab.head, name)
	}
	for _, c := range contenders() {
		row := []string{c.Name}
		for _, shape := range shapes {
			r := Run(t, steady(shape, 5), c)
			row = append(row, percent(r.Goodput())+" / "+span(r.Quantile(0.99)))
		}
		tab.add(row...)
	}
	out.section(t, "Other servers at 5×", "No setting but the static ones depends on the server.", tab)
}

// changesTable changes what the server, or its requests, are like.
func changesTable(t *testing.T, out *report) {
	tab := &table{head: []string{
		"", "slow dependency: goodput %", "p99", "recovery", "latency step: refused %", "route mix: refused %", "cold start at 5×: goodput %",
	}}
	for _, c := range contenders() {
		slow := Run(t, slowDependency(shapeA, 0.9), c)
		step := Run(t, latencyStep(shapeA, 0.5), c)
		mix := Run(t, mixChange(shapeA, 0.7), c)
		cold := Run(t, coldStart(shapeA, 5), c)
		tab.add(
			c.Name,
			percent(slow.GoodputIn(faultFrom, faultUntil, faultSlow)), span(slow.QuantileIn(0.99, faultFrom, faultUntil)), span(slow.Recovery(faultUntil)),
			percent(step.RefusedIn(faultFrom, step.scenario.end())),
			percent(mix.RefusedIn(faultFrom, mix.scenario.end())),
			percent(cold.Goodput()),
		)
	}
	out.section(t, "Changes (8 × 20 ms)",
		"Slow dependency: at 0.9×, all work takes five times as long for 30 s; goodput is in\n"+
			"percent of what the server can do then, and the recovery is over when 90 % of what\n"+
			"is offered is answered in time again (never: not within a minute). Latency step: at\n"+
			"0.5×, requests take five times as long, but the server can do as much as before, so\n"+
			"nothing should be refused. Route mix: at 0.7× the share of requests that take 50 ms\n"+
			"rises from 10 % to 50 %. Cold start: the first 10 s.", tab)
}

func prioritiesTable(t *testing.T, out *report) {
	tab := &table{head: []string{"in time %", "critical", "p99", "normal", "p99", "sheddable", "p99", "goodput %"}}
	for _, c := range contenders() {
		r := Run(t, priorities(shapeA, 5), c)
		row := []string{c.Name}
		for _, kind := range []int{kindCritical, kindNormal, kindSheddable} {
			row = append(row, percent(r.ByKind[kind].Share(InTime)), span(r.KindQuantile(0.99, kind)))
		}
		tab.add(append(row, percent(r.Goodput()))...)
	}
	out.section(t, "Priorities (8 × 20 ms at 5×)",
		"10 % of the requests are critical, 30 % normal and 60 % sheddable. A server that\n"+
			"knows this can serve all of the first, a third of the second and none of the third.", tab)
}

func heavyTable(t *testing.T, out *report) {
	tab := &table{head: []string{"in time %", "the many", "p99", "the heavy one", "p99", "goodput %"}}
	fair := guarded("a bucket per client, and a static bound", true, func(env *Env) guard.Config {
		return guard.Config{
			Clients:     []guard.ClientLimit{{Limit: guard.Limit{Rate: rate.Limit(env.Capacity() / 2), Burst: int(env.Capacity() / 20)}}},
			Concurrency: guard.Concurrency{Max: 2 * env.Shape.Workers},
		}
	})
	for _, c := range append(contenders(), fair) {
		r := Run(t, heavyClient(shapeA, 2), c)
		tab.add(
			c.Name, percent(r.ByKind[kindMany].Share(InTime)), span(r.KindQuantile(0.99, kindMany)),
			percent(r.ByKind[kindHeavy].Share(InTime)), span(r.KindQuantile(0.99, kindHeavy)), percent(r.Goodput()),
		)
	}
	out.section(t, "A heavy client (8 × 20 ms at 2×)",
		"One client sends four times as much as a thousand others together, who send 40 % of\n"+
			"what the server can do. The bucket per client is half of the capacity.", tab)
}

func herdTable(t *testing.T, out *report) {
	tab := &table{head: []string{"", "herd refused %", "refused again", "most attempts", "all served", "p99 of all", "of the herd timed out"}}
	for _, c := range append(contenders(), alwaysOneSecond(selfTuned()[0])) {
		r := Run(t, herd(shapeA, 0.5), c)
		tab.add(
			c.Name, percent(r.Herd.Share(Refused)), strconv.Itoa(r.HerdAgain.Became[Refused]), strconv.Itoa(r.MaxAttempts),
			span(r.HerdServed()), span(r.Quantile(0.99)), strconv.Itoa(r.Herd.Became[TimedOut]+r.HerdAgain.Became[TimedOut]),
		)
	}
	out.section(t, "A herd (8 × 20 ms at 0.5×)",
		"2000 clients come within 10 ms, five seconds' worth of work, and whoever is refused\n"+
			"comes back as soon as the Retry-After is over (1 s, if there is none), until served or\n"+
			"for 30 s. They come to the nanosecond, which is worse than life: Retry-After counts\n"+
			"whole seconds. guard spreads it, but for the last line.", tab)
}

// alwaysOneSecond is a contender that tells everybody the same.
func alwaysOneSecond(c Contender) Contender {
	build := c.Build
	c.Name += ", always 1 s"
	c.Build = func(env *Env, next http.Handler) http.Handler {
		h := build(env, next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(oneSecond{w}, r) })
	}
	return c
}

type oneSecond struct{ http.ResponseWriter }

func (w oneSecond) WriteHeader(status int) {
	if w.Header().Get("Retry-After") != "" {
		w.Header().Set("Retry-After", "1")
	}
	w.ResponseWriter.WriteHeader(status)
}
