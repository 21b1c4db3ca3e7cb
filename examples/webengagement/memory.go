package main

import (
	"bytes"
	"slices"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// memory answers the statements of a schema in place of a Cassandra. It keeps no
// more than a demonstration needs: the oldest rows go when there are too many.
type memory struct {
	mu          sync.Mutex // guards the fields below
	identities  table[identity]
	visits      table[visit]
	events      table[visitEvent]
	engagements table[engagement]
}

// A visitEvent is an event with the visit that it is of.
type visitEvent struct {
	event

	Visit gocql.UUID
}

// A table is rows by a key that is unique, in the order in which they came.
type table[T any] struct {
	rows map[gocql.UUID]T
	keys []gocql.UUID
}

const maxRows = 10_000 // of a table

func (t *table[T]) put(key gocql.UUID, row T) {
	if t.rows == nil {
		t.rows = make(map[gocql.UUID]T)
	}
	if _, known := t.rows[key]; !known {
		if t.keys = append(t.keys, key); len(t.keys) > maxRows {
			delete(t.rows, t.keys[0])
			t.keys = slices.Delete(t.keys, 0, 1)
		}
	}
	t.rows[key] = row
}

// matching returns the rows that are wanted, at most as many.
func (t *table[T]) matching(wanted func(T) bool, most int) (all []T) {
	for _, key := range t.keys {
		if row := t.rows[key]; wanted(row) {
			all = append(all, row)
		}
	}
	if len(all) > most {
		all = all[:most]
	}
	return all
}

func (t *table[T]) len() int { return len(t.keys) }

// serve registers what it answers.
func (m *memory) serve(node *cassandratest.Server, s *schema) {
	const text, number, uuid, at = cassandratest.Text, cassandratest.Int, cassandratest.UUID, cassandratest.Timestamp
	handle := func(statement string, h func(*values) cassandratest.Response, markers ...cassandratest.Type) {
		node.Handle(statement, func(q *cassandratest.Request) cassandratest.Response {
			v := &values{all: q.Values}
			m.mu.Lock()
			defer m.mu.Unlock()
			response := h(v)
			if v.err != nil {
				return &cassandratest.Error{Code: cassandratest.CodeInvalid, Message: v.err.Error()}
			}
			return response
		}, markers...)
	}
	identityColumns := columns("id", uuid, "email", text, "name", text, "created", at)
	identityRow := func(i identity) []any { return []any{i.ID, i.Email, i.Name, i.Created} }
	visitColumns := columns("id", uuid, "identity", uuid, "started", at, "page", text)
	visitRow := func(v visit) []any { return []any{v.ID, v.Identity, v.Started, v.Page} }

	// A batch is one call, with the values of its first statement: those of the
	// second are the same.
	handle(s.addIdentity, m.addIdentity, uuid, text, text, at)
	handle(s.addIdentityByEmail, m.addIdentity, uuid, text, text, at)
	handle(s.addVisit, m.addVisit, uuid, uuid, at, text)
	handle(s.addVisitByIdentity, m.addVisit, uuid, uuid, at, text)
	handle(s.identity, func(v *values) cassandratest.Response {
		id := v.uuid(0)
		return rows(identityColumns, m.identities.matching(func(i identity) bool { return i.ID == id }, 1), identityRow)
	}, uuid)
	handle(s.identities, func(v *values) cassandratest.Response {
		email, most := v.text(0), v.number(1)
		return rows(identityColumns, m.identities.matching(func(i identity) bool { return i.Email == email }, most), identityRow)
	}, text, number)
	handle(s.visit, func(v *values) cassandratest.Response {
		id := v.uuid(0)
		return rows(visitColumns, m.visits.matching(func(v visit) bool { return v.ID == id }, 1), visitRow)
	}, uuid)
	handle(s.visits, func(v *values) cassandratest.Response {
		id, from, to, most := v.uuid(0), v.time(1), v.time(2), v.number(3)
		all := m.visits.matching(func(v visit) bool {
			return v.Identity == id && !v.Started.Before(from) && v.Started.Before(to)
		}, maxRows)
		slices.SortStableFunc(all, func(a, b visit) int { return b.Started.Compare(a.Started) })
		return rows(visitColumns, all[:min(most, len(all))], visitRow)
	}, uuid, at, at, number)
	handle(s.addEvent, m.addEvent, uuid, cassandratest.TimeUUID, text, text, cassandratest.TextMap)
	handle(s.events, func(v *values) cassandratest.Response {
		visit, since, most := v.uuid(0), v.time(1), v.number(2)
		all := m.events.matching(func(e visitEvent) bool { return e.Visit == visit && e.At.After(since) }, maxRows)
		slices.SortFunc(all, func(a, b visitEvent) int {
			if n := a.At.Compare(b.At); n != 0 {
				return n
			}
			return bytes.Compare(a.ID[:], b.ID[:])
		})
		return rows(columns("id", cassandratest.TimeUUID, "type", text, "page", text, "data", cassandratest.TextMap), all[:min(most, len(all))],
			func(e visitEvent) []any { return []any{e.ID, e.Type, e.Page, e.Data} })
	}, uuid, at, number)
	handle(s.addEngagement, m.addEngagement, uuid, text, text, at)
	handle(s.engagement, func(v *values) cassandratest.Response {
		id := v.uuid(0)
		return rows(columns("visit", uuid, "queue", text, "agent", text, "began", at),
			m.engagements.matching(func(e engagement) bool { return e.Visit == id }, 1),
			func(e engagement) []any { return []any{e.Visit, e.Queue, e.Agent, e.Began} })
	}, uuid)
}

func (m *memory) addIdentity(v *values) cassandratest.Response {
	i := identity{ID: v.uuid(0), Email: v.text(1), Name: v.text(2), Created: v.time(3)}
	if v.err == nil {
		m.identities.put(i.ID, i)
	}
	return cassandratest.Void{}
}

func (m *memory) addVisit(v *values) cassandratest.Response {
	row := visit{ID: v.uuid(0), Identity: v.uuid(1), Started: v.time(2), Page: v.text(3)}
	if v.err == nil {
		m.visits.put(row.ID, row)
	}
	return cassandratest.Void{}
}

func (m *memory) addEvent(v *values) cassandratest.Response {
	e := visitEvent{Visit: v.uuid(0), event: event{ID: v.uuid(1), Type: v.text(2), Page: v.text(3), Data: v.texts(4)}}
	e.At = e.ID.Time()
	if v.err == nil {
		m.events.put(e.ID, e)
	}
	return cassandratest.Void{}
}

func (m *memory) addEngagement(v *values) cassandratest.Response {
	e := engagement{Visit: v.uuid(0), Queue: v.text(1), Agent: v.text(2), Began: v.time(3)}
	if v.err != nil {
		return nil
	}
	if _, taken := m.engagements.rows[e.Visit]; taken {
		return cassandratest.Applied(false)
	}
	m.engagements.put(e.Visit, e)
	return cassandratest.Applied(true)
}

// stored returns how many rows there are.
func (m *memory) stored() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.identities.len() + m.visits.len() + m.events.len() + m.engagements.len()
}

// rows returns what is read.
func rows[T any](columns []cassandratest.Column, all []T, row func(T) []any) cassandratest.Response {
	answer := cassandratest.Rows{Columns: columns}
	for _, one := range all {
		answer.Values = append(answer.Values, row(one))
	}
	return answer
}

// columns takes names and types in turn.
func columns(namesAndTypes ...any) (all []cassandratest.Column) {
	for i := 0; i+1 < len(namesAndTypes); i += 2 {
		name, _ := namesAndTypes[i].(string)
		typ, _ := namesAndTypes[i+1].(cassandratest.Type)
		all = append(all, cassandratest.Column{Name: name, Type: typ})
	}
	return all
}

// values are those of a statement; err is what is wrong with the first that is.
type values struct {
	all []cassandratest.Value
	err error
}

func valueAt[T any](v *values, i int, read func(cassandratest.Value) (T, error)) (x T) {
	if i >= len(v.all) || v.err != nil {
		return x
	}
	x, v.err = read(v.all[i])
	return x
}

func (v *values) text(i int) string {
	return valueAt(v, i, func(v cassandratest.Value) (string, error) { return v.Text(), nil })
}

func (v *values) number(i int) int { return int(valueAt(v, i, cassandratest.Value.Int)) }

func (v *values) uuid(i int) gocql.UUID { return valueAt(v, i, cassandratest.Value.UUID) }

func (v *values) time(i int) time.Time { return valueAt(v, i, cassandratest.Value.Timestamp) }

func (v *values) texts(i int) map[string]string { return valueAt(v, i, cassandratest.Value.TextMap) }
