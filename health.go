package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The phases of a guard's life. They only go forward.
const (
	serving  int32 = iota
	draining       // not ready; requests are served, and asked to close their connection
	refusing       // requests are refused
)

// Live returns the handler for liveness (/livez): 200 as long as it can answer.
// It depends on nothing else: a restart would mend nothing else.
func (g *Guard) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { writeHealth(w, r, "livez", true) })
}

// Ready returns the handler for readiness (/readyz): 200, or 503 once [Guard.Drain]
// or [Guard.Shutdown] was called; both with a short JSON body, or text for
// ?verbose. Refusing requests for overload does not make it fail: replicas under
// the same load would leave together, and the rest fall.
func (g *Guard) Ready() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeHealth(w, r, "readyz", g.phase.Load() == serving)
	})
}

// writeHealth answers by the status code, which is all that machines need. The
// body is JSON, or with ?verbose lines in the manner of Kubernetes.
func writeHealth(w http.ResponseWriter, r *http.Request, name string, ok bool) {
	status, word, sign, verdict := http.StatusOK, "pass", "+", "ok"
	if !ok {
		status, word, sign, verdict = http.StatusServiceUnavailable, "fail", "-", "failed"
	}
	contentType := "application/json"
	body := fmt.Sprintf("{\"status\":%q}\n", word)
	if r.URL.Query().Has("verbose") {
		contentType = "text/plain; charset=utf-8"
		body = fmt.Sprintf("[%s]server %s\n%s check %sed\n", sign, verdict, name, word)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // a prober that has gone needs no answer
	}
}

// Drain makes readiness fail, and has each response ask for its connection to be
// closed. Requests are still served. It cannot be undone, and may be repeated.
func (g *Guard) Drain() { g.advance(draining) }

// Shutdown ends serving in an order that loses no request: it calls Drain,
// serves on for DrainDelay, then refuses what still comes (503, Retry-After: 1)
// while it shuts the servers down, all at once, which waits for the requests
// they are serving. When ctx is done it does not wait any longer, and the error
// matches ctx.Err(). It blocks until the servers' Shutdown methods return, each
// in a goroutine of its own, whose panic is returned as an error.
func (g *Guard) Shutdown(ctx context.Context, servers ...interface{ Shutdown(context.Context) error }) error {
	g.Drain()
	var cut error
	if delay := g.tuned.Load().config.DrainDelay; delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			cut = ctx.Err()
		}
	}
	g.advance(refusing)
	errs := make([]error, len(servers))
	var wait sync.WaitGroup
	for i, s := range servers {
		wait.Go(func() {
			defer func() {
				if p := recover(); p != nil { // it would end the process: this is no goroutine of the caller's
					errs[i] = fmt.Errorf("guard: Shutdown of server %d panicked: %v", i, p)
				}
			}()
			errs[i] = s.Shutdown(ctx)
		})
	}
	wait.Wait()
	g.log.summarize()
	return errors.Join(append(errs, cut)...)
}

func (g *Guard) advance(to int32) {
	for from := g.phase.Load(); from < to; from = g.phase.Load() {
		if g.phase.CompareAndSwap(from, to) {
			return
		}
	}
}
