package dashboard

import (
	"encoding/json"
	"strconv"
	"strings"

	"example.com/guard"
)

// An update is what the page is sent: how things are, and the samples and events
// that it has not seen.
type update struct {
	Boot  string         `json:"boot"`
	Seq   uint64         `json:"seq"` // of the newest sample
	Title string         `json:"title"`
	Kept  int            `json:"kept"`
	Now   guard.Snapshot `json:"now"`

	Times        []int64            `json:"times"` // of the samples below, oldest first; Unix milliseconds
	Server       serverUpdate       `json:"server"`
	Routes       []routeUpdate      `json:"routes"` // in the order of Now, those beyond have no history
	Dependencies []dependencyUpdate `json:"dependencies"`
	Events       []event            `json:"events"`
}

type serverUpdate struct {
	Served     []float32 `json:"served"`
	Failed     []float32 `json:"failed"`
	Limits     []float32 `json:"limits"`
	Overload   []float32 `json:"overload"`
	Dependency []float32 `json:"dependency"`
	Draining   []float32 `json:"draining"`
	Tokens     []float32 `json:"tokens"`
	InFlight   []float32 `json:"inFlight"`
	Bound      []float32 `json:"bound"`
	Waiting    []float32 `json:"waiting"`
	P50        []float32 `json:"p50"`
	P99        []float32 `json:"p99"`
}

type routeUpdate struct {
	P50     float32   `json:"p50"`
	Served  []float32 `json:"served"`
	Failed  []float32 `json:"failed"`
	Refused []float32 `json:"refused"`
	P99     []float32 `json:"p99"`
}

type dependencyUpdate struct {
	P50     float32   `json:"p50"`
	Fine    []float32 `json:"fine"`
	Failed  []float32 `json:"failed"`
	Refused []float32 `json:"refused"`
	P99     []float32 `json:"p99"`
	State   []float32 `json:"state"`
}

// unseen returns what somebody has not seen who names the last sample that he
// has, as boot.seq; "", or one of another process, means everything.
func (d *Dashboard) unseen(after string) update {
	boot, seq, _ := strings.Cut(after, ".")
	n, err := strconv.ParseUint(seq, 10, 64)
	if boot != d.boot || err != nil {
		n = 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past.since(n)
}

func (d *Dashboard) encode(u update) []byte {
	u.Boot, u.Title = d.boot, d.title
	body, _ := json.Marshal(u) // has nothing that could fail
	return body
}

// since copies what is after sample seq. The snapshot in it is shared: nobody
// changes it.
func (h *history) since(seq uint64) update {
	first := max(min(seq, h.seq)+1, h.seq-min(h.seq, kept)+1)
	take := func(c *column) []float32 {
		part := make([]float32, 0, h.seq+1-first)
		for n := first; n <= h.seq; n++ {
			part = append(part, c[n%kept])
		}
		return part
	}
	s := &h.server
	u := update{
		Seq: h.seq, Kept: kept, Now: h.last, Times: []int64{}, Routes: []routeUpdate{}, Dependencies: []dependencyUpdate{},
		Server: serverUpdate{
			Served: take(&s.served), Failed: take(&s.failed), Limits: take(&s.limits), Overload: take(&s.overload),
			Dependency: take(&s.dependency), Draining: take(&s.draining), Tokens: take(&s.tokens),
			InFlight: take(&s.inFlight), Bound: take(&s.bound), Waiting: take(&s.waiting), P50: take(&s.p50), P99: take(&s.p99),
		},
		Events: h.events.since(first - 1),
	}
	for n := first; n <= h.seq; n++ {
		u.Times = append(u.Times, h.times[n%kept])
	}
	for _, r := range h.routes {
		u.Routes = append(u.Routes, routeUpdate{
			P50: r.latency.p50, Served: take(&r.served), Failed: take(&r.failed), Refused: take(&r.refused), P99: take(&r.p99),
		})
	}
	for _, r := range h.dependencies {
		u.Dependencies = append(u.Dependencies, dependencyUpdate{
			P50: r.latency.p50, Fine: take(&r.fine), Failed: take(&r.failed), Refused: take(&r.refused),
			P99: take(&r.p99), State: take(&r.state),
		})
	}
	return u
}
