package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The phases of a guard's life. They only go forward.
const (
	serving  int32 = iota
	draining       // not ready; requests are served, and asked to close their connection
	refusing       // requests are refused
)

// Health is what readiness says.
type Health int

// What readiness can say.
const (
	HealthPass Health = iota // ready
	HealthWarn               // ready, though the breaker of a dependency is not closed
	HealthFail               // not ready
)

// String returns "pass", "warn" or "fail".
func (h Health) String() string { return nameOf(int(h), "pass", "warn", "fail") }

// MarshalText implements [encoding.TextMarshaler].
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Health) UnmarshalText(text []byte) error { return unmarshalName(h, text, HealthFail) }

// Live returns the handler for liveness (/livez): 200 as long as it can answer.
// It depends on nothing else, and on no dependency: a restart would mend nothing.
func (g *Guard) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeHealth(w, r, "livez", healthReport{lines: []string{"[+]server ok"}})
	})
}

// Ready returns the handler for readiness (/readyz): 503 once [Guard.Drain] or
// [Guard.Shutdown] was called, and while the breaker of a dependency is open
// that is Required; else 200, with a warning if a breaker is not closed. A
// half-open one only warns, since it takes requests to close it.
//
// The body is JSON, or for ?verbose one line for each thing that was looked at.
// No text of an error gets into it. Refusing requests for overload does not make
// readiness fail: replicas under the same load would leave together, and the
// rest fall.
func (g *Guard) Ready() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeHealth(w, r, "readyz", g.report())
	})
}

// A healthReport says how the server is, and why.
type healthReport struct {
	Status       Health           `json:"status"`
	Phase        string           `json:"phase,omitempty"` // if it is not serving
	Dependencies map[string]State `json:"dependencies,omitempty"`

	lines []string
}

func (g *Guard) report() (rep healthReport) {
	line := func(h Health, name, why string) {
		rep.Status = max(rep.Status, h)
		name = strings.Join(strings.Fields(printable(name)), " ") // one line
		sign := nameOf(int(h), "[+]%s ok", "[!]%s warning: %s", "[-]%s failed: %s")
		if h == HealthPass {
			rep.lines = append(rep.lines, fmt.Sprintf(sign, name))
		} else {
			rep.lines = append(rep.lines, fmt.Sprintf(sign, name, why))
		}
	}
	if phase := g.phase.Load(); phase == serving {
		line(HealthPass, "server", "")
	} else {
		rep.Phase = phaseName(phase)
		line(HealthFail, "server", rep.Phase)
	}
	for _, d := range g.Dependencies() {
		state, h := d.State(), HealthPass
		switch {
		case state == StateOpen && d.tuned.Load().Required:
			h = HealthFail
		case state != StateClosed:
			h = HealthWarn
		}
		line(h, d.name, state.String())
		if rep.Dependencies == nil {
			rep.Dependencies = make(map[string]State)
		}
		rep.Dependencies[d.name] = state
	}
	return rep
}

func phaseName(phase int32) string { return nameOf(int(phase), "serving", "draining", "refusing") }

// healthChanged tells if readiness says something else than the last time. Who
// comes while another is telling only has him look again.
func (g *Guard) healthChanged(ctx context.Context) {
	if g.looks.Add(1) > 1 {
		return
	}
	done := false
	defer func() {
		if !done { // a hook has ended the goroutine
			g.looks.Store(0)
		}
	}()
	for !done {
		looks := g.looks.Load()
		now := g.report().Status
		before := Health(g.health.Swap(int32(now))) //nolint:gosec // one of three
		if hook := g.hooks.HealthChanged; hook != nil && before != now {
			g.hooked(func() { hook(ctx, HealthEvent{From: before, To: now}) })
		}
		done = g.looks.Add(-looks) == 0
	}
}

// writeHealth answers by the status code, which is all that machines need. The
// body is JSON, or with ?verbose lines in the manner of Kubernetes.
func writeHealth(w http.ResponseWriter, r *http.Request, name string, rep healthReport) {
	status, verdict := http.StatusOK, "passed"
	if rep.Status == HealthFail {
		status, verdict = http.StatusServiceUnavailable, "failed"
	}
	contentType := "application/json"
	body, _ := json.Marshal(rep) // has nothing that could fail
	if r.URL.Query().Has("verbose") {
		contentType = "text/plain; charset=utf-8"
		body = []byte(strings.Join(append(rep.lines, name+" check "+verdict), "\n"))
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n')) // a prober that has gone needs no answer
	}
}

// Drain makes readiness fail, and has each response ask for its connection to be
// closed. Requests are still served. It cannot be undone, and may be repeated.
func (g *Guard) Drain() {
	g.advance(draining)
	g.healthChanged(context.Background())
}

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
