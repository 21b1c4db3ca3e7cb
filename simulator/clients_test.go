package simulator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Clients says how those behave who send the requests. The zero Clients give up
// after a second, and those who are refused do not come back.
type Clients struct {
	Timeout time.Duration // 0: 1 s
	// TellDeadline lets the context of a request have the client's time-out as its
	// deadline, as behind a hop that sends it along. Otherwise the context only
	// ends when the client hangs up, as those of net/http do.
	TellDeadline bool
	Return       Return
	Herd         Herd
}

// A Return says whether a client that is refused comes back as soon as the
// Retry-After is over, or after 1 s if there is none.
type Return int

// What clients do that are refused.
const (
	Never Return = iota
	Once
	UntilServed // or timed out, or the run is over
)

// A Herd is a number of clients that all come within 10 ms.
type Herd struct {
	At   time.Duration
	Size int
}

const (
	herdWithin       = 10 * time.Millisecond
	defaultTimeout   = time.Second
	defaultAddresses = 1000
)

func (c Clients) withDefaults() Clients {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

// clients send requests and note what becomes of them.
type clients struct {
	Clients
	clock     *clock
	end       int64 // of the arrivals
	running   *sync.WaitGroup
	handler   http.Handler
	result    *Result
	requests  []*http.Request // one for each kind, to be copied
	addresses []string
}

// templates makes the requests that all others are copies of. They have an id
// already, so that nobody needs to make one up.
func (c *clients) templates() {
	for _, k := range c.result.scenario.kinds() {
		c.requests = append(c.requests, &http.Request{
			Method: http.MethodGet, URL: &url.URL{Path: path(k)}, RequestURI: path(k), Host: "model",
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody,
			Header: http.Header{"X-Request-Id": {"simulated"}},
		})
		for n := len(c.addresses); n < max(k.Clients, defaultAddresses); n++ {
			c.addresses = append(c.addresses, fmt.Sprintf("10.0.%d.%d:1024", n/250, n%250+1))
		}
	}
}

// path returns the path of the requests of a kind.
func path(k Kind) string { return "/" + k.Name }

// job returns a request that is about to be sent.
func (c *clients) job(kind, address int, demand float64) *job {
	now := c.clock.now()
	return &job{
		clients: c, kind: kind, address: address, demand: demand, attempt: 1,
		sent: now, deadline: now + int64(c.Timeout),
	}
}

// send sends a request, in a goroutine of its own.
func (c *clients) send(j *job) {
	c.result.arrived(j)
	c.running.Go(func() {
		r := c.requests[j.kind].WithContext(j)
		r.RemoteAddr = c.addresses[j.address]
		var w response
		c.handler.ServeHTTP(&w, r)
		end := max(j.end, c.clock.now())
		j.hangUp()
		if outcome := c.result.record(j, &w, end); outcome == Refused {
			c.comeBack(j, &w)
		}
	})
}

// comeBack sends a refused request again when its Retry-After is over.
func (c *clients) comeBack(j *job, w *response) {
	if c.Return == Never || c.Return == Once && j.attempt > 1 {
		return
	}
	after, err := strconv.Atoi(w.header.Get("Retry-After"))
	if err != nil || after < 0 {
		after = 1
	}
	c.clock.sleepUntilClaimed(c.clock.claim(c.clock.now() + int64(after)*int64(time.Second)))
	if c.clock.now() >= c.end {
		return
	}
	again := c.job(j.kind, j.address, j.demand)
	again.attempt, again.herd = j.attempt+1, j.herd
	c.send(again)
}

// herd lets the herd loose.
func (c *clients) herd(sc *Scenario) {
	draws := stream(sc.Seed, 4)
	gap := float64(herdWithin) / float64(c.Herd.Size)
	for n := range c.Herd.Size {
		c.clock.sleepUntilClaimed(c.clock.claim(int64(c.Herd.At) + int64(float64(n)*gap)))
		j := c.job(0, n%defaultAddresses, float64(sc.Shape.Service)*sc.kinds()[0].cost()*sc.Shape.draw(draws))
		j.herd = true
		c.send(j)
	}
}

// A response is the least that a http.ResponseWriter can be.
type response struct {
	header http.Header
	status int
}

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(b), nil
}
