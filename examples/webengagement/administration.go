package main

import (
	"net/http"

	"golang.org/x/time/rate"

	"example.com/guard"
)

// limits are what can be changed while the server runs.
type limits struct {
	Rate        float64 `json:"rate"`        // requests a second, of all clients together
	Burst       int     `json:"burst"`       // of these at once
	ClientRate  float64 `json:"clientRate"`  // of each client
	ClientBurst int     `json:"clientBurst"` // of these at once
	Concurrency int     `json:"concurrency"` // requests in flight
}

func (s *server) limits() limits {
	now := s.guard.Snapshot().Requests
	return limits{
		Rate: now.Limit.Rate, Burst: now.Limit.Burst,
		ClientRate: now.Clients[0].Limit.Rate, ClientBurst: now.Clients[0].Limit.Burst,
		Concurrency: now.MaxInFlight,
	}
}

func (s *server) getLimits(w http.ResponseWriter, r *http.Request) error {
	if err := s.accounts.authorize(r, read); err != nil {
		return err
	}
	if err := queryOf(r).end(); err != nil {
		return err
	}
	return answer(w, s.limits())
}

// putLimits changes the limits that are named, all in one step, and leaves the
// others.
func (s *server) putLimits(w http.ResponseWriter, r *http.Request) error {
	if err := s.accounts.authorize(r, change); err != nil {
		return err
	}
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	const most = 1_000_000
	now := s.limits()
	l := limits{
		Rate: p.positive("rate", now.Rate, most), Burst: p.integer("burst", now.Burst, 1, most),
		ClientRate: p.positive("clientRate", now.ClientRate, most), ClientBurst: p.integer("clientBurst", now.ClientBurst, 1, most),
		Concurrency: p.integer("concurrency", now.Concurrency, 1, most),
	}
	if err := p.end(); err != nil {
		return err
	}
	err = s.guard.Tune(func(c *guard.Config) {
		c.Limit = guard.Limit{Rate: rate.Limit(l.Rate), Burst: l.Burst}
		c.Clients[0].Limit = guard.Limit{Rate: rate.Limit(l.ClientRate), Burst: l.ClientBurst}
		c.Concurrency.Max = l.Concurrency
	})
	if err != nil { // each is valid, but not all together
		return &guard.Error{Status: http.StatusBadRequest, Detail: "The limits are not valid together.", Err: err}
	}
	return answer(w, s.limits())
}

// putDependency takes a breaker out of its own hands, or gives it back.
func (s *server) putDependency(w http.ResponseWriter, r *http.Request) error {
	if err := s.accounts.authorize(r, change); err != nil {
		return err
	}
	var dep *guard.Dependency
	for _, d := range s.guard.Dependencies() {
		if d.Name() == r.PathValue("name") {
			dep = d
		}
	}
	if dep == nil {
		return guard.NotFound("There is no such dependency.")
	}
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	p.need("mode")
	word := p.oneOf("mode", guard.ModeAuto.String(), guard.ModeOpen.String(), guard.ModeClosed.String())
	if err := p.end(); err != nil {
		return err
	}
	var mode guard.Mode
	if err := mode.UnmarshalText([]byte(word)); err != nil {
		return err
	}
	dep.Force(mode)
	return answer(w, map[string]any{"name": dep.Name(), "mode": mode, "state": dep.State()})
}
