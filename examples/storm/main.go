// Storm shows what a guarded server does in bad weather. It starts a server, two
// things that the server depends on, and a crowd of clients, all in this process
// and on loopback. Then it sends too many requests, lets one dependency fail and
// the other hang, and mends both. It prints what can be seen each second, then
// what that means, and exits with 1 if the guard did not do what it promises. Run
// it with "go run ./examples/storm".
//
// This file has the guarded server, which is the part to learn from. world.go has
// what is around it: the dependencies, the crowd and the weather. table.go prints.
// flood.go is the last act: overload where nobody has set a limit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/guard"
)

const (
	limit   = 100             // requests a second that the server accepts
	timeout = time.Second / 2 // of a call to a dependency
	seconds = 20              // that the storm lasts before the flood, unless -for says otherwise
)

// The routes, and the dependency that each of them needs.
const (
	visits = iota // a database, called through guard.Call
	agents        // an HTTP service, called through Dependency.Transport
)

func main() {
	lasts := flag.Duration("for", seconds*time.Second, "how long the storm lasts before the flood; what happens in it is scaled to fit")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	if err := run(ctx, os.Stdout, *lasts); err != nil {
		log.SetFlags(0)
		log.Fatal("storm: ", err)
	}
}

// A storm is all that there is in this process.
type storm struct {
	second time.Duration // of the story: shorter if -for is
	guard  *guard.Guard
	deps   [2]*service
	rate   atomic.Int64 // at which the crowd sends requests, a second
	table  *table
	stops  []func()
}

func run(ctx context.Context, out io.Writer, lasts time.Duration) error {
	if lasts < 4*time.Second {
		return fmt.Errorf("-for %v is too short: it takes 4s at least", lasts)
	}
	before := usageNow()
	s := &storm{second: lasts / seconds, table: &table{Handler: slog.DiscardHandler, out: out, start: time.Now()}}
	var seen []sample
	err := s.start()
	if err == nil {
		seen, err = s.play(ctx)
	}
	for _, stop := range slices.Backward(s.stops) {
		stop()
	}
	settle(before.goroutines)
	after := usageNow() // not of the flood, which leaves a lot of garbage
	var beside contest
	if err == nil {
		beside, err = flood(ctx, s.table, s.second)
	}
	switch {
	case errors.Is(err, context.Canceled):
		s.table.line("Stopped before the end, so there is nothing to tell.")
		return nil
	case err != nil:
		return err
	}
	settle(before.goroutines)
	after.goroutines = max(after.goroutines, runtime.NumGoroutine())
	s.tell(seen, before, after)
	beside.tell(s.table)
	if err := verdict(seen, before, after); err != nil {
		return err
	}
	return beside.verdict()
}

// settle waits until no more than n goroutines are left, but not for ever: those
// of connections need a moment to end.
func settle(n int) {
	for i := 0; i < 1000 && runtime.NumGoroutine() > n; i++ {
		time.Sleep(10 * time.Millisecond)
	}
}

// start starts the server, as you would: a guard, dependencies, routes, a mux.
func (s *storm) start() (err error) {
	s.guard, err = guard.New(guard.Config{
		Limit:       guard.Limit{Rate: limit, Burst: 10}, // all requests together
		Concurrency: guard.Concurrency{Max: 80},          // requests at once
		Logger:      slog.New(s.table),                   // the default is slog.Default()
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	if err := s.add(mux, visits, "visits", s.visit); err != nil {
		return err
	}
	if err := s.add(mux, agents, "agents", s.agent); err != nil {
		return err
	}
	d := s.deps[agents]
	d.client.Transport = d.breaker.Transport(d.client.Transport) // visit shows the other way

	server, err := listen(s.guard.Mux(mux))
	if err != nil {
		return err
	}
	s.stops = append(s.stops, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.guard.Shutdown(ctx, server) // if something does not end, verdict finds it
		_ = s.guard.Close()
	}, s.crowd("http://"+server.Addr))
	return nil
}

// add adds a route, and the dependency that it needs.
func (s *storm) add(mux *http.ServeMux, i int, name string, handler guard.HandlerFunc) error {
	breaker, err := s.guard.Dependency(name, guard.DependencyConfig{ // the defaults are longer
		Timeout:    timeout,                   // of one call
		MinCalls:   10,                        // as many failures in a row open the breaker
		OpenFor:    s.scale(time.Second),      // after that, one call is let through as a probe
		MaxOpenFor: s.scale(2 * time.Second),  // what OpenFor doubles up to while probes fail
		Window:     s.scale(10 * time.Second), // in which calls are counted
	})
	if err != nil {
		return err
	}
	// While the breaker is open, a request of the route is answered with 502
	// before it has taken anything from the limit.
	route, err := s.guard.Route(name, guard.RouteConfig{Needs: []*guard.Dependency{breaker}})
	if err != nil {
		return err
	}
	mux.Handle("GET /"+name, route.HandlerFunc(handler))

	d := &service{name: name, breaker: breaker, base: newTransport(s.second)}
	d.client = &http.Client{Transport: d}
	server, err := listen(d)
	if err != nil {
		return err
	}
	d.url, s.deps[i] = "http://"+server.Addr, d
	s.stops = append(s.stops, func() { _ = server.Close() }, d.base.CloseIdleConnections)
	return nil
}

// visit calls its dependency in the way that fits every client library: as a
// function, whose error decides what becomes of the breaker.
func (s *storm) visit(w http.ResponseWriter, r *http.Request) error {
	d := s.deps[visits]
	text, err := guard.Call(d.witness(r.Context()), d.breaker, d.query)
	if err != nil {
		return err // the guard answers it with 502
	}
	_, err = io.WriteString(w, text)
	return err
}

// agent calls its dependency by an http.Client, whose Transport is the breaker.
func (s *storm) agent(w http.ResponseWriter, r *http.Request) error {
	d := s.deps[agents]
	resp, err := get(d.witness(r.Context()), d.client, d.url)
	if err != nil {
		return err // 502
	}
	defer func() { _ = resp.Body.Close() }()
	if err := d.breaker.CheckResponse(resp); err != nil {
		return err // 502 for its 500
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

func (s *storm) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.second.Seconds())
}
