package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"example.com/guard"
)

// A call that fails is answered with 502; when too many have, the breaker opens,
// and the rest are refused without a call.
func ExampleDependency_Do() {
	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	db, err := g.Dependency("database", guard.DependencyConfig{Timeout: 2 * time.Second, MinCalls: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	calls := 0
	h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return db.Do(r.Context(), func(context.Context) error {
			calls++
			return errors.New("no hosts available")
		})
	})
	for range 5 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/visits/1", nil))
		fmt.Println(w.Code, w.Header().Get("Retry-After") != "")
	}
	fmt.Println(calls, "calls, and the breaker is", db.State())
	// Output:
	// 502 false
	// 502 false
	// 502 true
	// 502 true
	// 502 true
	// 3 calls, and the breaker is open
}

func ExampleCall() {
	g, _ := guard.New(guard.Config{})
	db, _ := g.Dependency("database", guard.DependencyConfig{})

	visits, err := guard.Call(context.Background(), db, func(context.Context) (int, error) { return 42, nil })
	fmt.Println(visits, err)
	// Output:
	// 42 <nil>
}

// A stream is a call that lasts for longer than a function: it holds its place
// until Done.
func ExampleDependency_Acquire() {
	g, _ := guard.New(guard.Config{})
	feed, _ := g.Dependency("feed", guard.DependencyConfig{
		Timeout:     guard.NoTimeout, // it may last
		Concurrency: guard.Concurrency{Max: 10},
	})

	read := func(ctx context.Context) error {
		ctx, permit, err := feed.Acquire(ctx)
		if err != nil {
			return err // refused, or as many streams as may be
		}
		lines := bufio.NewScanner(strings.NewReader("visit 1\nvisit 2\n"))
		for ctx.Err() == nil && lines.Scan() {
			fmt.Println(lines.Text())
		}
		return permit.Result(lines.Err()) // Done, and the error to answer with
	}
	fmt.Println(read(context.Background()))
	// Output:
	// visit 1
	// visit 2
	// <nil>
}

// A proxy whose upstream is guarded: what the upstream gets wrong is answered
// with 502, in the format that the client accepts.
func ExampleDependency_Transport_reverseProxy() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, "agents: 3")
	}))
	defer upstream.Close()

	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	agents, _ := g.Dependency("agents", guard.DependencyConfig{})
	to, _ := url.Parse(upstream.URL)
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:      agents.Transport(nil),
		ModifyResponse: agents.CheckResponse,
		ErrorHandler:   g.WriteError,
	}
	h := g.Handler(proxy)
	for _, path := range []string{"/agents", "/broken"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", "text/plain")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body, _, _ := strings.Cut(w.Body.String(), "\n")
		fmt.Println(w.Code, w.Header().Get("Retry-After"), body)
	}
	// Output:
	// 200  agents: 3
	// 502 7 502 Bad Gateway
}

// A route that cannot do without a dependency is refused while that is down,
// before it has cost a token.
func ExampleRouteConfig_needs() {
	g, _ := guard.New(guard.Config{Limit: guard.Limit{Rate: 1, Burst: 10}, Logger: slog.New(slog.DiscardHandler)})
	db, _ := g.Dependency("database", guard.DependencyConfig{})
	visits, _ := g.Route("visits", guard.RouteConfig{Needs: []*guard.Dependency{db}})
	h := visits.Handler(http.NotFoundHandler())

	db.Force(guard.ModeOpen)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/visits/1", nil))
	fmt.Println(w.Code, g.Snapshot().Requests.Limit.Tokens)
	// Output:
	// 502 10
}

// Hooks tell programs what the log tells people.
func ExampleHooks() {
	g, _ := guard.New(guard.Config{
		Logger: slog.New(slog.DiscardHandler),
		Hooks: guard.Hooks{
			BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
				fmt.Printf("%s: %s -> %s, %s\n", e.Dependency, e.From, e.To, e.Reason)
			},
		},
	})
	db, _ := g.Dependency("database", guard.DependencyConfig{MinCalls: 1})
	_ = db.Do(context.Background(), func(context.Context) error { return errors.New("no hosts available") })
	// Output:
	// database: closed -> open, failures in a row
}
