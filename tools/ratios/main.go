// Ratios reads the output of paired benchmarks and prints what the guard costs
// in terms of its baseline.
//
// Usage:
//
//	ratios [-split dir] [file]
//
// Two benchmarks are a pair when their names differ in one element, which is
// "guard" in one and "baseline" in the other: BenchmarkLimiter/admit/guard and
// BenchmarkLimiter/admit/baseline. Each is expected once per round, in the same
// order, so that the i-th results of both sides were measured next to each
// other. Two ratios are printed: that of the medians, and the median of the
// ratios of each round, which a machine that drifts between rounds disturbs
// less. Where the two disagree, measure longer.
//
// With -split, dir/baseline.txt and dir/guard.txt receive the results of each
// side under their common name, as benchstat compares them.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	split := flag.String("split", "", "directory for baseline.txt and guard.txt")
	flag.Parse()
	if err := run(flag.Arg(0), *split, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ratios:", err)
		os.Exit(1)
	}
}

func run(file, split string, w io.Writer) error {
	in := io.Reader(os.Stdin)
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	results, err := parse(in)
	if err != nil {
		return err
	}
	if len(results.pairs) == 0 && len(results.single) == 0 {
		return errors.New("no benchmark results")
	}
	if err := results.print(w); err != nil {
		return err
	}
	if split == "" {
		return nil
	}
	return results.split(split)
}

// A series is what one benchmark measured, one element a round.
type series struct {
	ns     []float64 // ns/op
	allocs []float64 // allocs/op; empty without -benchmem
	lines  []string  // as read, after the name
}

// A pair is a benchmark and its baseline under their common name.
type pair struct {
	name            string
	baseline, guard series
}

// results hold everything in the order in which it was first seen.
type results struct {
	header []string // goos, goarch, pkg, cpu: for benchstat
	pairs  []*pair
	single []*pair // without a side: only the guard series is used
	byName map[string]*pair
}

func parse(in io.Reader) (*results, error) {
	r := &results{byName: map[string]*pair{}}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		key, _, isHeader := strings.Cut(line, ": ")
		if isHeader && slices.Contains([]string{"goos", "goarch", "pkg", "cpu"}, key) {
			if !slices.Contains(r.header, line) {
				r.header = append(r.header, line)
			}
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, side := sideOf(fields[0])
		if err := r.series(name, side).add(fields[1:]); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return r, lines.Err()
}

// sideOf splits a benchmark's name into that of its pair and its side, "guard"
// or "baseline"; the side is empty if no element of the name is either. The
// number of CPUs stays with the name.
func sideOf(full string) (name, side string) {
	elements := strings.Split(full, "/")
	for i, e := range elements[1:] {
		base, cpus := e, ""
		if dash := strings.LastIndexByte(e, '-'); i+2 == len(elements) && dash >= 0 {
			base, cpus = e[:dash], e[dash:]
		}
		if base == "guard" || base == "baseline" {
			rest := slices.Delete(slices.Clone(elements), i+1, i+2)
			return strings.Join(rest, "/") + cpus, base
		}
	}
	return full, ""
}

func (r *results) series(name, side string) *series {
	key := name
	if side == "" {
		key = "\x00" + name
	}
	p := r.byName[key]
	if p == nil {
		p = &pair{name: name}
		r.byName[key] = p
		if side == "" {
			r.single = append(r.single, p)
		} else {
			r.pairs = append(r.pairs, p)
		}
	}
	if side == "baseline" {
		return &p.baseline
	}
	return &p.guard
}

// add reads the fields after the name: the iterations, then values and units.
func (s *series) add(fields []string) error {
	s.lines = append(s.lines, strings.Join(fields, " "))
	for i := 1; i+1 < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return err
		}
		switch fields[i+1] {
		case "ns/op":
			s.ns = append(s.ns, v)
		case "allocs/op":
			s.allocs = append(s.allocs, v)
		}
	}
	return nil
}

func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cells ...string) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t\n", name, strings.Join(cells, "\t")) // t keeps the error for Flush
	}
	width := 0
	for _, p := range slices.Concat(r.pairs, r.single) {
		width = max(width, len(p.short()))
	}
	left := func(s string) string { return fmt.Sprintf("%-*s", width, s) }

	var unpaired []string
	if len(r.pairs) > 0 {
		row(left("pair"), "baseline ns/op", "guard ns/op", "ratio", "ratio by round", "baseline allocs", "guard allocs")
	}
	for _, p := range r.pairs {
		if len(p.baseline.ns) == 0 || len(p.guard.ns) == 0 {
			unpaired = append(unpaired, p.name)
			continue
		}
		b, g := median(p.baseline.ns), median(p.guard.ns)
		row(left(p.short()), number(b), number(g), fmt.Sprintf("%.2f", g/b),
			fmt.Sprintf("%.2f", median(byRound(p.baseline.ns, p.guard.ns))),
			allocs(p.baseline), allocs(p.guard))
	}
	if len(r.single) > 0 {
		row(left("without a baseline"), "", "ns/op", "", "", "", "allocs")
	}
	for _, p := range r.single {
		row(left(p.short()), "", number(median(p.guard.ns)), "", "", "", allocs(p.guard))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(unpaired) > 0 {
		return fmt.Errorf("one side is missing of: %s", strings.Join(unpaired, ", "))
	}
	return nil
}

func (p *pair) short() string { return strings.TrimPrefix(p.name, "Benchmark") }

// split writes each side to a file of its own, under the common names.
func (r *results) split(dir string) error {
	var baseline, guard strings.Builder
	for _, b := range []*strings.Builder{&baseline, &guard} {
		for _, h := range r.header {
			fmt.Fprintln(b, h)
		}
	}
	if len(r.pairs) == 0 {
		return nil
	}
	for _, p := range r.pairs {
		for _, line := range p.baseline.lines {
			fmt.Fprintln(&baseline, p.name, line)
		}
		for _, line := range p.guard.lines {
			fmt.Fprintln(&guard, p.name, line)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "baseline.txt"), []byte(baseline.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "guard.txt"), []byte(guard.String()), 0o600)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// byRound returns guard[i]/baseline[i] for the rounds that have both.
func byRound(baseline, guard []float64) []float64 {
	var ratios []float64
	for i := range min(len(baseline), len(guard)) {
		ratios = append(ratios, guard[i]/baseline[i])
	}
	return ratios
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

func allocs(s series) string {
	if len(s.allocs) == 0 {
		return "?"
	}
	return strconv.FormatFloat(median(s.allocs), 'f', -1, 64)
}
