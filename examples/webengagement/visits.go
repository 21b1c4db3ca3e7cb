package main

import (
	"context"
	"net/http"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// A visit is one of an identity to the web site.
type visit struct {
	ID       gocql.UUID `json:"id"`
	Identity gocql.UUID `json:"identity"`
	Started  time.Time  `json:"started"`
	Page     string     `json:"page"`
}

const noVisit = "There is no such visit."

func (s *server) loadVisit(ctx context.Context, id gocql.UUID) (v visit, err error) {
	err = s.db.one(ctx, s.db.visit, []any{id}, &v.ID, &v.Identity, &v.Started, &v.Page)
	return v, err
}

func (s *server) getVisit(w http.ResponseWriter, r *http.Request) error {
	id, err := uuidAlone(r)
	if err != nil {
		return err
	}
	v, err := s.loadVisit(r.Context(), id)
	if err != nil {
		return notFound(err, noVisit)
	}
	return answer(w, v)
}

func (s *server) getVisits(w http.ResponseWriter, r *http.Request) error {
	p := queryOf(r)
	p.need("identity")
	id, limit := p.uuid("identity"), p.limit()
	from, to := p.time("from", time.Unix(0, 0)), p.time("to", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if err := p.end(); err != nil {
		return err
	}
	var all []visit
	err := s.db.all(r.Context(), s.db.visits, []any{id, from, to, limit}, func(scan func(...any) error) error {
		var v visit
		err := scan(&v.ID, &v.Identity, &v.Started, &v.Page)
		all = append(all, v)
		return err
	})
	if err != nil {
		return err
	}
	return answerAll(w, "visits", all)
}

func (s *server) postVisit(w http.ResponseWriter, r *http.Request) error {
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	p.need("identity", "page")
	v := visit{Identity: p.uuid("identity"), Page: p.text("page", 2000), Started: now()}
	if err := p.end(); err != nil {
		return err
	}
	if v.ID, err = gocql.RandomUUID(); err != nil {
		return err
	}
	if err := s.db.both(r.Context(), s.db.addVisit, s.db.addVisitByIdentity, v.ID, v.Identity, v.Started, v.Page); err != nil {
		return err
	}
	return answer(w, v)
}
