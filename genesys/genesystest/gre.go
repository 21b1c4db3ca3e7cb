package genesystest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func (s *Server) serveGRE(v *Service) {
	v.mux.HandleFunc("GET /genesys-rules-engine/status.jsp", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html;charset=UTF-8")
		word := v.Health()
		if word != "SYSTEM_STATUS_OK" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintf(w, "\r\n\r\n%s\r\n", word)
	})
	v.mux.HandleFunc("POST /genesys-rules-engine/rest/knowledge-base/{package}", func(w http.ResponseWriter, r *http.Request) {
		var request any
		if json.NewDecoder(r.Body).Decode(&request) != nil {
			v.fail(v, w, http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, object{"knowledgebase-response": object{
			"results": []any{object{"queue": s.firstQueue()}}, "executionResult": object{"rulesApplied": []string{"by skill"}},
		}})
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

func (s *Server) firstQueue() string {
	if queues := s.Queues(); len(queues) > 0 {
		return queues[0].ID
	}
	return ""
}

func failGRE(_ *Service, w http.ResponseWriter, status int) {
	http.Error(w, title(status), status)
}
