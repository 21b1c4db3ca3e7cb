package guard

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"net/http"
)

const requestIDMax = 128

// RequestID returns the request's id: its X-Request-Id header where that matches
// [A-Za-z0-9._-]{1,128}, else a fresh one. A fresh one is put into a copy of the
// header, which becomes r.Header: so it stays the same for r, goes along when r
// is passed on, and nobody who reads the old header is disturbed. Copies of r
// that were made before do not see it: call RequestID before r.WithContext, and
// not while another goroutine uses the same r.
//
// The id is in every error body, on the error's X-Request-Id header, and in the
// log.
func RequestID(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) > 0 && validRequestID(ids[0]) {
		return ids[0]
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // an id need not be secret
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // likewise
	id := hex.EncodeToString(b[:])
	h := make(http.Header, len(r.Header)+1)
	maps.Copy(h, r.Header)
	h["X-Request-Id"] = []string{id}
	r.Header = h
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
