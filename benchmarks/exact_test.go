package benchmarks_test

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crowds are those that take from one bucket at once. The burst is a tenth of a
// second's worth, which those that count by windows get for each tenth of a second.
var crowds = []struct {
	name       string
	goroutines int
	quota
}{
	{"8-goroutines", 8, quota{rate: 1000, burst: 1000, window: 100 * time.Millisecond}},
	{"1000-goroutines", 1000, quota{rate: 10_000, burst: 10_000, window: 100 * time.Millisecond}},
}

// BenchmarkExact lets more goroutines than CPUs take from a bucket, and reports the
// largest burst that got through, in terms of what may: over any interval, no more
// than burst + rate·t is to be admitted, and 1 is as much as that.
func BenchmarkExact(b *testing.B) {
	for _, c := range crowds {
		for _, l := range limiters {
			b.Run(c.name+"/"+l.name, func(b *testing.B) {
				worst := 0.0
				for range b.N {
					all := admissions(l.build(b, c.quota), c.goroutines, 350*time.Millisecond)
					worst = max(worst, largestBurst(all, c.quota))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(worst, "burst/allowed")
			})
		}
	}
}

// An admission lies between two instants, in seconds.
type admission struct{ before, after float64 }

// admissions are what a limiter admits to so many goroutines in d. They come after a
// pause that takes them across the end of a window, if there are any.
func admissions(take func() bool, goroutines int, d time.Duration) []admission {
	take()
	time.Sleep(80 * time.Millisecond)
	var (
		all  []admission
		mu   sync.Mutex
		done sync.WaitGroup
	)
	began := time.Now()
	for range goroutines {
		done.Go(func() {
			var mine []admission
			for {
				before := time.Since(began)
				if before >= d {
					break
				}
				if take() {
					mine = append(mine, admission{before.Seconds(), time.Since(began).Seconds()})
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	done.Wait()
	return all
}

// largestBurst is the most that was admitted in any interval beyond rate·t, as a
// multiple of the burst. What is between before and after of an admission is taken
// to the limiter's favour.
func largestBurst(all []admission, q quota) float64 {
	slices.SortFunc(all, func(a, b admission) int {
		if a.after < b.after {
			return -1
		}
		return 1
	})
	worst, least := 0.0, math.Inf(1)
	for n, a := range all {
		least = min(least, float64(n)-q.perSecond()*a.before)
		worst = max(worst, float64(n+1)-q.perSecond()*a.after-least)
	}
	return worst / float64(q.burst)
}

func TestLargestBurst(t *testing.T) {
	q := quota{rate: 10, burst: 2, window: time.Second}
	at := func(seconds ...float64) (all []admission) {
		for _, s := range seconds {
			all = append(all, admission{s, s})
		}
		return all
	}
	for _, test := range []struct {
		name string
		all  []admission
		want float64
	}{
		{"none", nil, 0},
		{"one", at(1), 0.5},
		{"the burst", at(1, 1), 1},
		{"and the rate", at(1, 1, 1.1, 1.2), 1},
		{"twice as many", at(0, 1, 1, 1, 1), 2},
		{"apart", at(1, 2, 3, 4, 5), 0.5},
	} {
		t.Run(test.name, func(t *testing.T) { require.InDelta(t, test.want, largestBurst(test.all, q), 1e-9) })
	}
}
