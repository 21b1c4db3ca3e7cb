package cassandratest

import (
	"crypto/sha256"
	"fmt"
)

// Handle registers the handler of a statement, in place of the one it had; nil
// takes it away. The statement is matched on its text, with white space and a
// semicolon at the end disregarded; its markers are ?, and have the types
// given, in order; those beyond are [Text]. More types than markers are a
// mistake in the test, and panic.
//
// Handlers run in goroutines of their own, many at once, and hold no lock. A
// batch is one call, to the handler of its first statement; each of its
// statements must have a handler.
func (s *Server) Handle(statement string, h Handler, markers ...Type) {
	statement = normalise(statement)
	types := make([]Type, markerCount(statement))
	if len(markers) > len(types) {
		panic(fmt.Sprintf("cassandratest: Handle: %d types for the %d markers of %q", len(markers), len(types), statement))
	}
	copy(types, markers)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil {
		delete(s.handlers, statement)
		return
	}
	s.handlers[statement] = registration{h, types}
}

// Forget forgets which statements are prepared, as a node that was set up anew
// has: the driver is told so when it executes one, and prepares it again.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.prepared)
}

// registered returns what was registered for a normalised statement.
func (s *Server) registered(statement string) (registration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.handlers[statement]
	return r, ok
}

// servesItself says whether a normalised statement is answered by the server and
// not by a handler, as what a driver executes for itself is.
func (s *Server) servesItself(statement string) bool {
	_, handled := s.registered(statement)
	return !handled && isSystem(statement)
}

// prepare answers a PREPARE. Like a real one, the server refuses what it could
// not execute.
func (s *Server) prepare(statement, keyspace string, fault Fault) Response {
	statement = normalise(statement)
	r, ok := s.registered(statement)
	if !ok {
		if fault.refuses(statement) == nil && !isSystem(statement) {
			return unknown(statement)
		}
		r.markers = make([]Type, markerCount(statement))
	}
	sum := sha256.Sum256([]byte(statement))
	id := sum[:16]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.prepared[string(id)]; !known && len(s.prepared) >= maxPrepared {
		for other := range s.prepared {
			delete(s.prepared, other)
			break
		}
	}
	s.prepared[string(id)] = statement
	return prepared{id: id, keyspace: keyspace, markers: r.markers}
}

// resolve returns the normalised text of a statement; an error if it is to be
// prepared first.
func (s *Server) resolve(b bound) (string, *Error) {
	if b.id == nil {
		return normalise(b.text), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if statement, ok := s.prepared[string(b.id)]; ok {
		return statement, nil
	}
	return "", &Error{Code: CodeUnprepared, StatementID: b.id, Message: fmt.Sprintf("Prepared query with ID %x not found", b.id)}
}

// request returns what a handler is to be called with, and the handler; an
// error if none is.
func (s *Server) request(c call, texts []string) (*Request, Handler, *Error) {
	q := &Request{
		Statement:   texts[0],
		Values:      c.statements[0].values,
		Batch:       c.batch,
		Consistency: c.consistency,
		PageSize:    c.pageSize,
		PageState:   c.pageState,
	}
	var h Handler
	for i, text := range texts {
		r, ok := s.registered(text)
		if !ok {
			return nil, nil, unknown(text)
		}
		values := c.statements[i].values
		if len(values) != len(r.markers) {
			return nil, nil, invalid("Invalid amount of bind variables: %d for the %d of %q", len(values), len(r.markers), text)
		}
		if h == nil {
			h = r.handler
		}
		if c.batch {
			q.Statements = append(q.Statements, Statement{Text: text, Values: values})
		}
	}
	return q, h, nil
}

func unknown(statement string) *Error {
	return invalid("no handler for the statement %q", clip(statement))
}
