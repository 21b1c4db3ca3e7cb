package genesystest

import (
	"net/http"
)

func (s *Server) serveGWS(v *Service) {
	handle := func(pattern string, h http.HandlerFunc) {
		v.mux.HandleFunc(pattern, authorized(v, func(r *http.Request) bool { return basic(r) || s.tokens.authorize(r) }, h))
	}
	ok := func(w http.ResponseWriter, name string, value any) {
		writeJSON(w, http.StatusOK, object{"statusCode": 0, name: value})
	}
	user := func(a Agent) object {
		return object{"id": a.ID, "firstName": a.Name, "emailAddress": a.Email, "state": a.State}
	}
	queue := func(q Queue) object {
		return object{
			"id": q.ID, "name": q.Name,
			"statistics": object{"waiting": q.Waiting, "longestWait": int(q.Longest.Seconds()), "handled": q.Handled, "agentsReady": s.count(q.ID, "Ready")},
		}
	}
	handle("GET /api/v2/users", func(w http.ResponseWriter, _ *http.Request) {
		all := []any{}
		for _, a := range s.Agents() {
			all = append(all, user(a))
		}
		ok(w, "users", all)
	})
	handle("GET /api/v2/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		if a, found := s.agent(r.PathValue("id")); found {
			ok(w, "user", user(a))
			return
		}
		v.fail(v, w, http.StatusNotFound)
	})
	handle("GET /api/v2/queues", func(w http.ResponseWriter, _ *http.Request) {
		all := []any{}
		for _, q := range s.Queues() {
			all = append(all, queue(q))
		}
		ok(w, "queues", all)
	})
	handle("GET /api/v2/queues/{id}", func(w http.ResponseWriter, r *http.Request) {
		if q, found := s.queue(r.PathValue("id")); found {
			ok(w, "queue", queue(q))
			return
		}
		v.fail(v, w, http.StatusNotFound)
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

// failGWS writes the code that goes with a status: see "Return Values".
func failGWS(_ *Service, w http.ResponseWriter, status int) {
	code := 4 // internal error
	switch status {
	case http.StatusBadRequest:
		code = 2
	case http.StatusUnauthorized:
		code = 20
	case http.StatusForbidden:
		code = 5
	case http.StatusNotFound:
		code = 6
	}
	writeJSON(w, status, object{"statusCode": code, "statusMessage": title(status)})
}
