package simulator_test

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"time"
)

// An Outcome is what became of a request, as its client sees it.
type Outcome int

// The outcomes. Each request has one.
const (
	InTime   Outcome = iota // 200 within the time-out
	Refused                 // 429 or 503 within the time-out
	Failed                  // any other answer within the time-out
	TimedOut                // none within the time-out
	outcomes
)

// Counts are numbers of requests by outcome.
type Counts struct {
	Arrived int
	Became  [outcomes]int
}

// Share returns which part of the requests that arrived became o, in percent.
func (c *Counts) Share(o Outcome) float64 {
	return 100 * float64(c.Became[o]) / math.Max(1, float64(c.Arrived))
}

// bin is how long a bin of the timeline is.
const bin = 100 * time.Millisecond

// A Result tells what came of a scenario.
type Result struct {
	Contender   string
	Total       Counts   // of the whole run
	Measured    Counts   // of those that arrived in the measured part
	ByKind      []Counts // of these, by kind
	Utilisation float64  // of the workers, in the measured part
	Bins        []Bin    // the timeline of the whole run
	Again       Counts   // of those that had been refused before, in the whole run
	Herd        Counts   // of the herd, first attempts only
	HerdAgain   Counts   // of the herd, later attempts
	herdServed  time.Duration
	MaxAttempts int

	scenario *Scenario
	capacity float64
	timeout  int64
	answers  []answer

	mu sync.Mutex // guards all of it during the run
}

// A Bin is a tenth of a second. Outcomes are in the bin in which they come about.
type Bin struct {
	Arrived int
	Became  [outcomes]int
	Limit   int    // see Env.Watch
	Note    string // likewise
}

// An answer is a 200, in time or late.
type answer struct {
	at, took int64
	kind     int
}

func newResult(sc *Scenario) *Result {
	return &Result{
		scenario: sc,
		capacity: sc.Capacity(),
		timeout:  int64(sc.Clients.withDefaults().Timeout),
		ByKind:   make([]Counts, len(sc.kinds())),
		Bins:     make([]Bin, sc.end()/bin),
	}
}

// counters returns the counts that the request belongs to.
func (r *Result) counters(j *job) []*Counts {
	all := append(make([]*Counts, 0, 5), &r.Total)
	if j.sent >= int64(r.scenario.Warmup) && j.sent < int64(r.scenario.end()) {
		all = append(all, &r.Measured, &r.ByKind[j.kind])
	}
	if j.attempt > 1 {
		all = append(all, &r.Again)
	}
	if j.herd && j.attempt == 1 {
		all = append(all, &r.Herd)
	} else if j.herd {
		all = append(all, &r.HerdAgain)
	}
	return all
}

func (r *Result) arrived(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.counters(j) {
		c.Arrived++
	}
	r.MaxAttempts = max(r.MaxAttempts, j.attempt)
	if b := r.bin(j.sent); b != nil {
		b.Arrived++
	}
}

// record notes what became of a request whose handler has returned, or would
// have, at end.
func (r *Result) record(j *job, w *response, end int64) Outcome {
	outcome, at, took := Failed, end, end-j.sent
	status := w.status
	if status == 0 {
		status = http.StatusOK // by net/http
	}
	switch {
	case took > r.timeout || took == r.timeout && status != http.StatusOK:
		outcome, at = TimedOut, j.deadline
	case status == http.StatusOK:
		outcome = InTime
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		outcome = Refused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.counters(j) {
		c.Became[outcome]++
	}
	if b := r.bin(at); b != nil {
		b.Became[outcome]++
	}
	if status == http.StatusOK {
		r.answers = append(r.answers, answer{end, took, j.kind})
		if j.herd && outcome == InTime {
			r.herdServed = max(r.herdServed, time.Duration(end)-r.scenario.Clients.Herd.At)
		}
	}
	return outcome
}

func (r *Result) bin(at int64) *Bin {
	if n := at / int64(bin); n < int64(len(r.Bins)) {
		return &r.Bins[n]
	}
	return nil
}

func (r *Result) sort() {
	slices.SortFunc(r.answers, func(a, b answer) int { return int(a.took - b.took) })
}

// HerdServed returns how long after it was let loose the last of the herd had its
// answer in time. Negative: not all of them had one.
func (r *Result) HerdServed() time.Duration {
	if r.Herd.Became[InTime]+r.HerdAgain.Became[InTime] < r.scenario.Clients.Herd.Size {
		return -1
	}
	return r.herdServed
}

// Goodput returns the 200s that came in time in the measured part, in percent of
// the capacity.
func (r *Result) Goodput() float64 {
	return r.GoodputIn(r.scenario.Warmup, r.scenario.end(), 1)
}

// GoodputIn is Goodput for a part of the run, in which work takes so many times
// as long as usual.
func (r *Result) GoodputIn(from, until time.Duration, slow float64) float64 {
	n := 0
	for _, a := range r.answers {
		if a.took <= r.timeout && a.at >= int64(from) && a.at < int64(until) {
			n++
		}
	}
	return 100 * slow * float64(n) / r.capacity / (until - from).Seconds()
}

// Quantile returns how long the 200s of the measured part took, late ones
// included. 0 if there are none.
func (r *Result) Quantile(q float64) time.Duration {
	return r.QuantileIn(q, r.scenario.Warmup, r.scenario.end())
}

// QuantileIn is Quantile for a part of the run.
func (r *Result) QuantileIn(q float64, from, until time.Duration) time.Duration {
	return quantile(r.answers, q, func(a answer) bool { return a.at >= int64(from) && a.at < int64(until) })
}

// KindQuantile is Quantile for the requests of a kind.
func (r *Result) KindQuantile(q float64, kind int) time.Duration {
	from, until := int64(r.scenario.Warmup), int64(r.scenario.end())
	return quantile(r.answers, q, func(a answer) bool { return a.kind == kind && a.at >= from && a.at < until })
}

func quantile(sorted []answer, q float64, counts func(answer) bool) time.Duration {
	var took []int64
	for _, a := range sorted {
		if counts(a) {
			took = append(took, a.took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	return time.Duration(took[min(int(q*float64(len(took))), len(took)-1)])
}

// RefusedIn returns which part of the outcomes in a part of the run were
// refusals, in percent.
func (r *Result) RefusedIn(from, until time.Duration) float64 {
	refused, arrived := 0, 0
	for _, b := range r.Bins[from/bin : until/bin] {
		refused += b.Became[Refused]
		arrived += b.Arrived
	}
	return 100 * float64(refused) / math.Max(1, float64(arrived))
}

// Recovery returns how long after an instant it takes until, for a second, at
// least 90 % of what is offered, or could be served, comes in time again.
// Negative: it never does.
func (r *Result) Recovery(after time.Duration) time.Duration {
	const second = int(time.Second / bin)
	for first := int(after / bin); first+second <= len(r.Bins); first++ {
		inTime, arrived := 0, 0
		for _, b := range r.Bins[first : first+second] {
			inTime += b.Became[InTime]
			arrived += b.Arrived
		}
		if float64(inTime) >= 0.9*math.Min(float64(arrived), r.capacity) {
			return time.Duration(first)*bin - after
		}
	}
	return -1
}
