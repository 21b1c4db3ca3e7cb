package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"example.com/guard"
)

// What is counted of each dependency, and of the route that needs it.
const (
	answers  = iota // that the crowd got from the route
	got200          // of these
	got502          // of these
	got503          // of these, with a Retry-After
	gotOther        // of these, and what was no answer
	reached         // calls that reached the dependency
	probes          // of these, while the breaker was half-open
	strays          // of these, while the breaker was open: there must be none
	refused         // requests that got 502 without a call, since the breaker was open
	kinds
)

// How a dependency is.
const (
	healthy int32 = iota // it answers
	failing              // with 500
	hanging              // not at all
)

// A service is what the server depends on.
type service struct {
	name    string
	url     string
	breaker *guard.Dependency // around the calls to it
	client  *http.Client      // for these
	base    *http.Transport   // of the client, below all
	state   atomic.Int32
	counts  [kinds]atomic.Int64
}

// ServeHTTP is the service itself.
func (d *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.counts[reached].Add(1)
	for r.Context().Err() == nil { // while the caller waits
		time.Sleep(time.Millisecond)
		switch d.state.Load() {
		case healthy:
			_, _ = io.WriteString(w, "42\n")
			return
		case failing:
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
}

// query asks the service as a client library of a database would.
func (d *service) query(ctx context.Context) (string, error) {
	resp, err := get(ctx, d.client, d.url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// witness notes how the breaker is before a call comes to it. A server needs none
// of this: it is here to catch the guard, should it cheat.
func (d *service) witness(ctx context.Context) context.Context {
	return context.WithValue(ctx, d, d.breaker.State())
}

// RoundTrip is behind the breaker: what comes here has been let through. If the
// breaker was open before and is open now, it should not have been.
func (d *service) RoundTrip(r *http.Request) (*http.Response, error) {
	switch now := d.breaker.State(); {
	case now == guard.StateHalfOpen:
		d.counts[probes].Add(1)
	case now == guard.StateOpen && r.Context().Value(d) == now:
		d.counts[strays].Add(1)
	}
	return d.base.RoundTrip(r)
}

// listen serves on a free port of loopback, until the server is closed.
func listen(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	return server, nil
}

// newTransport keeps as many connections as are in use, and closes the others
// after a second. http.DefaultTransport keeps two for each host, and so opens one
// for nearly every request of a crowd.
func newTransport(second time.Duration) *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: crowded, IdleConnTimeout: second}
}

// crowded is how many requests a crowd has under way at most.
const crowded = 100

// crowd starts to send requests at a rate, whether or not earlier ones have been
// answered, as people on the Internet do (an open loop). If each waited for an
// answer before the next request, the crowd would slow down with the server, and
// no overload would ever be seen. What it returns sends the crowd home.
func (s *storm) crowd(url string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Transport: newTransport(s.second), Timeout: 10 * time.Second}
	places := make(chan struct{}, crowded)
	var all sync.WaitGroup
	all.Go(func() {
		ticks := time.NewTicker(5 * time.Millisecond)
		defer ticks.Stop()
		last, due := time.Now(), 0.0
		for n := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
			}
			now, rate := time.Now(), float64(s.rate.Load())
			due = min(due+rate*now.Sub(last).Seconds(), 1+rate/20) // it makes up for 50 ms at most
			last = now
			for ; due >= 1; due-- {
				select {
				case places <- struct{}{}:
					to := s.deps[n%len(s.deps)]
					n++
					all.Go(func() {
						to.send(ctx, client, url)
						<-places
					})
				default: // the crowd is as large as it can be
				}
			}
		}
	})
	return func() {
		cancel()
		all.Wait()
		client.CloseIdleConnections()
	}
}

// send sends one request of the crowd, to the route that needs the service.
func (d *service) send(ctx context.Context, client *http.Client, url string) {
	kind := gotOther
	resp, err := get(ctx, client, url+"/"+d.name)
	switch {
	case err != nil && ctx.Err() != nil:
		return // the crowd goes home
	case err != nil:
	case resp.StatusCode == http.StatusOK:
		kind = got200
	case resp.StatusCode == http.StatusBadGateway:
		kind = got502
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		kind = got503
	}
	d.counts[answers].Add(1)
	d.counts[kind].Add(1)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // to its end, so that the connection can be used again
		_ = resp.Body.Close()
	}
}

func get(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(r)
}

// A phase is a part of the storm.
type phase struct {
	name    string
	lasts   int      // seconds, or until it has shown what it should
	rate    int64    // requests a second
	states  [2]int32 // of the dependencies
	what    string   // goes on
	promise string   // what it should show, in words
	shows   func(sample) bool
}

func phases() []phase {
	const usual, flood = limit * 4 / 5, limit * 6
	well := func(route int) func(sample) bool {
		return func(m sample) bool { return m.state[route] == guard.StateClosed && m.counts[route][got200] > 0 }
	}
	dead := func(route, other int) func(sample) bool {
		return func(m sample) bool {
			c, o := m.counts[route], m.counts[other]
			return c[got502] > 0 && c[refused] > 0 && c[probes] > 0 && m.state[route] != guard.StateClosed && o[got200] > o[got502]
		}
	}
	return []phase{
		{
			"normal", 3, usual,
			[2]int32{},
			fmt.Sprintf("%d requests a second come, the server accepts %d", usual, limit),
			"both routes answer with 200", func(m sample) bool { return well(visits)(m) && well(agents)(m) },
		},
		{
			"overload", 3, flood,
			[2]int32{},
			fmt.Sprintf("now %d come, which is %d times what it accepts", flood, flood/limit),
			"some get 200, the others 503", func(m sample) bool { return m.sum(got200) > 0 && m.sum(got503) > 0 },
		},
		{
			"failing", 4, usual,
			[2]int32{visits: failing},
			"the crowd has gone, but the visits database answers each call with 500",
			"/visits answers 502, its breaker opens and probes, /agents goes on with 200", dead(visits, agents),
		},
		{
			"recovery", 3, usual,
			[2]int32{},
			"the database works again, which nobody tells the server",
			"the breaker closes by itself, and /visits answers 200", well(visits),
		},
		{
			"hanging", 4, usual,
			[2]int32{agents: hanging},
			"the agents service takes calls, and does not answer",
			"/agents answers 502, its breaker opens and probes, /visits goes on with 200", dead(agents, visits),
		},
		{
			"recovery", 3, usual,
			[2]int32{},
			"the service answers again, which nobody tells the server",
			"the breaker closes by itself, and /agents answers 200", well(agents),
		},
	}
}

// play goes through the phases, and returns what was seen in each, or an error
// if one did not show what it should.
func (s *storm) play(ctx context.Context) (seen []sample, err error) {
	const patience = 30 * time.Second // with slow machines
	s.table.header()
	last := s.sample()
	for _, p := range phases() {
		s.table.event("%s: %s", p.name, p.what)
		for i, state := range p.states {
			s.deps[i].state.Store(state)
		}
		s.rate.Store(p.rate)
		began, ticks, least := last, time.NewTicker(s.second), usage{goroutines: math.MaxInt}
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-ticks.C:
			}
			now := s.sample()
			s.table.row(p.name, now.since(last))
			last = now
			all := now.since(began)
			if now.goroutines < least.goroutines {
				least = now.usage
			}
			all.usage = least
			if n >= p.lasts && p.shows(all) {
				seen = append(seen, all)
				break
			}
			if all.took > time.Duration(p.lasts)*s.second+patience {
				return nil, fmt.Errorf("the phase %q did not show what it should: %s", p.name, p.promise)
			}
		}
	}
	return seen, nil
}
