package guard_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"example.com/guard"
)

// Nothing is set but that the server finds out itself how many requests at once
// are good for it. A payment goes before all others where there is a queue.
func ExampleConcurrency_selfTuned() {
	g, err := guard.New(guard.Config{
		Concurrency: guard.Concurrency{SelfTuned: true},
		Hooks: guard.Hooks{OverloadChanged: func(_ context.Context, e guard.OverloadEvent) {
			fmt.Println("over:", e.Over, "limit:", e.Limit)
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	pay, err := g.Route("pay", guard.RouteConfig{Priority: guard.PriorityCritical})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payments", pay.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	w := httptest.NewRecorder()
	g.Mux(mux).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/payments", nil))
	b := g.Snapshot().Requests.Bound
	fmt.Println(w.Code, b.SelfTuned, b.Waiting, b.Shedding)
	// Output:
	// 200 true 0 false
}

// With a number of your own, requests wait in the same queue, up to MaxWait. Who
// would wait for longer is refused at once.
func ExampleConcurrency_maxWait() {
	g, err := guard.New(guard.Config{
		Concurrency: guard.Concurrency{Max: 1, MaxWait: 10 * time.Millisecond},
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	busy, done := make(chan bool), make(chan bool)
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		busy <- true
		<-done
	}))
	go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	<-busy
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	close(done)
	fmt.Println(w.Code, g.Snapshot().Requests.Bound.Shed.Normal)
	// Output:
	// 503 1
}
