package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A journal keeps what is logged.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) json() *slog.Logger { return slog.New(slog.NewJSONHandler(j, nil)) }

// text returns what was logged so far, and forgets it.
func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.buf.Reset()
	return j.buf.String()
}

// lines returns what was logged as JSON so far, and forgets it.
func (j *journal) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(j.text())); d.More(); {
		var line map[string]any
		require.NoError(t, d.Decode(&line))
		lines = append(lines, line)
	}
	return lines
}

// keys returns the keys of a line, sorted, without the time.
func keys(line map[string]any) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(line)), func(key string) bool { return key == slog.TimeKey })
}

func TestLogOfRequests(t *testing.T) {
	about := []string{"method", "path", "request_id"}
	with := func(more ...string) []string {
		return slices.Sorted(slices.Values(append(append(more, "level", "msg"), about...)))
	}
	for _, test := range []struct {
		name   string
		handle guard.HandlerFunc
		gone   bool    // the client has hung up
		level  string  // "": nothing is logged
		msg    string  //
		status float64 // 0: the line has none
		keys   []string
		text   string // in the line
	}{
		{
			"a panic", func(http.ResponseWriter, *http.Request) error { panic(secret) }, false,
			"ERROR", "guard: handler panicked", 0, with("panic", "stack"), secret,
		},
		{"a panic after the header", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			panic(secret)
		}, false, "ERROR", "guard: handler panicked", 0, with("panic", "stack"), "TestLogOfRequests"},
		{"an abort", func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, false, "", "", 0, nil, ""},
		{
			"any error", func(http.ResponseWriter, *http.Request) error { return errors.New(secret) }, false,
			"ERROR", "guard: unexpected error", 500, with("error", "status"), secret,
		},
		{
			"a 500", func(http.ResponseWriter, *http.Request) error { return &guard.Error{Status: 500, Detail: secret} }, false,
			"ERROR", "guard: unexpected error", 500, with("error", "status"), secret,
		},
		{"a 502 with its cause", func(http.ResponseWriter, *http.Request) error {
			return &guard.Error{Status: 502, Err: errors.New(secret)}
		}, false, "WARN", "guard: request failed", 502, with("error", "status"), secret},
		{"a 502 without", func(http.ResponseWriter, *http.Request) error { return &guard.Error{Status: 502} }, false, "", "", 0, nil, ""},
		{"a 4xx", func(http.ResponseWriter, *http.Request) error {
			return &guard.Error{Status: 404, Err: errors.New(secret)}
		}, false, "", "", 0, nil, ""},
		{"an error after the header", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusOK)
			return guard.NotFound(secret)
		}, false, "ERROR", "guard: error after the response had begun", 404, with("error", "status"), secret},
		{
			"a client that has gone", func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() }, true,
			"INFO", "guard: client gone", 499, with("error", "status"), "context canceled",
		},
		{"a client that has gone, but for no reason", func(http.ResponseWriter, *http.Request) error { return nil }, true, "", "", 0, nil, ""},
		{"a success", func(http.ResponseWriter, *http.Request) error { return nil }, false, "", "", 0, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := &journal{}
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			if test.gone {
				hangUp()
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPatch, "/a%20b?token="+secret+"query", nil).WithContext(ctx)
			r.Header.Set("X-Request-Id", "not valid: "+secret)
			serveHere(newGuard(t, guard.Config{Logger: j.json()}).HandlerFunc(test.handle), w, r)

			text := j.text()
			_, _ = io.WriteString(j, text)
			lines := j.lines(t)
			if test.level == "" {
				require.Empty(t, lines)
				return
			}
			require.Len(t, lines, 1)
			line := lines[0]
			require.Equal(t, test.keys, keys(line))
			require.Equal(t, test.level, line["level"])
			require.Equal(t, test.msg, line["msg"])
			require.Equal(t, http.MethodPatch, line["method"])
			require.Equal(t, "/a%20b", line["path"], "the query may hold secrets")
			require.NotContains(t, text, secret+"query")
			require.Regexp(t, "^[0-9a-f]{32}$", line["request_id"], "not the client's, which is invalid")
			if id := w.Header().Get("X-Request-Id"); id != "" {
				require.Equal(t, id, line["request_id"])
			}
			require.Contains(t, text, test.text)
			if test.status != 0 {
				require.EqualValues(t, test.status, line["status"])
			}
		})
	}
}

func TestLogOfTuning(t *testing.T) {
	j := &journal{}
	g := newGuard(t, guard.Config{Logger: j.json(), Clients: []guard.ClientLimit{{Limit: tokens(1)}, {Limit: tokens(2)}}})
	rt, err := g.Route("visits", guard.RouteConfig{})
	require.NoError(t, err)
	require.Error(t, g.Tune(func(c *guard.Config) { c.DrainDelay = -1 }))
	require.Empty(t, j.lines(t), "nothing has changed")

	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit, c.Concurrency.Max = guard.Limit{Rate: 10, Burst: 20}, 30 }))
	require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Limit, c.Concurrency.Max = guard.Limit{Rate: 1, Burst: 2}, 3 }))
	lines := j.lines(t)
	require.Len(t, lines, 2)
	for i, want := range []map[string]any{
		{"level": "INFO", "msg": "guard: tuned", "limit": 10.0, "burst": 20.0, "concurrency": 30.0},
		{"level": "INFO", "msg": "guard: tuned", "limit": 1.0, "burst": 2.0, "concurrency": 3.0, "route": "visits"},
	} {
		for key, value := range want {
			require.Equal(t, value, lines[i][key], key)
		}
	}
	require.NotContains(t, lines[0], "route")
	require.Contains(t, lines[0], "clients")
}

// A client limit may have any name, which must not hide another key.
func TestLogOfTuningNames(t *testing.T) {
	for _, name := range []string{"msg", "level", "limit", "burst", "concurrency", "route"} {
		j := &journal{}
		g := newGuard(t, guard.Config{Logger: j.json(), Clients: []guard.ClientLimit{{Name: name, Limit: tokens(7)}}})
		rt, err := g.Route("visits", guard.RouteConfig{Clients: g.Config().Clients})
		require.NoError(t, err)
		require.NoError(t, rt.Tune(func(*guard.RouteConfig) {}))
		line := j.lines(t)[0]
		require.Equal(t, []any{"INFO", "guard: tuned", 0.0, 0.0, 0.0, "visits"},
			[]any{line["level"], line["msg"], line["limit"], line["burst"], line["concurrency"], line["route"]}, name)
	}
}

// No limit is a rate that JSON has no number for.
func TestLogOfTuningToUnlimited(t *testing.T) {
	j := &journal{}
	g := newGuard(t, guard.Config{Logger: j.json(), Clients: []guard.ClientLimit{{Limit: tokens(1)}}})
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit, c.Clients[0].Limit = guard.Unlimited(), guard.Unlimited() }))
	text := j.text()
	require.True(t, json.Valid([]byte(text)), text)
	require.NotContains(t, text, "!ERROR")
}

// Nothing that a client chooses, nor an error's text, can look like a line of
// its own, or move the cursor of who reads it.
func TestLogCannotBeForged(t *testing.T) {
	const attack = "\" level=ERROR msg=\"forged\"\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\ntime=now level=ERROR msg=forged\x1b[2J\x9b\x00\u2028\u202e\xff' `"
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		for _, inPlace := range []struct {
			name string
			put  func(*http.Request)
		}{
			{"method", func(r *http.Request) { r.Method = attack }},
			{"path", func(r *http.Request) { r.URL, r.RequestURI = &url.URL{Path: "/" + attack}, "" }},
			{"raw path", func(r *http.Request) { r.URL = &url.URL{Path: "/" + attack, RawPath: "/" + attack} }},
			{"opaque", func(r *http.Request) { r.URL = &url.URL{Opaque: attack} }},
			{"query", func(r *http.Request) { r.URL.RawQuery = attack }},
			{"no URL", func(r *http.Request) { r.URL = nil }},
			{"request id", func(r *http.Request) { r.Header["X-Request-Id"] = []string{attack, "valid"} }},
			{"long", func(r *http.Request) {
				r.Method, r.URL = strings.Repeat("M", 1<<16), &url.URL{Path: "/" + strings.Repeat("é", 1<<16)}
				r.Header["X-Request-Id"] = []string{strings.Repeat("i", 129)}
			}},
		} {
			for _, end := range []struct {
				name string
				do   guard.HandlerFunc
			}{
				{"error", func(http.ResponseWriter, *http.Request) error { return errors.New(attack) }},
				{"panic", func(http.ResponseWriter, *http.Request) error { panic(attack) }},
			} {
				t.Run(strings.Join([]string{name, inPlace.name, end.name}, "/"), func(t *testing.T) {
					j := &journal{}
					g := newGuard(t, guard.Config{Logger: slog.New(handler(j)), Exempt: func(*http.Request) bool { return true }})
					r := httptest.NewRequest(http.MethodGet, "/", nil)
					inPlace.put(r)
					require.Nil(t, serveHere(g.HandlerFunc(end.do), httptest.NewRecorder(), r))
					text := j.text()
					require.Equal(t, 1, strings.Count(text, "\n"), text)
					require.True(t, strings.HasSuffix(text, "\n"))
					require.NotContains(t, text, "\x1b")
					require.NotContains(t, text, "\r")
					require.NotContains(t, text, "\x00")
					require.Less(t, len(text), 1<<14)
					if name == "JSON" {
						_, _ = io.WriteString(j, text)
						line := j.lines(t)[0]
						require.Equal(t, "ERROR", line["level"])
						require.NotEqual(t, "forged", line["msg"])
						if inPlace.name == "method" || inPlace.name == "path" {
							require.Contains(t, line[inPlace.name], "forged", "escaped, but told")
						}
						require.LessOrEqual(t, len(line["method"].(string)), 3*32)
						require.LessOrEqual(t, len(line["path"].(string)), 3*256)
					} else {
						require.Equal(t, 1, strings.Count(text, " msg=\"guard: "))
					}
				})
			}
		}
	}
}

// A logger that calls back finds no lock held.
func TestGuarantee10LoggerMayCallBack(t *testing.T) {
	back := &callback{}
	g := newGuard(t, guard.Config{Logger: slog.New(back), Limit: tokens(1)})
	rt, err := g.Route("route", guard.RouteConfig{})
	require.NoError(t, err)
	back.call = func() {
		_ = g.Config()
		_ = g.Close()
		require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit.Burst++ }))
		require.NoError(t, rt.Tune(func(c *guard.RouteConfig) { c.Concurrency.Max++ }))
		_, err := g.Route("another", guard.RouteConfig{})
		require.NoError(t, err)
	}
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit.Burst = 1 }))
	require.Equal(t, 3, back.lines)
	require.Equal(t, 2, g.Config().Limit.Burst)
}

// callback calls a function at the first line, and counts.
type callback struct {
	call  func()
	lines int
}

func (c *callback) Enabled(context.Context, slog.Level) bool { return true }
func (c *callback) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *callback) WithGroup(string) slog.Handler            { return c }

func (c *callback) Handle(context.Context, slog.Record) error {
	c.lines++
	if call := c.call; call != nil {
		c.call = nil
		call()
	}
	return nil
}

// Without a Logger, lines go to what slog.Default is when they are written.
func TestLogDefault(t *testing.T) {
	g, err := guard.New(guard.Config{})
	require.NoError(t, err)
	j, before := &journal{}, slog.Default()
	flags, prefix := log.Flags(), log.Prefix()
	slog.SetDefault(j.json())
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(os.Stderr)
		log.SetFlags(flags)
		log.SetPrefix(prefix)
	}()
	h := g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errors.New(secret) })
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	require.Len(t, j.lines(t), 1)
}
