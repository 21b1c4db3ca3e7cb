package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"time"

	"example.com/guard"
)

// What docs/migrating.md shows of this package stands here, where it is compiled and
// run: TestDocsSnippets compares the two.

var errNoVisit = errors.New("no such visit")

// readVisit stands for a query.
func readVisit(_ context.Context, id string) (string, error) {
	if id != "1" {
		return "", errNoVisit
	}
	return "/pricing", nil
}

// printAnswer prints what a handler answers.
func printAnswer(h http.Handler, method, path string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	body := w.Body.String()
	if w.Code >= 400 {
		body = "Retry-After: " + strconv.FormatBool(w.Header().Get("Retry-After") != "")
	}
	fmt.Println(w.Code, body)
}

// A breaker by sony/gobreaker becomes a dependency.
func Example_fromGobreaker() {
	logger := slog.New(slog.DiscardHandler)

	g, err := guard.New(guard.Config{Logger: logger})
	if err != nil {
		log.Fatal(err)
	}
	db, err := g.Dependency("database", guard.DependencyConfig{
		Window:      10 * time.Second, // Interval, in ten steps
		MinCalls:    10,               // ReadyToTrip
		FailureRate: 0.5,
		OpenFor:     5 * time.Second, // Timeout
		Probes:      1,               // MaxRequests
		Timeout:     2 * time.Second, // of a call: gobreaker has none
		Classify: func(err error) guard.Outcome {
			if errors.Is(err, errNoVisit) {
				return guard.OutcomeSucceeded // IsSuccessful
			}
			return guard.OutcomeDefault // IsExcluded: ends of contexts have rules
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	show := g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		visit, err := guard.Call(r.Context(), db, func(ctx context.Context) (string, error) {
			return readVisit(ctx, r.PathValue("id"))
		})
		if errors.Is(err, errNoVisit) {
			return guard.NotFound("There is no such visit.")
		}
		if err != nil {
			return err // 502; while the breaker is open, at once and with Retry-After
		}
		_, err = io.WriteString(w, visit)
		return err
	})

	defer g.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /visits/{id}", show)
	printAnswer(mux, http.MethodGet, "/visits/1")
	printAnswer(mux, http.MethodGet, "/visits/2")
	db.Force(guard.ModeOpen)
	printAnswer(mux, http.MethodGet, "/visits/1")
	// Output:
	// 200 /pricing
	// 404 Retry-After: false
	// 502 Retry-After: false
}

// A TwoStepCircuitBreaker becomes Acquire and a Permit.
func Example_fromGobreakerTwoStep() {
	g, _ := guard.New(guard.Config{})
	feed, _ := g.Dependency("feed", guard.DependencyConfig{Timeout: guard.NoTimeout})
	follow := func(context.Context) error { return nil }

	read := func(ctx context.Context) error {
		ctx, permit, err := feed.Acquire(ctx)
		if err != nil {
			return err // refused
		}
		return permit.Result(follow(ctx)) // done(err)
	}

	fmt.Println(read(context.Background()), g.Snapshot().Dependencies[0].Counts.Succeeded)
	// Output:
	// <nil> 1
}

// A limit by go-chi/httprate becomes a limit per client, of the guard or a route.
func Example_fromHTTPRate() {
	logger := slog.New(slog.DiscardHandler)
	apiKey := func(r *http.Request) string { return r.Header.Get("X-Api-Key") }
	report := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

	g, err := guard.New(guard.Config{
		Clients: []guard.ClientLimit{{
			Limit: guard.Limit{Rate: 100.0 / 60, Burst: 100}, // 100 a minute, by address
		}},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Status:         guard.Statuses{Client: http.StatusTooManyRequests},
		Logger:         logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	reports, err := g.Route("reports", guard.RouteConfig{
		Clients: []guard.ClientLimit{{
			Name:  "api key",
			Limit: guard.Limit{Rate: 10.0 / 3600, Burst: 10}, // 10 an hour
			Key:   apiKey,                                    // func(*http.Request) string
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /reports", reports.Handler(report))
	handler := g.Mux(mux)

	defer g.Close()
	statuses := map[int]int{}
	for range 12 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/reports", nil))
		statuses[w.Code]++
	}
	fmt.Println(statuses)
	printAnswer(handler, http.MethodPost, "/reports")
	// Output:
	// map[200:10 429:2]
	// 429 Retry-After: true
}

// An Executor of failsafe-go becomes a dependency, which has the bulkhead, the
// breaker and the time-out in it.
func Example_fromFailsafe() {
	logger := slog.New(slog.DiscardHandler)
	g, _ := guard.New(guard.Config{Logger: logger})

	db, err := g.Dependency("database", guard.DependencyConfig{
		Concurrency: guard.Concurrency{Max: 50, MaxWait: 10 * time.Millisecond}, // bulkhead
		Window:      10 * time.Second,                                           // circuitbreaker
		MinCalls:    10,
		FailureRate: 0.5,
		OpenFor:     5 * time.Second,
		Probes:      1,
		Timeout:     2 * time.Second, // timeout
	})
	if err != nil {
		log.Fatal(err)
	}
	read := func(ctx context.Context, id string) (string, error) {
		return guard.Call(ctx, db, func(ctx context.Context) (string, error) {
			return readVisit(ctx, id)
		})
	}

	visit, err := read(context.Background(), "1")
	fmt.Println(visit, err)
	_, err = read(context.Background(), "2")
	fmt.Println(errors.Is(err, errNoVisit), err == errNoVisit) //nolint:errorlint // to show that it is wrapped
	// Output:
	// /pricing <nil>
	// true false
}

// A handler of failsafehttp becomes the guard's.
func Example_fromFailsafeHandler() {
	logger := slog.New(slog.DiscardHandler)
	mux := http.NewServeMux()
	serve := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "paid") })

	g, err := guard.New(guard.Config{
		Limit:       guard.Limit{Rate: 1000},            // ratelimiter
		Concurrency: guard.Concurrency{SelfTuned: true}, // adaptivelimiter
		Status: guard.Statuses{
			Limited:    http.StatusTooManyRequests,
			Overloaded: http.StatusTooManyRequests,
		},
		Logger: logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	pay, err := g.Route("pay", guard.RouteConfig{Priority: guard.PriorityCritical}) // priority.High
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("POST /payments", pay.Handler(serve))
	handler := g.Mux(mux)

	printAnswer(handler, http.MethodPost, "/payments")
	// Output:
	// 200 paid
}

// A RoundTripper of failsafehttp becomes the dependency's Transport.
func Example_fromFailsafeTransport() {
	logger := slog.New(slog.DiscardHandler)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	g, _ := guard.New(guard.Config{Logger: logger})

	agents, err := g.Dependency("agents", guard.DependencyConfig{
		MinCalls:   20,
		Timeout:    2 * time.Second, // until the header
		PauseOn429: true,            // DelayFunc
	})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: agents.Transport(nil)}
	list := g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, upstream.URL+"/agents", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err // 502
		}
		defer resp.Body.Close()
		if err := agents.CheckResponse(resp); err != nil {
			return err // 502 for its 5xx and 429, with its Retry-After
		}
		_, err = io.Copy(w, resp.Body)
		return err
	})

	printAnswer(list, http.MethodGet, "/agents")
	upstream.Close()
	fmt.Println(g.Snapshot().Dependencies[0].LastFailure)
	// Output:
	// 502 Retry-After: true
	// status 503
}

// A RateLimiter of failsafe-go by itself becomes a Limiter.
func Example_fromFailsafeLimiter() {
	send := func(context.Context) error { return nil }

	limiter, err := guard.NewLimiter(guard.Limit{Rate: 100, Burst: 1}) // NewSmooth
	if err != nil {
		log.Fatal(err)
	}
	paced := func(ctx context.Context) error {
		wait, cancel := context.WithTimeout(ctx, 200*time.Millisecond) // the longest wait
		defer cancel()
		if err := limiter.Wait(wait, 1); err != nil {
			return err // at once, if it would take longer: errors.Is(err, guard.ErrLimited)
		}
		return send(ctx)
	}

	fmt.Println(paced(context.Background()))
	// Output:
	// <nil>
}
