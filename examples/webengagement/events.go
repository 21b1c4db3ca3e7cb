package main

import (
	"net/http"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// An event is something that happened in a visit. Its id tells when.
type event struct {
	ID   gocql.UUID        `json:"id"`
	At   time.Time         `json:"at"`
	Type string            `json:"type"`
	Page string            `json:"page,omitempty"`
	Data map[string]string `json:"data,omitempty"`
}

func (s *server) getEvents(w http.ResponseWriter, r *http.Request) error {
	id, err := uuidInPath(r)
	if err != nil {
		return err
	}
	p := queryOf(r)
	since, limit := p.time("since", time.Unix(0, 0)), p.limit()
	if err := p.end(); err != nil {
		return err
	}
	if _, err := s.loadVisit(r.Context(), id); err != nil {
		return notFound(err, noVisit)
	}
	var all []event
	err = s.db.all(r.Context(), s.db.events, []any{id, since, limit}, func(scan func(...any) error) error {
		var e event
		err := scan(&e.ID, &e.Type, &e.Page, &e.Data)
		e.At = e.ID.Time()
		all = append(all, e)
		return err
	})
	if err != nil {
		return err
	}
	return answerAll(w, "events", all)
}

func (s *server) postEvent(w http.ResponseWriter, r *http.Request) error {
	id, err := uuidInPath(r)
	if err != nil {
		return err
	}
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	p.need("type")
	e := event{
		ID: gocql.TimeUUID(), Type: p.oneOf("type", "page-entered", "clicked", "search", "timeout", "signed-in"),
		Page: p.text("page", 2000), Data: p.texts("data"),
	}
	e.At = e.ID.Time()
	if err := p.end(); err != nil {
		return err
	}
	if _, err := s.loadVisit(r.Context(), id); err != nil {
		return notFound(err, noVisit)
	}
	if err := s.db.exec(r.Context(), s.db.addEvent, id, e.ID, e.Type, e.Page, e.Data); err != nil {
		return err
	}
	return answer(w, e)
}
