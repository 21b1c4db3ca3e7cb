//go:build unix

package guardcassandra_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A realTable is a table in Markdown.
type realTable struct {
	head []string
	rows [][]string
}

func (r *realTable) add(row ...string) { r.rows = append(r.rows, row) }

func (r *realTable) log(t *testing.T) {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(r.head)
	line(slices.Repeat([]string{"---"}, len(r.head)))
	for _, row := range r.rows {
		line(row)
	}
	t.Logf("\n%s", b.String())
}

// share returns how many of the answers had a status.
func share(answers []realAnswer, status int) float64 {
	n := 0
	for _, a := range answers {
		if a.status == status {
			n++
		}
	}
	return float64(n) / float64(max(len(answers), 1))
}

// percentile returns the time that a share of the answers took at the most.
func percentile(answers []realAnswer, p float64) time.Duration {
	took := make([]time.Duration, 0, len(answers))
	for _, a := range answers {
		took = append(took, a.took)
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[int(p*float64(len(took)-1))]
}

// footprint returns the goroutines and the bytes on the heap.
func footprint() (goroutines int, heap uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

func millis(d time.Duration) string { return d.Round(time.Millisecond).String() }

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func mega(bytes uint64) float64 { return float64(bytes) / 1e6 }
