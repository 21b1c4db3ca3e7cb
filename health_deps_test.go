package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// look asks a health handler, with the query.
func look(h http.Handler, method, query string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "/readyz"+query, nil))
	return w
}

// breakerStates are ways to a state that a breaker can show.
var breakerStates = []struct {
	name  string
	state guard.State
	enter func(*testing.T, *guard.Dependency)
}{
	{"closed", guard.StateClosed, func(*testing.T, *guard.Dependency) {}},
	{"open", guard.StateOpen, tripped},
	{"half-open", guard.StateHalfOpen, func(t *testing.T, d *guard.Dependency) {
		tripped(t, d)
		time.Sleep(6 * time.Second)
	}},
	{"probing", guard.StateHalfOpen, func(t *testing.T, d *guard.Dependency) {
		tripped(t, d)
		time.Sleep(6 * time.Second)
		_, _, err := d.Acquire(t.Context())
		require.NoError(t, err)
	}},
	{"forced open", guard.StateOpen, func(_ *testing.T, d *guard.Dependency) { d.Force(guard.ModeOpen) }},
	{"forced closed", guard.StateClosed, func(t *testing.T, d *guard.Dependency) {
		tripped(t, d)
		d.Force(guard.ModeClosed)
	}},
	{"paused", guard.StateOpen, func(t *testing.T, d *guard.Dependency) { throttle(t, d) }},
}

// Readiness fails for what is Required and open, and warns of all else that is
// not closed.
func TestReadyWithDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range breakerStates {
			for _, required := range []bool{false, true} {
				g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
				d, err := g.Dependency("db", guard.DependencyConfig{Required: required, PauseOn429: true})
				require.NoError(t, err)
				_, err = g.Dependency("other", guard.DependencyConfig{Required: true})
				require.NoError(t, err)
				s.enter(t, d)
				code, health, line := 200, guard.HealthPass, "[+]db ok"
				switch {
				case s.state == guard.StateOpen && required:
					code, health, line = 503, guard.HealthFail, "[-]db failed: open"
				case s.state != guard.StateClosed:
					health, line = guard.HealthWarn, "[!]db warning: "+s.state.String()
				}
				w := look(g.Ready(), http.MethodGet, "")
				require.Equal(t, code, w.Code, "%s, required %t", s.name, required)
				require.Equal(t, fmt.Sprintf(`{"status":"%v","dependencies":{"db":"%v","other":"closed"}}`+"\n", health, s.state), w.Body.String())
				verdict := map[int]string{200: "passed", 503: "failed"}[code]
				verbose := look(g.Ready(), http.MethodGet, "?verbose")
				require.Equal(t, code, verbose.Code)
				require.Equal(t, "[+]server ok\n"+line+"\n[+]other ok\nreadyz check "+verdict+"\n", verbose.Body.String())
				for _, query := range []string{"", "?verbose"} {
					head := look(g.Ready(), http.MethodHead, query)
					require.Equal(t, code, head.Code)
					require.Empty(t, head.Body.String())
					require.Equal(t, look(g.Ready(), http.MethodGet, query).Header(), head.Header())
				}
				require.Equal(t, health, g.Snapshot().Health)
				require.Equal(t, "{\"status\":\"pass\"}\n", look(g.Live(), http.MethodGet, "").Body.String(), "a restart would mend nothing")
			}
		}
	})
}

// What made a dependency fail is nobody's business who can ask for readiness.
func TestReadyTellsNoErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
		d, err := g.Dependency("db", guard.DependencyConfig{Required: true, Check: func(context.Context) error { panic(secret) }})
		require.NoError(t, err)
		defer g.Close()
		tripped(t, d)
		time.Sleep(6 * time.Second) // and the Check panics
		for _, query := range []string{"", "?verbose", "?verbose=" + secret} {
			require.NotContains(t, look(g.Ready(), http.MethodGet, query).Body.String(), secret)
		}
		text, err := json.Marshal(g.Snapshot())
		require.NoError(t, err)
		require.NotContains(t, string(text), secret)
	})
}

// A name, whatever is in it, is in its own line and its own member.
func TestReadyLinesCannotBeForged(t *testing.T) {
	for _, name := range []string{
		"x\n[+]everything ok", "x\r[+]everything ok", "x\r\n[-]x", "\n", "\t", "x\u2028[+]everything", "x\u2029y", "x\u0085y", "x\vy\fz",
		"x\x1b[2Jy", "\x00", "\u202e", "100 %s %d", "\xff\xfe", `"},"status":"fail`, "readyz check passed", strings.Repeat("long ", 1000),
	} {
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
		d, err := g.Dependency(name, guard.DependencyConfig{Required: true})
		if err != nil {
			continue // not to have such a name is an answer, too
		}
		d.Force(guard.ModeOpen)
		body := look(g.Ready(), http.MethodGet, "?verbose").Body.String()
		lines := strings.FieldsFunc(body, func(r rune) bool { return strings.ContainsRune("\n\r\v\f\u0085\u2028\u2029", r) })
		require.Len(t, lines, 3, "%q", body)
		require.True(t, strings.HasPrefix(lines[1], "[-]") && strings.HasSuffix(lines[1], " failed: open"), "%q", body)
		require.NotContains(t, body, "\x1b")
		require.NotContains(t, body, "%!")
		var report struct {
			Status       string
			Dependencies map[string]string
		}
		require.NoError(t, json.Unmarshal(look(g.Ready(), http.MethodGet, "").Body.Bytes(), &report))
		require.Equal(t, "fail", report.Status)
		require.Len(t, report.Dependencies, 1)
	}
}

// A server that gets no requests while it is not ready gets ready by the clock.
func TestReadyComesBackByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []guard.DependencyConfig{
			{Required: true},
			{Required: true, PauseOn429: true},
			{Required: true, Check: func(context.Context) error { return nil }},
			{Required: true, Concurrency: guard.Concurrency{Max: 1}, Probes: 3},
		} {
			g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
			d, err := g.Dependency("db", c)
			require.NoError(t, err)
			if c.PauseOn429 {
				throttle(t, d)
			} else {
				tripped(t, d)
			}
			wait := g.Snapshot().Dependencies[0]
			require.Equal(t, 503, look(g.Ready(), http.MethodGet, "").Code)
			time.Sleep(wait.NextProbe + wait.PausedFor - 1)
			require.Equal(t, 503, look(g.Ready(), http.MethodGet, "").Code)
			time.Sleep(time.Nanosecond)
			require.Equal(t, 200, look(g.Ready(), http.MethodGet, "").Code, "%+v", c)
			time.Sleep(24 * time.Hour)
			require.Equal(t, 200, look(g.Ready(), http.MethodGet, "").Code, "and stays so")
			require.NoError(t, g.Close())
		}
	})
}

// A probe that hangs makes readiness fail again, but not for ever.
func TestReadyWithProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler)})
		d, err := g.Dependency("db", guard.DependencyConfig{Required: true, OpenFor: time.Second, ProbeTimeout: 5 * time.Second})
		require.NoError(t, err)
		tripped(t, d)
		time.Sleep(2 * time.Second)
		_, _, err = d.Acquire(t.Context())
		require.NoError(t, err)
		time.Sleep(5*time.Second - 1)
		require.Equal(t, 200, look(g.Ready(), http.MethodGet, "").Code)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 503, look(g.Ready(), http.MethodGet, "").Code)
		time.Sleep(3 * time.Second)
		require.Equal(t, 200, look(g.Ready(), http.MethodGet, "").Code)
	})
}

// Nothing makes liveness fail, nor needs a token of it.
func TestLiveWhateverHappens(t *testing.T) {
	g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), Limit: tokens(1), Concurrency: guard.Concurrency{Max: 1}})
	d, err := g.Dependency("db", guard.DependencyConfig{Required: true})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/livez", g.Live())
	h := g.Mux(mux)
	_ = status(h, http.MethodGet, "/") // takes the only token
	for _, happens := range []func(){
		func() { d.Force(guard.ModeOpen) },
		g.Drain,
		func() { require.NoError(t, g.Shutdown(t.Context())) },
		func() { require.NoError(t, g.Close()) },
	} {
		happens()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/livez", nil))
		require.Equal(t, 200, w.Code)
		require.Equal(t, "{\"status\":\"pass\"}\n", w.Body.String())
	}
}

// An open breaker holds up neither draining nor shutting down, and draining is
// told beside it.
func TestShutdownWithOpenBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, guard.Config{Logger: slog.New(slog.DiscardHandler), DrainDelay: time.Second})
		d, err := g.Dependency("db", guard.DependencyConfig{Required: true, Check: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		require.NoError(t, err)
		tripped(t, d)
		g.Drain()
		require.Equal(t, `{"status":"fail","phase":"draining","dependencies":{"db":"open"}}`+"\n", look(g.Ready(), http.MethodGet, "").Body.String())
		require.Equal(t, "[-]server failed: draining\n[-]db failed: open\nreadyz check failed\n", look(g.Ready(), http.MethodGet, "?verbose").Body.String())
		time.Sleep(6 * time.Second) // the Check hangs
		start := time.Now()
		require.NoError(t, g.Shutdown(t.Context(), &fakeServer{takes: time.Second}))
		require.Equal(t, 2*time.Second, time.Since(start))
		require.Equal(t, `{"status":"fail","phase":"refusing","dependencies":{"db":"half-open"}}`+"\n", look(g.Ready(), http.MethodGet, "").Body.String())
		require.NoError(t, g.Close())
		d.Force(guard.ModeAuto)
		require.Equal(t, 503, look(g.Ready(), http.MethodGet, "").Code, "all is well, but it is over")
		require.ErrorIs(t, d.Do(t.Context(), func(context.Context) error { return errors.ErrUnsupported }), errors.ErrUnsupported, "calls go on")
	})
}
