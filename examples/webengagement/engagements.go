package main

import (
	"errors"
	"net/http"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// An engagement is the visit that an agent has taken. There is one at the most
// for each visit.
type engagement struct {
	Visit gocql.UUID `json:"visit"`
	Queue string     `json:"queue"`
	Agent string     `json:"agent"`
	Began time.Time  `json:"began"`
}

func (s *server) getEngagement(w http.ResponseWriter, r *http.Request) error {
	id, err := uuidAlone(r)
	if err != nil {
		return err
	}
	var e engagement
	if err := s.db.one(r.Context(), s.db.engagement, []any{id}, &e.Visit, &e.Queue, &e.Agent, &e.Began); err != nil {
		return notFound(err, "There is no engagement of such a visit.")
	}
	return answer(w, e)
}

// postEngagement needs both systems: the visit is in Cassandra, the queue and the
// agents are in Genesys, and that there is one engagement only is for Cassandra
// to decide.
func (s *server) postEngagement(w http.ResponseWriter, r *http.Request) error {
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	p.need("visit", "queue")
	e := engagement{Visit: p.uuid("visit"), Queue: p.id("queue"), Began: now()}
	if err := p.end(); err != nil {
		return err
	}
	ctx := r.Context()
	if _, err := s.loadVisit(ctx, e.Visit); err != nil {
		if errors.Is(err, gocql.ErrNotFound) {
			return guard.BadRequest("The parameter visit names none that there is.")
		}
		return err
	}
	var body struct{ Queue queueAnswer }
	if err := s.genesys.get(ctx, queuesPath+"/"+e.Queue, &body); err != nil {
		if isUnknown(err) {
			return guard.BadRequest("The parameter queue names none that there is.")
		}
		return err
	}
	a, err := s.readyAgent(ctx)
	if err != nil {
		return err
	}
	e.Agent = a.ID
	won, err := s.db.once(ctx, s.db.addEngagement, e.Visit, e.Queue, e.Agent, e.Began)
	if err != nil {
		return err
	}
	if !won {
		return &guard.Error{Status: http.StatusConflict, Detail: "The visit is engaged already."}
	}
	return answer(w, e)
}
