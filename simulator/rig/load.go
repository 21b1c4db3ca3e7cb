package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const roleLoad = "load"

// A loadSpec is what a load process is told.
type loadSpec struct {
	Addr    string
	Rate    float64 // requests per second, of an open load; 0: it is closed
	Clients int     // of a closed load
	Warmup  time.Duration
	Length  time.Duration
	Timeout time.Duration // of a client
	Seed    uint64
}

// A loadResult is what a load process says in the end, of the requests that were
// due while it counted.
type loadResult struct {
	Sent     int
	OK       int           // 200s in time
	Refused  int           // 429s and 503s
	TimedOut int           // no answer in time
	Failed   int           // everything else
	P50, P99 time.Duration // of the 200s, from when they were due
	Late     time.Duration // that 99 % of the requests were sent after they were due, at the most
	Example  string        // of what failed
}

// load is the load process.
func load(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec loadSpec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("cannot read what to load: %w", err)
	}
	l := &generator{spec: spec, client: client{addr: spec.Addr}}
	if spec.Rate > 0 {
		l.open(ctx)
	} else {
		l.closed(ctx)
	}
	l.client.close()
	return json.NewEncoder(out).Encode(l.result())
}

// A generator sends requests and counts what became of them.
type generator struct {
	spec   loadSpec
	client client

	mu    sync.Mutex // guards the fields below
	res   loadResult
	times []time.Duration // of the 200s
	lates []time.Duration // of all
}

// open sends requests as by a Poisson process. It goes on for as long as the last
// that counts may wait, so that these are under the same load as the others.
func (l *generator) open(ctx context.Context) {
	random := rand.New(rand.NewPCG(l.spec.Seed, 0))
	gap := func() time.Duration { return time.Duration(random.ExpFloat64() / l.spec.Rate * float64(time.Second)) }
	start := time.Now()
	from, to := l.spec.Warmup, l.spec.Warmup+l.spec.Length
	var sent sync.WaitGroup
	defer sent.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := gap(); due < to+l.spec.Timeout; due += gap() {
		if wait := due - time.Since(start); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		sent.Go(func() { l.send(start.Add(due), due >= from && due < to) })
	}
}

// closed has clients that send a request when the one before is answered.
func (l *generator) closed(ctx context.Context) {
	start := time.Now()
	from, to := l.spec.Warmup, l.spec.Warmup+l.spec.Length
	var clients sync.WaitGroup
	for range l.spec.Clients {
		clients.Go(func() {
			for ctx.Err() == nil {
				since := time.Since(start)
				if since >= to {
					return
				}
				l.send(start.Add(since), since >= from)
			}
		})
	}
	clients.Wait()
}

// send sends a request that is due at an instant.
func (l *generator) send(due time.Time, counts bool) {
	late := time.Since(due)
	status, err := l.client.get(due.Add(l.spec.Timeout))
	took := time.Since(due)
	if !counts {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.res.Sent++
	l.lates = append(l.lates, late)
	switch {
	case took >= l.spec.Timeout || isTimeout(err):
		l.res.TimedOut++
	case err != nil:
		l.res.Failed++
		l.res.Example = err.Error()
	case status == 200:
		l.res.OK++
		l.times = append(l.times, took)
	case status == 429 || status == 503:
		l.res.Refused++
	default:
		l.res.Failed++
		l.res.Example = fmt.Sprint("status ", status)
	}
}

func (l *generator) result() loadResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.res.P50, l.res.P99 = quantile(l.times, 0.5), quantile(l.times, 0.99)
	l.res.Late = quantile(l.lates, 0.99)
	return l.res
}

// quantile returns what the share q of all is below; 0 if there is none. It sorts.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
