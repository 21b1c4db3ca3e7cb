package guard_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"example.com/guard"
)

// BenchmarkBound is what a queue in front of a bound costs beside the count that a
// plain Max is.
func BenchmarkBound(b *testing.B) {
	r := httptest.NewRequest(http.MethodGet, "/visits/1", nil)
	for _, kind := range []struct {
		name string
		c    guard.Concurrency
	}{
		{"none", guard.Concurrency{}},
		{"max", guard.Concurrency{Max: plenty}},
		{"queue", guard.Concurrency{Max: plenty, MaxWait: time.Second}},
		{"self-tuned", guard.Concurrency{SelfTuned: true, Floor: 1000}},
	} {
		h := newGuard(b, guard.Config{Concurrency: kind.c}).Handler(http.HandlerFunc(noContent))
		w := &sink{h: http.Header{}}
		serial(b, "admit/"+kind.name, func() { clear(w.h); h.ServeHTTP(w, r) })
		parallel(b, "admit/parallel/"+kind.name, func() { h.ServeHTTP(&sink{h: http.Header{}}, r) })
	}
	for _, kind := range []struct {
		name string
		c    guard.Concurrency
	}{
		{"max", guard.Concurrency{Max: 1}},
		{"queue", guard.Concurrency{Max: 1, MaxWait: time.Second}},
		{"self-tuned", guard.Concurrency{SelfTuned: true, Ceiling: 1}},
	} {
		refused(b, "refuse/"+kind.name, kind.c, r)
	}
	// Two who take turns on one place: each hands it to the other.
	h := newGuard(b, guard.Config{Concurrency: guard.Concurrency{Max: 1, MaxWait: math.MaxInt64}}).Handler(http.HandlerFunc(noContent))
	b.Run("hand-over", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			w := &sink{h: http.Header{}}
			for pb.Next() {
				clear(w.h)
				h.ServeHTTP(w, r)
			}
		})
	})
}

// refused measures a refusal while the only place is taken. Who is refused has no
// time left, or it would wait.
func refused(b *testing.B, name string, c guard.Concurrency, r *http.Request) {
	b.Helper()
	in, out := make(chan bool), make(chan bool)
	h := newGuard(b, guard.Config{Concurrency: c}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		in <- true
		<-out
	}))
	var work sync.WaitGroup
	work.Go(func() { h.ServeHTTP(&sink{h: http.Header{}}, r) })
	<-in
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	late := r.WithContext(ctx)
	w := &sink{h: http.Header{}}
	serial(b, name, func() { clear(w.h); h.ServeHTTP(w, late) })
	parallel(b, name+"/parallel", func() { h.ServeHTTP(&sink{h: http.Header{}}, late) })
	close(out)
	work.Wait()
}
