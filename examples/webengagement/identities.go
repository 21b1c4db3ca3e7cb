package main

import (
	"net/http"
	"net/mail"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// An identity is a customer who has told who he is.
type identity struct {
	ID      gocql.UUID `json:"id"`
	Email   string     `json:"email"`
	Name    string     `json:"name,omitempty"`
	Created time.Time  `json:"created"`
}

func (s *server) getIdentity(w http.ResponseWriter, r *http.Request) error {
	id, err := uuidAlone(r)
	if err != nil {
		return err
	}
	var i identity
	err = s.db.one(r.Context(), s.db.identity, []any{id}, &i.ID, &i.Email, &i.Name, &i.Created)
	if err != nil {
		return notFound(err, "There is no such identity.")
	}
	return answer(w, i)
}

func (s *server) getIdentities(w http.ResponseWriter, r *http.Request) error {
	p := queryOf(r)
	p.need("email")
	email, limit := emailOf(p), p.limit()
	if err := p.end(); err != nil {
		return err
	}
	var all []identity
	err := s.db.all(r.Context(), s.db.identities, []any{email, limit}, func(scan func(...any) error) error {
		var i identity
		err := scan(&i.ID, &i.Email, &i.Name, &i.Created)
		all = append(all, i)
		return err
	})
	if err != nil {
		return err
	}
	return answerAll(w, "identities", all)
}

func (s *server) postIdentity(w http.ResponseWriter, r *http.Request) error {
	p, err := bodyOf(w, r)
	if err != nil {
		return err
	}
	p.need("email")
	i := identity{Email: emailOf(p), Name: p.text("name", 200), Created: now()}
	if err := p.end(); err != nil {
		return err
	}
	if i.ID, err = gocql.RandomUUID(); err != nil {
		return err
	}
	if err := s.db.both(r.Context(), s.db.addIdentity, s.db.addIdentityByEmail, i.ID, i.Email, i.Name, i.Created); err != nil {
		return err
	}
	return answer(w, i)
}

// emailOf returns the parameter email, in lower case as it is looked up.
func emailOf(p *params) string {
	s := p.text("email", 254)
	if a, err := mail.ParseAddress(s); s != "" && (err != nil || a.Address != s) {
		p.fail("The parameter email is not an address.")
	}
	return strings.ToLower(s)
}

// now is to the millisecond, as Cassandra keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
