package benchmarks_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

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
				meet(guarded, oneClient)
				serving{guarded, job.name == "admit", oneClient, false}.run(b, mode, job.name+"/"+mode+"/"+h.name)
			}
		}
	}
}

// BenchmarkBound has those that find the number themselves in jobs of their own.
func BenchmarkBound(b *testing.B) {
	for _, mode := range []string{"serial", "parallel"} {
		for _, job := range []string{"admit", "self-tuned"} {
			for _, h := range bounds {
				if h.finds != (job == "self-tuned") && h.name != "bare" {
					continue
				}
				guarded := h.build(b, 10_000, http.HandlerFunc(noContent))
				serving{guarded, true, oneClient, false}.run(b, mode, job+"/"+mode+"/"+h.contender())
			}
		}
	}
	// The one place is taken for as long as the benchmark runs.
	for _, mode := range []string{"serial", "parallel"} {
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
			serving{guarded, false, oneClient, false}.run(b, mode, "refuse/"+mode+"/"+h.name)
			close(leave)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	many := addresses(manyClients)
	for _, t := range tasks {
		t.call = func(context.Context) error { return nil }
		from := oneClient
		if t.clients > 0 {
			from = many
		}
		for _, mode := range []string{"serial", "parallel"} {
			for _, r := range requests {
				if r.does != nil && !r.does(t.task) {
					continue
				}
				runtime.GC() // what the last one has left is not for this one to sweep
				h := r.build(b, t.task)
				meet(h, from)
				serving{h, true, from, t.zipf}.run(b, mode, t.name+"/"+mode+"/"+r.name)
			}
		}
	}
}

// oneClient is the address of who asks, where nobody is to be told apart.
var oneClient = []string{"192.0.2.1:1234"}

// meet has each client ask once.
func meet(h http.Handler, clients []string) {
	w, r := &sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/visits/1", nil)
	for _, r.RemoteAddr = range clients {
		w.reset()
		h.ServeHTTP(w, r)
	}
}

// A serving is what is timed of a handler: requests of any of the clients, which
// all are to be served, or to be refused.
type serving struct {
	http.Handler
	served  bool
	clients []string
	zipf    bool // a few of them ask most
}

// run has a writer and a request for each goroutine.
func (s serving) run(b *testing.B, mode, name string) {
	b.Helper()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		if mode == "serial" {
			s.loop(b, b.Loop)
			return
		}
		b.RunParallel(func(pb *testing.PB) { s.loop(b, pb.Next) })
	})
}

func (s serving) loop(b *testing.B, more func() bool) {
	w, r := &sink{h: http.Header{}}, httptest.NewRequest(http.MethodGet, "/visits/1", nil)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), 1)), 1.1, 1, uint64(len(s.clients)-1))
	for more() {
		switch {
		case s.zipf:
			r.RemoteAddr = s.clients[zipf.Uint64()]
		case len(s.clients) > 1:
			r.RemoteAddr = s.clients[rand.IntN(len(s.clients))]
		}
		w.reset()
		s.ServeHTTP(w, r)
	}
	if served := w.status < http.StatusBadRequest; w.status != 0 && served != s.served { // 0: it had no turn
		b.Errorf("in the end it answered %d", w.status)
	}
}
