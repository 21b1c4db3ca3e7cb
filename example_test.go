package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/time/rate"

	"example.com/guard"
)

func ExampleNewLimiter() {
	_, err := guard.NewLimiter(guard.Limit{Rate: 10, Burst: -1})
	fmt.Println(err)
	// Output: guard: Limit.Burst is -1, want >= 0
}

func ExampleLimiter_Take() {
	lim, err := guard.NewLimiter(guard.Limit{Rate: rate.Every(time.Hour), Burst: 2})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		wait, ok := lim.Take(1)
		fmt.Println(ok, wait.Round(time.Minute))
	}
	_, ok := lim.Take(3) // more than the bucket holds: never
	fmt.Println(ok)
	// Output:
	// true 0s
	// true 0s
	// false 1h0m0s
	// false
}

func ExampleLimiter_Wait() {
	lim, err := guard.NewLimiter(guard.Limit{Rate: rate.Every(time.Hour), Burst: 1})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(lim.Wait(ctx, 1))
	err = lim.Wait(ctx, 1) // the next token comes too late, so this does not block
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// <nil>
	// true
}

func ExampleKeyed() {
	perUser, err := guard.NewKeyed[string](guard.Limit{Rate: rate.Every(time.Hour), Burst: 1}, 10_000)
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range []string{"ann", "ben", "ann"} {
		_, ok := perUser.Take(user, 1)
		fmt.Println(user, ok)
	}
	// Output:
	// ann true
	// ben true
	// ann false
}

func ExampleGuard_Handler() {
	g, err := guard.New(guard.Config{Limit: guard.Limit{Rate: rate.Every(time.Hour), Burst: 1}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 ""
	// 503 "3600"
}

func ExampleGuard_HandlerFunc() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		if r.FormValue("from") == "" {
			return guard.BadRequest("The parameter from is missing.")
		}
		return guard.NotFound("There is no such visit.")
	})
	r := httptest.NewRequest(http.MethodGet, "/visits", nil)
	r.Header.Set("Accept", "text/plain")
	r.Header.Set("X-Request-Id", "7b3f")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output:
	// 400 Bad Request
	// The parameter from is missing.
	//
	// code: bad-request
	// instance: /visits
	// request id: 7b3f
}

func ExampleGuard_Mux() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /visits", func(http.ResponseWriter, *http.Request) {})
	h := g.Mux(mux)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodDelete, "/visits", nil))
	fmt.Println(w.Code, w.Header().Get("Allow"), w.Header().Get("Content-Type"))
	// Output: 405 GET, HEAD application/problem+json
}

func ExampleGuard_Route() {
	g, err := guard.New(guard.Config{Limit: guard.Limit{Rate: 100, Burst: 100}})
	if err != nil {
		log.Fatal(err)
	}
	reports, err := g.Route("reports", guard.RouteConfig{
		Cost:        20, // of the 100 tokens that all share
		Concurrency: guard.Concurrency{Max: 2},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /reports", reports.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "a report")
	})))
	w := httptest.NewRecorder()
	g.Mux(mux).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/reports", nil))
	fmt.Println(w.Code)
	// Output: 200
}

func ExampleGuard_Tune() {
	g, err := guard.New(guard.Config{Limit: guard.Limit{Rate: 100, Burst: 10}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Tune(func(c *guard.Config) { c.Limit.Rate = 50 }))
	fmt.Println(g.Tune(func(c *guard.Config) { c.Limit.Rate, c.Limit.Burst = 20, -1 }))
	fmt.Println(g.Config().Limit)
	// Output:
	// <nil>
	// guard: Limit.Burst is -1, want >= 0
	// {50 10}
}

// WriteError serves wherever a handler is not a HandlerFunc.
func ExampleGuard_WriteError() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			g.WriteError(w, r, guard.Unauthorized("admin", "Log in to tune the limits."))
		}
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/admin", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Basic realm="admin"
}

func ExampleLimiter_SetLimit() {
	lim, err := guard.NewLimiter(guard.Limit{Rate: 100, Burst: 10})
	if err != nil {
		log.Fatal(err)
	}
	lim.Take(4)
	fmt.Println(lim.SetLimit(guard.Limit{Rate: -1}))
	fmt.Println(lim.SetLimit(guard.Limit{Rate: rate.Every(time.Hour), Burst: 3}))
	_, ok := lim.Take(4) // it has kept its tokens, but not more than it can hold
	fmt.Println(ok)
	// Output:
	// guard: Limit.Rate is -1, want >= 0
	// <nil>
	// false
}

// What was taken for work that did not happen is given back.
func ExampleLimiter_Return() {
	lim, err := guard.NewLimiter(guard.Limit{Rate: rate.Every(time.Hour), Burst: 1})
	if err != nil {
		log.Fatal(err)
	}
	if _, ok := lim.Take(1); ok {
		if err := errors.New("the queue is closed"); err != nil {
			lim.Return(1)
		}
	}
	_, ok := lim.Take(1)
	fmt.Println(ok)
	// Output: true
}

func ExampleRequestID() {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Request-Id", "7b3f")
	fmt.Println(guard.RequestID(r))

	r.Header.Set("X-Request-Id", "not an id\n")
	fresh := guard.RequestID(r)
	fmt.Println(len(fresh), fresh == guard.RequestID(r))
	// Output:
	// 7b3f
	// 32 true
}

func ExampleGuard_Ready() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /livez", g.Live())
	mux.Handle("GET /readyz", g.Ready())
	h := g.Mux(mux)

	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil))
		fmt.Println(w.Code)
		fmt.Print(w.Body)
		g.Drain()
	}
	// Output:
	// 200
	// [+]server ok
	// readyz check passed
	// 503
	// [-]server failed: draining
	// readyz check failed
}
