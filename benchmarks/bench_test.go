package benchmarks_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The last element of a benchmark's name is the contender, the rest the job:
// "make bench-rivals" runs all contenders of a job next to each other, round by
// round.

func BenchmarkLimiter(b *testing.B) {
	for _, job := range []struct {
		name string
		quota
	}{{"admit", generous}, {"refuse", spent}} {
		for _, mode := range []string{"serial", "parallel"} {
			for _, l := range limiters {
				take := l.build(b, job.quota)
				take()
				run(b, mode, job.name+"/"+mode+"/"+l.name, func() { take() })
				ended(b, l.name, take, job.name == "admit")
			}
		}
	}
}

// ended fails a benchmark in which a limiter does in the end something other than
// what was to be timed.
func ended(b *testing.B, name string, take func() bool, admitted bool) {
	b.Helper()
	if name == "failsafe-smooth" {
		return // which may refuse, so soon after another
	}
	if take() != admitted {
		b.Errorf("%s: admitted is %t in the end", name, !admitted)
	}
}

// BenchmarkContention has more and more goroutines take from one bucket.
func BenchmarkContention(b *testing.B) {
	for _, goroutines := range []int{1, 2, 8, 64, 1000} {
		for _, l := range limiters {
			take := l.build(b, generous)
			b.Run(fmt.Sprintf("%d/%s", goroutines, l.name), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var all sync.WaitGroup
				begin := make(chan struct{})
				for range goroutines {
					all.Go(func() {
						const chunk = 64
						<-begin
						for left.Add(-chunk) > -chunk {
							for range chunk {
								take()
							}
						}
					})
				}
				b.ResetTimer()
				close(begin)
				all.Wait()
			})
			ended(b, l.name, take, true)
		}
	}
}

// BenchmarkKeyed has a million keys at the most. The serial jobs are a curve, too:
// see curved.
func BenchmarkKeyed(b *testing.B) {
	for _, keys := range []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000} {
		names := keyNames(keys)
		for _, l := range keyedLimiters {
			if keys >= 100_000 {
				runtime.GC() // what the last one has left is not for this one to sweep
			}
			take := l.build(b, generous, keys)
			for _, name := range names {
				take(name)
			}
			uniform := func() { take(names[rand.IntN(keys)]) }
			job := strconv.Itoa(keys)
			serial(b, job+"/serial/"+l.name, uniform)
			switch {
			case keys == 1:
				parallel(b, job+"/parallel/"+l.name, uniform)
			case keys >= 100_000:
				parallel(b, job+"/parallel/"+l.name, uniform)
				b.Run(job+"/zipf-parallel/"+l.name, func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 1, uint64(keys-1))
						for pb.Next() {
							take(names[zipf.Uint64()])
						}
					})
				})
			}
			ended(b, l.name, func() bool { return take(names[0]) }, true)
		}
	}
}

func keyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i * 7919)
	}
	return names
}

// BenchmarkHeap fills a million keys and reports what each takes. Their names are
// not counted for any that keeps the caller's string, which a server has no other
// use for: so they are made for each key, and dropped.
func BenchmarkHeap(b *testing.B) {
	const keys = 1_000_000
	for _, l := range keyedLimiters {
		b.Run("million/"+l.name, func(b *testing.B) {
			var perKey float64
			hour := quota{rate: 1000, burst: 1000, window: time.Hour}
			for range b.N {
				before := heap()
				take := l.build(b, hour, keys)
				for i := range keys {
					take(strconv.Itoa(i * 7919))
				}
				perKey = float64(heap()-before) / keys
				runtime.KeepAlive(take)
				take("0")
			}
			b.ReportMetric(perKey, "B/key")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first has found finalizers for
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func run(b *testing.B, mode, name string, f func()) {
	b.Helper()
	if mode == "serial" {
		serial(b, name, f)
		return
	}
	parallel(b, name, f)
}

func serial(b *testing.B, name string, f func()) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
}

func parallel(b *testing.B, name string, f func()) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}
