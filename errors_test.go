package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A logbook is what a guard has logged.
type logbook struct{ bytes.Buffer }

func (b *logbook) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(b, nil)) }

// lines returns the lines, each by its keys.
func (b *logbook) lines(tb testing.TB) []map[string]any {
	tb.Helper()
	var lines []map[string]any
	for d := json.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		var line map[string]any
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return lines
		}
		require.NoError(tb, err)
		lines = append(lines, line)
	}
}

// An untouched ResponseWriter must not be used.
type untouched struct{ tb testing.TB }

func (w untouched) Header() http.Header { return http.Header{} }

func (w untouched) Write([]byte) (int, error) {
	assert.Fail(w.tb, "a body is written")
	return 0, nil
}

func (w untouched) WriteHeader(int) { assert.Fail(w.tb, "a header is written") }

// requireAnswer requires the status and the code that an error is answered with,
// by WriteError and by HandlerFunc, and returns what the body says.
func requireAnswer(tb testing.TB, g *guard.Guard, r *http.Request, err error, status int, code string) members {
	tb.Helper()
	w := httptest.NewRecorder()
	require.NotPanics(tb, func() { g.WriteError(w, r, err) })
	require.Equal(tb, status, w.Code)
	m := readJSON(tb, w.Body.String())
	require.Equal(tb, code, m.Code)

	again := httptest.NewRecorder()
	g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(again, r)
	require.Equal(tb, status, again.Code)
	require.Equal(tb, w.Body.String(), again.Body.String())
	require.Equal(tb, w.Header(), again.Header())
	return m
}

func newRequest() *http.Request { return problemRequest(http.MethodGet, "/visits", asJSON) }

func TestErrorConstructors(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, test := range []struct {
		err    *guard.Error
		status int
		code   string
	}{
		{guard.BadRequest("d"), http.StatusBadRequest, "bad-request"},
		{guard.Unauthorized("r", "d"), http.StatusUnauthorized, "unauthorized"},
		{guard.Forbidden("d"), http.StatusForbidden, "forbidden"},
		{guard.NotFound("d"), http.StatusNotFound, "not-found"},
	} {
		assert.Equal(t, test.status, test.err.Status)
		m := requireAnswer(t, g, newRequest(), test.err, test.status, test.code)
		assert.Equal(t, "d", m.Detail)
	}
}

func TestErrorMatches(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("handler: %w", &guard.Error{Status: http.StatusConflict, Detail: "Too late.", Err: fmt.Errorf("store: %w", cause)})
	require.ErrorIs(t, err, cause)
	var e *guard.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, http.StatusConflict, e.Status)
	assert.Equal(t, "409 Conflict: Too late.: store: cause", e.Error())
	require.NoError(t, guard.NotFound("none").Unwrap())
	assert.Equal(t, "404 Not Found: none", guard.NotFound("none").Error())
	assert.Equal(t, "404 Not Found", guard.NotFound("").Error())
}

func TestWriteErrorFindsWrappedErrors(t *testing.T) {
	g := newGuard(t, guard.Config{})
	m := requireAnswer(t, g, newRequest(), fmt.Errorf("visits: %w", guard.NotFound("No such visit.")), http.StatusNotFound, "not-found")
	assert.Equal(t, "No such visit.", m.Detail)
	requireAnswer(t, g, newRequest(), errors.Join(errors.New("a"), guard.NotFound("")), http.StatusNotFound, "not-found")
	outer := &guard.Error{Status: http.StatusConflict, Err: guard.NotFound("")}
	requireAnswer(t, g, newRequest(), outer, http.StatusConflict, "conflict")
}

func TestWriteErrorOfInvalidStatus(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for _, status := range []int{0, -1, 1, 99, 100, 200, 204, 301, 304, 399, 600, 999, 1000, 1 << 30} {
		m := requireAnswer(t, g, newRequest(), &guard.Error{Status: status, Code: "own", Detail: "own"}, http.StatusInternalServerError, "internal")
		assert.Equal(t, http.StatusInternalServerError, m.Status)
		assert.NotContains(t, m.Detail, "own")
	}
	for _, status := range []int{400, 599} {
		requireAnswer(t, g, newRequest(), &guard.Error{Status: status, Code: "own"}, status, "own")
	}
}

// A nil pointer in an error interface, which a handler returns by mistake, is an
// unexpected error like any other.
func TestWriteErrorOfTypedNil(t *testing.T) {
	var e *guard.Error
	var refused *guard.RefusedError
	for name, err := range map[string]error{
		"Error":                e,
		"wrapped Error":        fmt.Errorf("handler: %w", e),
		"joined Error":         errors.Join(e, io.EOF),
		"Error in Error":       &guard.Error{Status: 0, Err: e},
		"RefusedError":         refused,
		"wrapped RefusedError": fmt.Errorf("handler: %w", refused),
	} {
		t.Run(name, func(t *testing.T) {
			var book logbook
			g := newGuard(t, guard.Config{Logger: book.logger()})
			requireAnswer(t, g, newRequest(), err, http.StatusInternalServerError, "internal")
			for _, line := range book.lines(t) {
				assert.Equal(t, "guard: unexpected error", line["msg"])
			}
		})
	}
	w := httptest.NewRecorder()
	newGuard(t, guard.Config{}).WriteError(w, newRequest(), nil)
	assert.Equal(t, http.StatusInternalServerError, w.Code)
}

func TestUnauthorizedQuotesTheRealm(t *testing.T) {
	g := newGuard(t, guard.Config{})
	for realm, want := range map[string]string{
		"visits":    `Basic realm="visits"`,
		"":          `Basic realm=""`,
		`a "b" c`:   `Basic realm="a \"b\" c"`,
		`a\b`:       `Basic realm="a\\b"`,
		`\"`:        `Basic realm="\\\""`,
		`x", y="z`:  `Basic realm="x\", y=\"z"`,
		"two words": `Basic realm="two words"`,
	} {
		w := httptest.NewRecorder()
		g.WriteError(w, newRequest(), guard.Unauthorized(realm, ""))
		assert.Equal(t, []string{want}, w.Header()["Www-Authenticate"])
	}
}

func TestUnauthorizedAlwaysChallenges(t *testing.T) {
	g := newGuard(t, guard.Config{})
	challenges := func(e *guard.Error) []string {
		w := httptest.NewRecorder()
		g.WriteError(w, newRequest(), e)
		return w.Header()["Www-Authenticate"]
	}
	assert.Equal(t, []string{`Basic realm="restricted"`}, challenges(&guard.Error{Status: http.StatusUnauthorized}))
	assert.Equal(t, []string{"Bearer", "Negotiate"},
		challenges(&guard.Error{Status: http.StatusUnauthorized, Header: http.Header{"WWW-Authenticate": {"Bearer", "Negotiate"}}}))
	assert.Empty(t, challenges(guard.Forbidden("")))
}

// A realm cannot add a field to the header.
func TestUnauthorizedRealmCannotBreakTheLine(t *testing.T) {
	g := newGuard(t, guard.Config{})
	s := httptest.NewServer(g.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		return guard.Unauthorized("x\r\nX-Evil: 1\n\n<p>", "")
	}))
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	assert.Len(t, resp.Header["Www-Authenticate"], 1)
	assert.NotContains(t, resp.Header, "X-Evil")
	assert.NotEmpty(t, resp.Header.Get("X-Request-Id"), "the fields behind it are still there")
}

// One error value may be the answer to any number of requests at once.
func TestErrorIsSharedSafely(t *testing.T) {
	g := newGuard(t, guard.Config{})
	shared := guard.Unauthorized("visits", "Who are you?")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 100 {
				w := httptest.NewRecorder()
				g.WriteError(w, newRequest(), shared)
				w.Header()["Www-Authenticate"][0] += ", charset=\"UTF-8\""
			}
		})
	}
	wait.Wait()
	assert.Equal(t, []string{`Basic realm="visits"`}, shared.Header["Www-Authenticate"])
}

func TestWriteErrorOfMaxBytes(t *testing.T) {
	g := newGuard(t, guard.Config{})
	read := func(wrap string) http.Handler {
		return g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10))
			return fmt.Errorf(wrap+"%w", err)
		})
	}
	for _, wrap := range []string{"", "secret: "} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("more than ten bytes"))
		read(wrap).ServeHTTP(w, r)
		assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
		m := readJSON(t, w.Body.String())
		assert.Equal(t, "request-entity-too-large", m.Code)
		assert.Contains(t, m.Detail, "10 bytes")
		assert.NotContains(t, w.Body.String(), "secret")
	}
	requireAnswer(t, g, newRequest(), &guard.Error{Status: http.StatusBadRequest, Err: &http.MaxBytesError{Limit: 10}}, http.StatusBadRequest, "bad-request")
}

func TestRefusedErrorOfWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, 0.1, 1)
		requireTaken(t, l, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.Wait(ctx, 1)

		require.ErrorIs(t, err, guard.ErrLimited)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, guard.ErrOverloaded)
		require.NotErrorIs(t, err, guard.ErrDraining)
		var refused *guard.RefusedError
		require.ErrorAs(t, fmt.Errorf("handler: %w", err), &refused)
		assert.Equal(t, 10*time.Second, refused.RetryAfter())
		assert.Equal(t, guard.ErrLimited, refused.Unwrap())
		assert.Equal(t, "guard: rate limited: retry after 10s", refused.Error())

		g := newGuard(t, guard.Config{})
		m := requireAnswer(t, g, newRequest(), fmt.Errorf("handler: %w", err), http.StatusServiceUnavailable, "rate-limited")
		assert.Equal(t, int64(10), m.RetryAfter)

		err = l.Wait(t.Context(), 2)
		require.ErrorIs(t, err, guard.ErrLimited)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorAs(t, err, &refused)
		assert.Negative(t, refused.RetryAfter())
		assert.NotContains(t, refused.Error(), "retry after")
		m = requireAnswer(t, g, newRequest(), err, http.StatusServiceUnavailable, "rate-limited")
		assert.Zero(t, m.RetryAfter)
	})
}

// A guard's own refusals: which status, code and Retry-After they have, by
// default and by Config.Status.
func TestRefusals(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	serve := func(h http.Handler) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newRequest())
		return w
	}
	twice := func(g *guard.Guard) *httptest.ResponseRecorder {
		h := g.Handler(ok)
		require.Equal(t, http.StatusOK, serve(h).Code)
		return serve(h)
	}
	slow := guard.Limit{Rate: 0.1, Burst: 1}
	for _, test := range []struct {
		name   string
		config guard.Config
		refuse func(*guard.Guard) *httptest.ResponseRecorder
		status int // with the Statuses below
		code   string
		retry  int64
	}{
		{"limited", guard.Config{Limit: slow}, twice, 420, "rate-limited", 10},
		{"limited for ever", guard.Config{Limit: guard.Limit{Burst: 1}}, twice, 420, "rate-limited", 0},
		{"client", guard.Config{Clients: []guard.ClientLimit{{Limit: slow}}}, twice, 429, "rate-limited", 10},
		{"client for ever", guard.Config{Clients: []guard.ClientLimit{{Limit: guard.Limit{Burst: 1}}}}, twice, 429, "rate-limited", 0},
		{"overloaded", guard.Config{Concurrency: guard.Concurrency{Max: 1}}, func(g *guard.Guard) (w *httptest.ResponseRecorder) {
			serve(g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w = serve(g.Handler(ok)) })))
			return w
		}, 529, "overloaded", 1},
		{"draining", guard.Config{}, func(g *guard.Guard) *httptest.ResponseRecorder {
			require.NoError(t, g.Shutdown(t.Context()))
			return serve(g.Handler(ok))
		}, 503, "draining", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, statuses := range []guard.Statuses{{}, {Limited: 420, Client: 429, Overloaded: 529}} {
				synctest.Test(t, func(t *testing.T) {
					config := test.config
					config.Status = statuses
					g := newGuard(t, config)
					w := test.refuse(g)

					want := http.StatusServiceUnavailable
					if statuses != (guard.Statuses{}) {
						want = test.status
					}
					assert.Equal(t, want, w.Code)
					m := readJSON(t, w.Body.String())
					assert.Equal(t, test.code, m.Code)
					assert.Equal(t, test.retry, m.RetryAfter)
					assert.NotEmpty(t, m.Detail)
					requireHeader(t, w, asJSON)
				})
			}
		})
	}
}

func ExampleError() {
	g, err := guard.New(guard.Config{})
	if err != nil {
		panic(err)
	}
	h := g.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		return &guard.Error{Status: http.StatusConflict, Code: "visit-closed", Detail: "The visit has ended.", Err: errors.New("row 7 is locked")}
	})

	r := httptest.NewRequest(http.MethodPost, "/visits/7", http.NoBody)
	r.Header.Set("Accept", "text/plain")
	r.Header.Set("X-Request-Id", "b5f1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Print(w.Body)
	// Output:
	// 409 Conflict
	// The visit has ended.
	//
	// code: visit-closed
	// instance: /visits/7
	// request id: b5f1
}
