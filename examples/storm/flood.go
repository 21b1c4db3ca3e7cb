package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/guard"
)

// The last act is overload of a server of which nobody knows what it can do: the
// same flood for two equal ones, of which one has a self-tuned bound.
const (
	workers  = 4                     // of each server, behind a queue without end
	workTime = 40 * time.Millisecond // so it can do 100 requests a second
	capacity = float64(workers*time.Second) / float64(workTime)
	flooded  = 5                      // times that comes
	hurry    = 500 * time.Millisecond // after that a client gives up
	floodFor = 6                      // seconds
)

// A pool is a server whose work goes through a few workers, and its clients.
type pool struct {
	workers chan struct{}
	over    chan struct{} // closed when the act is
	guard   *guard.Guard  // nil: none
	client  *http.Client
	url     string
	waiting atomic.Int64 // for a worker
	worked  atomic.Int64 // what the workers have done, for whomever

	mu sync.Mutex // guards the field below
	tally
}

// A tally is what became of the requests, or of those since an earlier tally.
type tally struct {
	inTime, refused, gaveUp, other int64
	worked                         int64
	latency                        []time.Duration // of those in time, as the clients saw it
	limit, waiting                 int             // at the end of it; limit, of all: the median
}

// newPool starts a server: one without a guard if config is nil.
func newPool(config *guard.Config) (p *pool, stop func(), err error) {
	base := newTransport(time.Second)
	p = &pool{
		workers: make(chan struct{}, workers), over: make(chan struct{}),
		client: &http.Client{Transport: base, Timeout: hurry},
	}
	h := http.Handler(http.HandlerFunc(p.serve))
	if config != nil {
		if p.guard, err = guard.New(*config); err != nil {
			return nil, nil, err
		}
		h = p.guard.Handler(h)
	}
	server, err := listen(h)
	if err != nil {
		return nil, nil, err
	}
	p.url = "http://" + server.Addr
	return p, func() {
		close(p.over)
		base.CloseIdleConnections()
		_ = server.Close()
		if p.guard != nil {
			_ = p.guard.Close()
		}
	}, nil
}

// serve has its work done, and leaves when its client does.
func (p *pool) serve(w http.ResponseWriter, r *http.Request) {
	done := make(chan struct{})
	p.waiting.Add(1)
	go p.work(done)
	select {
	case <-done:
		_, _ = io.WriteString(w, "42\n")
	case <-r.Context().Done():
	}
}

// work waits for its turn and takes its time, whether or not somebody still waits
// for it: a query that is under way is seldom called back.
func (p *pool) work(done chan<- struct{}) {
	select {
	case p.workers <- struct{}{}: // in order of arrival
	case <-p.over:
		return
	}
	p.waiting.Add(-1)
	time.Sleep(workTime)
	<-p.workers
	p.worked.Add(1)
	close(done)
}

// send is a client, who gives up after a while.
func (p *pool) send(ctx context.Context) {
	began := time.Now()
	resp, err := get(ctx, p.client, p.url)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil: // the act is over
	case err != nil:
		p.gaveUp++
	case resp.StatusCode == http.StatusOK:
		p.inTime++
		p.latency = append(p.latency, time.Since(began))
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		p.refused++
	default:
		p.other++
	}
}

func (p *pool) look() tally {
	p.mu.Lock()
	t := p.tally
	t.latency = slices.Clone(t.latency)
	p.mu.Unlock()
	t.worked, t.waiting = p.worked.Load(), int(p.waiting.Load())
	if p.guard != nil {
		b := p.guard.Snapshot().Requests.Bound
		t.limit, t.waiting = b.Limit, t.waiting+b.Waiting
	}
	return t
}

func (t tally) since(earlier tally) tally {
	t.inTime -= earlier.inTime
	t.refused -= earlier.refused
	t.gaveUp -= earlier.gaveUp
	return t
}

// p99 is within what 99 in 100 of those in time were answered.
func (t tally) p99() time.Duration {
	if len(t.latency) == 0 {
		return 0
	}
	slices.Sort(t.latency)
	return t.latency[(len(t.latency)*99+99)/100-1]
}

// A contest is how the server without a limit did, and the one with a bound.
type contest struct {
	plain, tuned tally
	late         float64 // for what share of the time the flood had no processor
}

// tooLate is how late a contest may be if it is to be judged: on a machine with
// nothing else to do it is about 0.01.
const tooLate = 0.1

// flood plays the last act. A shorter story has a shorter one, but not by much:
// the bound and the clients take what they take. A longer one would show no more.
func flood(ctx context.Context, t *table, second time.Duration) (c contest, err error) {
	plain, stop, err := newPool(nil)
	if err != nil {
		return c, err
	}
	defer stop()
	tuned, stop2, err := newPool(&guard.Config{
		Concurrency: guard.Concurrency{SelfTuned: true}, // nothing else is set
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return c, err
	}
	defer stop2()

	t.line("\n                 no limit / second               a self-tuned bound / second")
	t.line("  time  phase     200   503  given up  waiting     200   503  given up  waiting  limit")
	t.event("flood: %.0f requests a second come to each of two servers that can do %.0f", flooded*capacity, capacity)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var late atomic.Int64
	all.Go(func() { arrive(ctx, &all, plain, tuned, &late) })

	ticks := time.NewTicker(min(max(second, 700*time.Millisecond), time.Second))
	defer ticks.Stop()
	began, limits := time.Now(), []int(nil)
	last := began
	for range floodFor {
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-ticks.C:
		}
		p, s := plain.look(), tuned.look()
		t.floodRow(p.since(c.plain), s.since(c.tuned), time.Since(last))
		c.plain, c.tuned, last, limits = p, s, time.Now(), append(limits, s.limit)
	}
	c.late = float64(late.Load()) / float64(last.Sub(began))
	slices.Sort(limits)
	c.tuned.limit = limits[len(limits)/2] // the last may be one of its trials
	return c, nil
}

// arrive sends the same flood to both, whatever becomes of it, and adds up for how
// many nanoseconds it could not.
func arrive(ctx context.Context, all *sync.WaitGroup, plain, tuned *pool, late *atomic.Int64) {
	const tick = 5 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	began, sent := time.Now(), 0
	for last := began; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		late.Add(int64(max(0, time.Since(last)-2*tick)))
		last = time.Now()
		for ; float64(sent) < time.Since(began).Seconds()*flooded*capacity; sent++ {
			all.Go(func() { plain.send(ctx) })
			all.Go(func() { tuned.send(ctx) })
		}
	}
}

func (t *table) floodRow(p, s tally, took time.Duration) {
	rate := func(n int64) int64 { return int64(float64(n)/took.Seconds() + 0.5) }
	t.line("%5.1fs  %-8s %4d %5d  %8d  %7d    %4d %5d  %8d  %7d  %5d", time.Since(t.start).Seconds(), "flood",
		rate(p.inTime), rate(p.refused), rate(p.gaveUp), p.waiting,
		rate(s.inTime), rate(s.refused), rate(s.gaveUp), s.waiting, s.limit)
}

// tell says in words what was seen. What a server can do is what the workers of
// the one without a limit did, since these were never idle: on a busy machine it
// is less than the capacity.
func (c contest) tell(t *table) {
	share := func(n int64) int64 { return 100 * n / max(1, c.plain.worked) }
	t.line(`
6. Overload that nobody has set a limit for. Two servers had the same %d workers, and got %d
   times what these can do. Without a limit, a queue grew until nearly every client had given
   up before its turn, and the work was done for nobody: %d %% of what the server can do was
   answered in time, 99 in 100 of that within %v, and %d requests waited in the end. The
   other has Concurrency{SelfTuned: true}, and no number that anybody has set. It found by
   itself that about %d requests at once are enough, and tries now and then whether fewer are:
   %d %% of what the server can do was answered in time, 99 in 100 of that within %v.
   %d requests got 503, and %d clients gave up.`, workers, flooded,
		share(c.plain.inTime), short(c.plain.p99()), c.plain.waiting,
		c.tuned.limit, share(c.tuned.inTime), short(c.tuned.p99()), c.tuned.refused, c.tuned.gaveUp)
	if c.late > tooLate {
		t.line("   This says little: for %.0f %% of the time, the machine was busy with other things.", 100*c.late)
	}
}

// verdict returns an error if the bound was of no use. It measures against the
// server beside, so that a busy machine is as bad for both. If it is so busy that
// clients give up since they get no processor, there is nothing to be said.
func (c contest) verdict() error {
	p, s := c.plain, c.tuned
	switch {
	case p.other+s.other > 0:
		return fmt.Errorf("%d requests of the flood got another answer than 200 or 503 with a Retry-After", p.other+s.other)
	case c.late > tooLate:
	case s.inTime <= 2*p.inTime || 2*s.inTime < p.worked:
		return fmt.Errorf("of the flood, workers did %d requests, %d were answered in time without a limit, and %d with a self-tuned bound",
			p.worked, p.inTime, s.inTime)
	case s.refused <= s.gaveUp:
		return fmt.Errorf("the self-tuned bound refused %d requests of the flood, and %d clients gave up", s.refused, s.gaveUp)
	}
	return nil
}
