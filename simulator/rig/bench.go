package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"runtime"
	"time"
)

// A bench is a server that is to be guarded: how long a request takes, and of what.
type bench struct {
	Work    time.Duration // of a request: CPU time, or a worker's
	Workers int           // of a pool, behind an unbounded queue; 0: it is CPU time
	Rounds  int           // of hashing, that are Work; see calibrate
}

func benches() []bench {
	return []bench{
		{Work: 4 * time.Millisecond},
		{Work: 10 * time.Millisecond},
		{Work: 20 * time.Millisecond, Workers: 8},
	}
}

func (b bench) name() string {
	if b.Workers > 0 {
		return fmt.Sprintf("pool-%dx%v", b.Workers, b.Work)
	}
	return fmt.Sprintf("cpu-%v", b.Work)
}

func (b bench) title() string {
	if b.Workers > 0 {
		return fmt.Sprintf("a pool of %d workers, %v each, behind an unbounded queue", b.Workers, b.Work)
	}
	return fmt.Sprintf("%v of CPU time, on %d processors", b.Work, runtime.NumCPU())
}

// parallel is how many requests it can work on at once.
func (b bench) parallel() int {
	if b.Workers > 0 {
		return b.Workers
	}
	return runtime.NumCPU()
}

// handler returns what is to be guarded. Like many a handler, it does not look at
// the context of its request: who has gone is served all the same.
func (b bench) handler() http.Handler {
	if b.Workers == 0 {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			sum := hash(b.Rounds)
			w.Header().Set("Etag", fmt.Sprintf(`"%x"`, sum[:4])) // it has been worked for
		})
	}
	workers := make(chan struct{}, b.Workers) // who waits for it is served in order
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		workers <- struct{}{}
		time.Sleep(b.Work)
		<-workers
	})
}

// hash does some work that needs the CPU alone: no memory, no system calls.
func hash(rounds int) (sum [sha256.Size]byte) {
	for range rounds {
		sum = sha256.Sum256(sum[:])
	}
	return sum
}

// calibrate returns how many rounds of hashing take so long. It is the fastest of
// some tries that counts: the others were disturbed.
func calibrate(work time.Duration) int {
	const tries, rounds = 50, 5000
	fastest := time.Duration(1<<63 - 1)
	for range tries {
		start := time.Now()
		hash(rounds)
		fastest = min(fastest, time.Since(start))
	}
	return max(1, int(float64(rounds)*float64(work)/float64(max(fastest, 1))))
}
