package guard

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// A herd is the clients that have been refused and will come back. If they were
// all told the same time they would all come back at the same time, to be refused
// again. So each is told a time of its own, from 1 s to
//
//	1 s + 4 s · p/(1 − p), 30 s at the most
//
// where p is the share that is refused: p/(1 − p) is how many seconds it takes to
// serve those of one second. It is four times that since Retry-After counts whole
// seconds, so that those of one second come back within an instant of it.
type herd struct {
	mu           sync.Mutex
	at           int64
	refused, all uint64  // up to then
	share        float64 // lately
}

const (
	herdEvery = 100 * time.Millisecond
	herdStays = 2 * time.Second
	herdLeast = 20   // requests that say something about a share
	herdMost  = 30.0 // seconds
)

// spread returns what one of those who are refused is told.
func (h *herd) spread(now int64, t *traffic) time.Duration {
	h.mu.Lock()
	if now-h.at >= int64(herdEvery) {
		h.look(now, t)
	}
	p := h.share
	h.mu.Unlock()
	most := herdMost
	if p < 1 {
		most = min(1+math.Round(4*p/(1-p)), herdMost)
	}
	return time.Duration(1+rand.IntN(int(most))) * time.Second //nolint:gosec // no secret
}

// look measures the share. It rises at once, and falls over some seconds: those
// who were refused are still to come back.
func (h *herd) look(now int64, t *traffic) {
	refused := t.refused[refusedOverloaded].Load() + t.refused[refusedSaturated].Load()
	all := refused
	for i := range t.outcomes {
		all += t.outcomes[i].Load()
	}
	if all-h.all < herdLeast && now-h.at < int64(time.Second) {
		return
	}
	p := float64(refused-h.refused) / float64(max(all-h.all, 1))
	h.share = max(p, p+(h.share-p)*math.Exp(-float64(now-h.at)/float64(herdStays)))
	h.at, h.refused, h.all = now, refused, all
}
