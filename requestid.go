package guard

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

const requestIDMax = 128

// RequestID returns the request's id: its X-Request-Id header where that matches
// [A-Za-z0-9._-]{1,128}, else a fresh one, which it puts into the request's
// header so that it stays the same, and goes along when the request is passed
// on. The id is in every error body, on the error's X-Request-Id header, and in
// the log. RequestID must not be called while another goroutine uses r.Header.
func RequestID(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) > 0 && validRequestID(ids[0]) {
		return ids[0]
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // an id need not be secret
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // likewise
	id := hex.EncodeToString(b[:])
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header["X-Request-Id"] = []string{id}
	return id
}

func validRequestID(s string) bool {
	if s == "" || len(s) > requestIDMax {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
