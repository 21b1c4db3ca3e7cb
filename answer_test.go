package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// What an error wraps is for the log alone.
func TestErrorTextIsNeverInABody(t *testing.T) {
	secret := errors.New("SELECT * FROM visits: db7.internal:9042 refused")
	for name, test := range map[string]struct {
		err    error
		logged bool
	}{
		"plain":                     {secret, true},
		"wrapped":                   {fmt.Errorf("handler: %w", secret), true},
		"cause of a 500":            {&guard.Error{Status: http.StatusInternalServerError, Detail: "d", Err: secret}, true},
		"cause of a 502":            {&guard.Error{Status: http.StatusBadGateway, Detail: "d", Err: secret}, true},
		"cause of a 503":            {&guard.Error{Status: http.StatusServiceUnavailable, Err: secret}, true},
		"cause of a 404":            {&guard.Error{Status: http.StatusNotFound, Detail: "d", Err: secret}, false},
		"cause of an invalid one":   {&guard.Error{Status: 42, Detail: "d", Err: secret}, true},
		"text around a 404":         {fmt.Errorf("%s: %w", secret.Error(), guard.NotFound("d")), false},
		"text around a 502":         {fmt.Errorf("%s: %w", secret.Error(), &guard.Error{Status: http.StatusBadGateway, Err: io.EOF}), true},
		"joined with a 404":         {errors.Join(secret, guard.NotFound("d")), false},
		"deadline of something":     {fmt.Errorf("%w: %w", secret, context.DeadlineExceeded), true},
		"cancelled by somebody":     {fmt.Errorf("%w: %w", secret, context.Canceled), true},
		"request body is too large": {fmt.Errorf("%w: %w", secret, &http.MaxBytesError{Limit: 1}), false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, format := range everyFormat {
				var book logbook
				g := newGuard(t, guard.Config{Logger: book.logger()})
				w := problemFor(t, g, format, "/", test.err)
				for _, word := range []string{"SELECT", "db7", "handler", "refused"} {
					assert.NotContains(t, w.Body.String(), word)
					assert.NotContains(t, fmt.Sprint(w.Header()), word)
				}
				assert.Equal(t, test.logged, strings.Contains(book.String(), "db7.internal"), book.String())
			}
		})
	}
}

func TestPanicTextIsNeverInABody(t *testing.T) {
	var book logbook
	g := newGuard(t, guard.Config{Logger: book.logger(), Support: "the operators"})
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("db7.internal is gone") }))
	for _, format := range everyFormat {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, problemRequest(http.MethodGet, "/", format))
		assert.Equal(t, http.StatusInternalServerError, w.Code)
		requireHeader(t, w, format)
		assert.NotContains(t, w.Body.String(), "db7")
		assert.NotContains(t, w.Body.String(), ".go")
		assert.Contains(t, w.Body.String(), "the operators")
	}
	lines := book.lines(t)
	require.Len(t, lines, len(everyFormat))
	assert.Equal(t, "db7.internal is gone", lines[0]["panic"])
	assert.Contains(t, lines[0]["stack"], "answer_test.go")
}

func TestWriteErrorLogs(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		level string // "": no line
	}{
		{"unexpected", io.ErrUnexpectedEOF, "ERROR"},
		{"500", &guard.Error{Status: http.StatusInternalServerError}, "ERROR"},
		{"502 with a cause", &guard.Error{Status: http.StatusBadGateway, Err: io.EOF}, "WARN"},
		{"502 without", &guard.Error{Status: http.StatusBadGateway}, ""},
		{"404", guard.NotFound(""), ""},
		{"404 with a cause", &guard.Error{Status: http.StatusNotFound, Err: io.EOF}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var book logbook
			w := httptest.NewRecorder()
			newGuard(t, guard.Config{Logger: book.logger()}).WriteError(w, newRequest(), test.err)
			lines := book.lines(t)
			if test.level == "" {
				assert.Empty(t, lines)
				return
			}
			require.Len(t, lines, 1)
			assert.Equal(t, test.level, lines[0]["level"])
			assert.InDelta(t, w.Code, lines[0]["status"], 0)
			assert.Equal(t, "id-1", lines[0]["request_id"])
			assert.Equal(t, "/visits", lines[0]["path"])
			assert.Equal(t, http.MethodGet, lines[0]["method"])
			assert.Equal(t, test.err.Error(), lines[0]["error"])
		})
	}
}

// To a client that has hung up nothing is written, whatever the error is.
func TestWriteErrorOfClientThatIsGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"its own context's": ctx.Err(),
		"wrapped":           fmt.Errorf("query: %w", ctx.Err()),
		"hidden":            errors.New("operation was cancelled"),
		"of the contract":   guard.NotFound("none"),
		"unexpected":        io.ErrUnexpectedEOF,
	} {
		t.Run(name, func(t *testing.T) {
			var book logbook
			g := newGuard(t, guard.Config{Logger: book.logger()})
			g.WriteError(untouched{t}, newRequest().WithContext(ctx), err)
			g.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return err }).ServeHTTP(untouched{t}, newRequest().WithContext(ctx))
			lines := book.lines(t)
			require.Len(t, lines, 2)
			for _, line := range lines {
				assert.InDelta(t, 499, line["status"], 0)
				assert.Equal(t, "INFO", line["level"])
				assert.Equal(t, "id-1", line["request_id"])
				assert.Equal(t, err.Error(), line["error"])
			}
		})
	}
}

func TestWriteErrorOfContexts(t *testing.T) {
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	g := newGuard(t, guard.Config{Status: guard.Statuses{Overloaded: http.StatusTooManyRequests}})
	late := newRequest().WithContext(expired)

	m := requireAnswer(t, g, late, fmt.Errorf("query: %w", context.DeadlineExceeded), http.StatusTooManyRequests, "overloaded")
	assert.NotContains(t, m.Detail, "query")
	requireAnswer(t, g, late, guard.NotFound(""), http.StatusNotFound, "not-found")
	requireAnswer(t, g, late, io.ErrUnexpectedEOF, http.StatusInternalServerError, "internal")
	// Another's deadline, or a sibling's cancellation, is not the client's doing.
	requireAnswer(t, g, newRequest(), context.DeadlineExceeded, http.StatusInternalServerError, "internal")
	requireAnswer(t, g, newRequest(), context.Canceled, http.StatusInternalServerError, "internal")
}

// What has begun is not rewritten: the connection is aborted.
func TestGuarantee5ErrorAfterTheResponseHasBegun(t *testing.T) {
	var book logbook
	g := newGuard(t, guard.Config{Logger: book.logger()})
	for _, err := range []error{io.ErrUnexpectedEOF, guard.NotFound("none")} {
		book.Reset()
		w := httptest.NewRecorder()
		h := g.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "begun")
			return err
		})
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, newRequest()) })
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, "begun", w.Body.String())
		assert.NotContains(t, w.Header(), "Cache-Control")
		lines := book.lines(t)
		require.Len(t, lines, 1)
		assert.Equal(t, "ERROR", lines[0]["level"])
		assert.Equal(t, err.Error(), lines[0]["error"])
	}
}
