package genesystest

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"
)

// tokens are those that were issued.
type tokens struct {
	mu    sync.Mutex // guards the fields below
	life  time.Duration
	valid map[string]time.Time // until when
}

func (t *tokens) issue() (token string, life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.valid == nil || len(t.valid) >= 10_000 {
		t.valid = make(map[string]time.Time)
	}
	token = rand.Text()
	t.valid[token] = time.Now().Add(t.life)
	return token, t.life
}

// authorize reports whether a request has a token that is valid.
func (t *tokens) authorize(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.valid[token]
	return ok && time.Now().Before(until)
}

// ExpireTokens makes all tokens invalid that were issued. Requests with one of
// them are answered with 401.
func (s *Server) ExpireTokens() {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	clear(s.tokens.valid)
}

// SetTokenLife sets for how long tokens are valid from now on: at first 24 hours.
// 0 and less issues tokens that have expired.
func (s *Server) SetTokenLife(d time.Duration) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	s.tokens.life = d
}

func (s *Server) serveLogin(v *Service) {
	issue := func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		switch {
		case !ok || id != ClientID || secret != ClientSecret:
			v.fail(v, w, http.StatusUnauthorized)
		case r.FormValue("grant_type") != "client_credentials":
			writeJSON(w, http.StatusBadRequest, object{"error": "unsupported_grant_type"})
		default:
			token, life := s.tokens.issue()
			w.Header().Set("Cache-Control", "no-store")
			writeJSON(w, http.StatusOK, object{
				"access_token": token, "token_type": "bearer", "expires_in": int(max(life, 0).Seconds()),
			})
		}
	}
	v.mux.HandleFunc("POST /oauth/token", issue)
	v.mux.HandleFunc("POST /auth/v3/oauth/token", issue)
}

func failLogin(_ *Service, w http.ResponseWriter, status int) {
	code := "server_error"
	switch {
	case status == http.StatusUnauthorized:
		code = "invalid_client"
	case status < 500:
		code = "invalid_request"
	}
	writeJSON(w, status, object{"error": code, "error_description": title(status)})
}
