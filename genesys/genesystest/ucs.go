package genesystest

import (
	"net/http"
)

func (s *Server) serveUCS(v *Service) {
	v.mux.HandleFunc("GET /server/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, object{
			"version": "8.5.200.07", "mode": v.Health(), "system_time": "2020-02-24T15:56:46.369Z", "started": "2020-02-24T14:35:28.668Z",
			"max_memory": 518464, "allocated_memory": 63936, "used_memory": 7947, "free_memory": 55989,
			"request_today": v.Requests(""), "client_errors_today": 0, "server_errors_today": 0,
		})
	})
	v.mux.HandleFunc("GET /profiles/{id}", func(w http.ResponseWriter, r *http.Request) {
		a, ok := s.agent(r.PathValue("id"))
		switch {
		case v.Health() != "production":
			v.fail(v, w, http.StatusServiceUnavailable)
		case !ok:
			v.fail(v, w, http.StatusNotFound)
		default:
			writeJSON(w, http.StatusOK, object{"customer_id": a.ID, "EmailAddress": a.Email})
		}
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

func failUCS(_ *Service, w http.ResponseWriter, status int) {
	writeJSON(w, status, object{"message": "Not available: " + title(status), "exception": "com.genesyslab.gsg.cview.CViewException"})
}
