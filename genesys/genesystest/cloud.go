package genesystest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

func (s *Server) serveCloud(v *Service) {
	handle := func(pattern string, h http.HandlerFunc) {
		v.mux.HandleFunc(pattern, authorized(v, s.tokens.authorize, func(w http.ResponseWriter, r *http.Request) {
			h(v.limited(w), r)
		}))
	}
	handle("GET /api/v2/users", func(w http.ResponseWriter, _ *http.Request) {
		var all []any
		for _, a := range s.Agents() {
			all = append(all, cloudUser(a))
		}
		writeJSON(w, http.StatusOK, page(all))
	})
	handle("GET /api/v2/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		if a, ok := s.agent(r.PathValue("id")); ok {
			writeJSON(w, http.StatusOK, cloudUser(a))
			return
		}
		v.fail(v, w, http.StatusNotFound)
	})
	handle("GET /api/v2/routing/queues", func(w http.ResponseWriter, _ *http.Request) {
		var all []any
		for _, q := range s.Queues() {
			all = append(all, cloudQueue(q))
		}
		writeJSON(w, http.StatusOK, page(all))
	})
	handle("GET /api/v2/routing/queues/{id}", func(w http.ResponseWriter, r *http.Request) {
		if q, ok := s.queue(r.PathValue("id")); ok {
			writeJSON(w, http.StatusOK, cloudQueue(q))
			return
		}
		v.fail(v, w, http.StatusNotFound)
	})
	handle("POST /api/v2/analytics/queues/observations/query", func(w http.ResponseWriter, r *http.Request) {
		var query any
		if json.NewDecoder(r.Body).Decode(&query) != nil {
			v.fail(v, w, http.StatusBadRequest)
			return
		}
		var results []any
		for _, q := range s.Queues() {
			metric := func(name, qualifier string, n int) object {
				return object{"metric": name, "qualifier": qualifier, "stats": object{"count": n}}
			}
			results = append(results, object{
				"group": object{"queueId": q.ID, "mediaType": "voice"},
				"data": []any{
					metric("oWaiting", "", q.Waiting),
					metric("oOnQueueUsers", "IDLE", s.count(q.ID, "Ready")),
					metric("oOnQueueUsers", "INTERACTING", s.count(q.ID, "Busy")),
				},
			})
		}
		writeJSON(w, http.StatusOK, object{"results": results})
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

func cloudUser(a Agent) object {
	status := map[string]string{"Ready": "IDLE", "Busy": "INTERACTING"}[a.State]
	if status == "" {
		status = "OFF_QUEUE"
	}
	return object{
		"id": a.ID, "name": a.Name, "email": a.Email, "state": "active",
		"routingStatus": object{"userId": a.ID, "status": status}, "selfUri": "/api/v2/users/" + a.ID,
	}
}

func cloudQueue(q Queue) object {
	return object{"id": q.ID, "name": q.Name, "selfUri": "/api/v2/routing/queues/" + q.ID}
}

func page(all []any) object {
	return object{"entities": all, "pageSize": 25, "pageNumber": 1, "pageCount": 1, "total": len(all)}
}

// limited adds the headers that tell of the limit, in the case that they come in.
func (v *Service) limited(w http.ResponseWriter) http.ResponseWriter {
	h := w.Header()
	h["inin-ratelimit-count"] = []string{strconv.Itoa(v.Requests(""))}
	h["inin-ratelimit-allowed"] = []string{"300"}
	h["inin-ratelimit-reset"] = []string{"61"}
	h["ININ-Correlation-Id"] = []string{v.correlation()}
	return w
}

// correlation returns an id for the request that has come last.
func (v *Service) correlation() string {
	return fmt.Sprintf("c0ffee00-0000-4000-8000-%012x", v.Requests(""))
}

func failCloud(v *Service, w http.ResponseWriter, status int) {
	code := map[int]string{
		http.StatusBadRequest:         "bad.request",
		http.StatusUnauthorized:       "bad.credentials",
		http.StatusForbidden:          "missing.permissions",
		http.StatusNotFound:           "not.found",
		http.StatusTooManyRequests:    "too.many.requests.retry.after",
		http.StatusServiceUnavailable: "service.unavailable",
	}[status]
	if code == "" {
		code = "internal.server.error"
	}
	message := "The request failed: " + title(status)
	if status == http.StatusTooManyRequests {
		message = fmt.Sprintf("Rate limit exceeded the maximum. Retry the request in [%s] seconds", w.Header().Get("Retry-After"))
	}
	id := v.correlation()
	w.Header()["ININ-Correlation-Id"] = []string{id}
	writeJSON(w, status, object{
		"message": message, "code": code, "status": status, "contextId": id, "details": []any{}, "errors": []any{},
	})
}
