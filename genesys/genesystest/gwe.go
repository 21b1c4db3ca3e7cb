package genesystest

import (
	"net/http"
)

func (s *Server) serveGWE(v *Service) {
	visit := func(a Agent) object { return object{"visitId": "v-" + a.ID, "userId": a.Email, "pages": 3} }
	handle := func(pattern string, h http.HandlerFunc) { v.mux.HandleFunc(pattern, authorized(v, basic, h)) }
	handle("GET /backend/data/visits", func(w http.ResponseWriter, r *http.Request) {
		all := []any{}
		for _, a := range s.Agents() {
			if user := r.FormValue("userId"); user == "" || user == a.Email {
				all = append(all, visit(a))
			}
		}
		if len(all) == 0 { // of a filtered collection
			w.WriteHeader(http.StatusNoContent)
			return
		}
		writeJSON(w, http.StatusOK, object{"visits": all})
	})
	handle("GET /backend/data/visits/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, a := range s.Agents() {
			if r.PathValue("id") == "v-"+a.ID {
				writeJSON(w, http.StatusOK, visit(a))
				return
			}
		}
		v.fail(v, w, http.StatusNotFound)
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

func failGWE(_ *Service, w http.ResponseWriter, status int) {
	writeJSON(w, status, object{"message": "The operation failed: " + title(status) + "."})
}
