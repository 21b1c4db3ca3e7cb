package genesystest

import (
	"fmt"
	"io"
	"net/http"
)

func (s *Server) serveGMS(v *Service) {
	v.mux.HandleFunc("GET /genesys/1/admin/node/status", authorized(v, basic, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		w.Header().Set("Content-Type", "text/plain;charset=ISO-8859-1")
		_, _ = io.WriteString(w, v.Health())
	}))
	v.mux.HandleFunc("POST /genesys/1/statistic", authorized(v, basic, func(w http.ResponseWriter, r *http.Request) {
		q, ok := s.queue(r.FormValue("objectId"))
		if !ok {
			v.fail(v, w, http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, object{"value": q.Waiting})
	}))
	v.mux.HandleFunc("POST /genesys/1/service/callback/{service}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, object{"_id": fmt.Sprintf("369-%08x", v.nextChat())})
	})
	v.mux.HandleFunc("POST /genesys/2/chat/{service}", func(w http.ResponseWriter, _ *http.Request) {
		n := v.nextChat()
		writeJSON(w, http.StatusOK, chat(fmt.Sprintf("00048aGPXGA9%04x", n), false))
	})
	v.mux.HandleFunc("POST /genesys/2/chat/{service}/{id}/{operation}", func(w http.ResponseWriter, r *http.Request) {
		switch op := r.PathValue("operation"); op {
		case "send", "refresh", "startTyping", "stopTyping", "disconnect":
			writeJSON(w, http.StatusOK, chat(r.PathValue("id"), op == "disconnect"))
		default:
			v.fail(v, w, http.StatusNotFound)
		}
	})
	v.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.fail(v, w, http.StatusNotFound) })
}

// chat is the answer to everything in Chat API version 2.
func chat(id string, ended bool) object {
	return object{
		"messages": []any{}, "chatEnded": ended, "statusCode": 0, "alias": "117", "secureKey": "4ee3", "userId": "00FE",
		"chatId": id, "nextPosition": 1,
	}
}

func (v *Service) nextChat() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.chats++
	return v.chats
}

func failGMS(_ *Service, w http.ResponseWriter, status int) {
	writeJSON(w, status, object{"message": "GMS: " + title(status), "exception": "com.genesyslab.gsg.services.common.GmsException"})
}
