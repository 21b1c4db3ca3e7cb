package main

import (
	"context"
	"net/http"

	"example.com/guard"
)

// An agent is somebody at the contact center.
type agent struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State string `json:"state"`
}

const ready = "Ready"

// A user is an agent, as Genesys calls it.
type user struct {
	ID        string `json:"id"`
	FirstName string `json:"firstName"`
	State     string `json:"state"`
}

func (u user) agent() agent { return agent{ID: u.ID, Name: u.FirstName, State: u.State} }

func (s *server) getAgent(w http.ResponseWriter, r *http.Request) error {
	id, err := idAlone(r)
	if err != nil {
		return err
	}
	var body struct{ User user }
	if err := s.genesys.get(r.Context(), agentsPath+"/"+id, &body); err != nil {
		return unknown(err, "There is no such agent.")
	}
	return answer(w, body.User.agent())
}

func (s *server) getAgents(w http.ResponseWriter, r *http.Request) error {
	p := queryOf(r)
	p.need("state")
	state := p.oneOf("state", ready, "NotReady", "Busy")
	if err := p.end(); err != nil {
		return err
	}
	all, err := s.loadAgents(r.Context(), state)
	if err != nil {
		return err
	}
	return answerAll(w, "agents", all)
}

func (s *server) loadAgents(ctx context.Context, state string) ([]agent, error) {
	var body struct{ Users []user }
	if err := s.genesys.get(ctx, agentsPath, &body); err != nil {
		return nil, err
	}
	var all []agent
	for _, u := range body.Users {
		if u.State == state {
			all = append(all, u.agent())
		}
	}
	return all, nil
}

// readyAgent returns one who can take an engagement.
func (s *server) readyAgent(ctx context.Context) (agent, error) {
	all, err := s.loadAgents(ctx, ready)
	if err != nil {
		return agent{}, err
	}
	if len(all) == 0 {
		return agent{}, &guard.Error{Status: http.StatusConflict, Detail: "No agent is ready."}
	}
	return all[0], nil
}
