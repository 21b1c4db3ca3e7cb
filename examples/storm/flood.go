package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
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
	acts     = 6                      // seconds, also if the story is shorter: work takes what it takes
)

// A pool is the work of a server.
type pool struct {
	workers chan struct{}
	over    chan struct{} // closed when the act is
	guard   *guard.Guard  // nil: none
	base    *http.Transport

	inTime, refused, gaveUp atomic.Int64
}

// newPool starts a server. What is said about it stands in start.
func newPool(config *guard.Config) (p *pool, url string, stop func(), err error) {
	p = &pool{workers: make(chan struct{}, workers), over: make(chan struct{}), base: newTransport(time.Second)}
	h := http.Handler(http.HandlerFunc(p.work))
	if config != nil {
		if p.guard, err = guard.New(*config); err != nil {
			return nil, "", nil, err
		}
		h = p.guard.Handler(h)
	}
	server, err := listen(h)
	if err != nil {
		return nil, "", nil, err
	}
	return p, "http://" + server.Addr, func() {
		close(p.over)
		p.base.CloseIdleConnections()
		_ = server.Close()
		if p.guard != nil {
			_ = p.guard.Close()
		}
	}, nil
}

// work takes its time, whether or not somebody still waits for it, as most work does.
func (p *pool) work(w http.ResponseWriter, _ *http.Request) {
	select {
	case p.workers <- struct{}{}:
	case <-p.over:
		return
	}
	time.Sleep(workTime)
	<-p.workers
	_, _ = io.WriteString(w, "42\n")
}

// send is a client, who gives up after a while.
func (p *pool) send(ctx context.Context, url string) {
	client := http.Client{Transport: p.base, Timeout: hurry}
	resp, err := get(ctx, &client, url)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.gaveUp.Add(1)
	case resp.StatusCode == http.StatusServiceUnavailable:
		p.refused.Add(1)
	default:
		p.inTime.Add(1)
	}
}

// flood plays the last act, and returns an error if the bound was of no use.
func flood(ctx context.Context, t *table) error {
	plain, plainURL, stop, err := newPool(nil)
	if err != nil {
		return err
	}
	defer stop()
	tuned, tunedURL, stop2, err := newPool(&guard.Config{
		Concurrency: guard.Concurrency{SelfTuned: true}, // nothing else is set
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer stop2()

	t.line("\n                 no limit / second     a self-tuned bound / second")
	t.line("  time  phase     200  given up        200   503  given up   limit  waiting")
	t.event("flood: %.0f requests a second come to each of two servers that can do %.0f", flooded*capacity, capacity)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { arrive(ctx, &all, plain, plainURL, tuned, tunedURL) })

	began, last := time.Now(), [5]int64{}
	for range acts {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		now := [5]int64{plain.inTime.Load(), plain.gaveUp.Load(), tuned.inTime.Load(), tuned.refused.Load(), tuned.gaveUp.Load()}
		rate := func(i int) int64 { return now[i] - last[i] }
		b := tuned.guard.Snapshot().Requests.Bound
		t.line("%5.1fs  flood    %4d  %8d       %4d  %4d  %8d   %5d  %7d", time.Since(t.start).Seconds(),
			rate(0), rate(1), rate(2), rate(3), rate(4), b.Limit, b.Waiting)
		last = now
	}
	took := time.Since(began).Seconds()
	share := func(n int64) float64 { return 100 * float64(n) / took / capacity }
	t.line(`
6. Overload that nobody has set a limit for. Two servers had the same %d workers, and %d times
   what they can do. Without a limit, a queue grew until nearly every client had given up
   before its turn, and the work was done for nobody: %.0f %% of what the server can do was
   answered in time. The other has Concurrency{SelfTuned: true}, and found by itself that
   %d requests at once are enough: %.0f %% was answered in time, 99 in 100 within %v, and
   %d requests were refused at once.`, workers, flooded, share(last[0]), tuned.guard.Snapshot().Requests.Bound.Limit,
		share(last[2]), short(tuned.guard.Snapshot().Requests.Latency.P99), last[3])
	if last[2] <= last[0] || last[3] == 0 {
		return fmt.Errorf("of the flood, %d requests were answered in time without a limit, and %d with a self-tuned bound", last[0], last[2])
	}
	return nil
}

// arrive sends the same flood to both, whatever becomes of it.
func arrive(ctx context.Context, all *sync.WaitGroup, plain *pool, plainURL string, tuned *pool, tunedURL string) {
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		for ; float64(sent) < time.Since(began).Seconds()*flooded*capacity; sent++ {
			all.Go(func() { plain.send(ctx, plainURL) })
			all.Go(func() { tuned.send(ctx, tunedURL) })
		}
	}
}
