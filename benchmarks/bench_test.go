package benchmarks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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
		for _, l := range limiters {
			take := l.build(b, job.quota)
			take()
			serial(b, job.name+"/serial/"+l.name, func() { take() })
		}
		for _, l := range limiters {
			take := l.build(b, job.quota)
			take()
			parallel(b, job.name+"/parallel/"+l.name, func() { take() })
		}
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
				b.ResetTimer()
				for range goroutines {
					all.Go(func() {
						const chunk = 64
						for left.Add(-chunk) > -chunk {
							for range chunk {
								take()
							}
						}
					})
				}
				all.Wait()
			})
		}
	}
}

func BenchmarkKeyed(b *testing.B) {
	for _, keys := range []int{1, 100_000, 1_000_000} {
		names := keyNames(keys)
		for _, l := range keyedLimiters {
			runtime.GC() // what the last one has left is not for this one to sweep
			take := l.build(b, generous, keys)
			for _, name := range names {
				take(name)
			}
			job := strconv.Itoa(keys)
			if keys == 1 {
				serial(b, job+"/one/"+l.name, func() { take(names[0]) })
				continue
			}
			b.Run(job+"/uniform/"+l.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						take(names[rand.IntN(keys)])
					}
				})
			})
			b.Run(job+"/zipf/"+l.name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 1, uint64(keys-1))
					for pb.Next() {
						take(names[zipf.Uint64()])
					}
				})
			})
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

func BenchmarkBreaker(b *testing.B) {
	fine := func() error { return nil }
	for _, mode := range []string{"serial", "parallel"} {
		for _, c := range breakers {
			call := c.build(b)
			run(b, mode, "closed/"+mode+"/"+c.name, func() { _ = call(fine) })
		}
	}
	for _, c := range breakers {
		b.Run("one-in-four/serial/"+c.name, func(b *testing.B) {
			call := c.build(b)
			b.ReportAllocs()
			n := 0
			flaky := func() error {
				if n++; n%4 == 0 {
					return errBroken
				}
				return nil
			}
			for b.Loop() {
				_ = call(flaky)
			}
		})
	}
	for _, mode := range []string{"serial", "parallel"} {
		for _, c := range breakers {
			b.Run("open/"+mode+"/"+c.name, func(b *testing.B) {
				call := c.build(b)
				if !trip(call) {
					b.Fatal("it does not open")
				}
				b.ReportAllocs()
				if mode == "serial" {
					for b.Loop() {
						_ = call(fine)
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_ = call(fine)
					}
				})
			})
		}
	}
}

func BenchmarkClient(b *testing.B) {
	for _, state := range []string{"closed", "open"} {
		for _, c := range clients {
			if state == "open" && c.name == "bare" {
				continue
			}
			status := http.StatusOK
			rt := c.build(b, answer(&status))
			r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil)
			if state == "open" {
				fail(rt, r, &status)
			}
			serial(b, state+"/serial/"+c.name, func() {
				if resp, err := rt.RoundTrip(r); err == nil {
					_ = resp.Body.Close()
				}
			})
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	for _, job := range []struct {
		name string
		quota
	}{{"admit", generous}, {"refuse", spent}} {
		for _, mode := range []string{"serial", "parallel"} {
			for _, h := range handlers {
				if job.name == "refuse" && h.name == "bare" {
					continue
				}
				guarded := h.build(b, job.quota, http.HandlerFunc(noContent))
				guarded.ServeHTTP(&sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil))
				serve(b, mode, job.name+"/"+mode+"/"+h.name, guarded)
			}
		}
	}
}

func BenchmarkBound(b *testing.B) {
	for _, mode := range []string{"serial", "parallel"} {
		for _, h := range bounds {
			serve(b, mode, "admit/"+mode+"/"+h.name, h.build(b, 10_000, http.HandlerFunc(noContent)))
		}
	}
	// The one place is taken for as long as the benchmark runs.
	for _, h := range bounds {
		if h.finds {
			continue
		}
		entered, leave := make(chan struct{}), make(chan struct{})
		guarded := h.build(b, 1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-leave
		}))
		go guarded.ServeHTTP(&sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil))
		<-entered
		serve(b, "serial", "refuse/serial/"+h.name, guarded)
		close(leave)
	}
}

func BenchmarkRequest(b *testing.B) {
	fine := func(context.Context) error { return nil }
	for _, mode := range []string{"serial", "parallel"} {
		for _, r := range requests {
			serve(b, mode, "one-call/"+mode+"/"+r.name, r.build(b, generous, fine))
		}
	}
}

// serve runs a handler, with a writer and a request for each goroutine.
func serve(b *testing.B, mode, name string, h http.Handler) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		if mode == "serial" {
			w, r := &sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/visits/1", nil)
			for b.Loop() {
				w.reset()
				h.ServeHTTP(w, r)
			}
			return
		}
		b.RunParallel(func(pb *testing.PB) {
			w, r := &sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/visits/1", nil)
			for pb.Next() {
				w.reset()
				h.ServeHTTP(w, r)
			}
		})
	})
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
