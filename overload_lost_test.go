package guard_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A bound that is far too high, so that every client gives up before its turn,
// comes down: whether handlers stay, leave with their clients while the work goes
// on, or call the work off. If they leave, there are even places free.
func TestSelfTunedWhereAllClientsGiveUp(t *testing.T) {
	for name, leaves := range map[string]func(gone <-chan struct{}) (handler, work <-chan struct{}){
		"handlers stay":                        func(<-chan struct{}) (_, _ <-chan struct{}) { return nil, nil },
		"handlers leave, and the work goes on": func(gone <-chan struct{}) (_, _ <-chan struct{}) { return gone, nil },
		"the work is called off":               func(gone <-chan struct{}) (_, _ <-chan struct{}) { return gone, gone },
	} {
		bubble(t, name, func(t *testing.T) {
			g := newGuard(t, guard.Config{
				Concurrency: guard.Concurrency{SelfTuned: true, Floor: 300}, Logger: slog.New(slog.DiscardHandler),
			})
			workers, over := make(chan struct{}, 4), make(chan struct{})
			defer func() { close(over); time.Sleep(time.Second) }()
			h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handlerGone, workGone := leaves(r.Context().Done())
				done := make(chan struct{})
				go func() { // 100 a second
					defer close(done)
					select {
					case workers <- struct{}{}:
						time.Sleep(40 * time.Millisecond)
						<-workers
					case <-workGone:
					case <-over:
					}
				}()
				select {
				case <-done:
					w.WriteHeader(http.StatusNoContent)
				case <-handlerGone:
				}
			}))
			var served atomic.Int64
			flood := func(d time.Duration) int64 { // 500 a second
				served.Store(0)
				for range d / (2 * time.Millisecond) {
					time.Sleep(2 * time.Millisecond)
					go func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						defer time.AfterFunc(500*time.Millisecond, cancel).Stop()
						w := httptest.NewRecorder()
						h.ServeHTTP(w, put().WithContext(ctx))
						if ctx.Err() == nil && w.Code == http.StatusNoContent {
							served.Add(1)
						}
					}()
				}
				return served.Load()
			}
			flood(5 * time.Second)
			require.Zero(t, flood(time.Second), "nobody is served in time")
			require.NoError(t, g.Tune(func(c *guard.Config) { c.Concurrency.Floor = 0 }))
			flood(time.Minute) // what was begun for nobody is done first
			require.Greater(t, flood(10*time.Second), int64(800), "of 1000 that can be")
		})
	}
}

// Clients that hang up soon, as those do that search as one types, do not push the
// limit down.
func TestSelfTunedWhereClientsHangUpSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}, Logger: slog.New(slog.DiscardHandler)})
		h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		}))
		var all sync.WaitGroup
		for i := range 20_000 {
			time.Sleep(time.Millisecond)
			all.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%10 > 0 {
					defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
				}
				h.ServeHTTP(httptest.NewRecorder(), put().WithContext(ctx))
			})
		}
		all.Wait()
		s := g.Snapshot().Requests
		require.Less(t, s.Counts.Refused.Overloaded, uint64(5000), "at the start; else it is nearly all")
		require.Greater(t, s.Bound.Limit, 60, "some 55 are in flight")
	})
}
