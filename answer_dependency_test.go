package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// What must never be in a body: the name of a dependency, and the text of its errors.
const (
	secretName = "cassandra-7.internal"
	secretText = "SELECT * FROM visits: 10.1.2.3:9042 refused"
)

// errorOf returns the error of a dependency that is in some state.
type errorOf func(t *testing.T, d *guard.Dependency) error

// dependencyAnswers are what a client is told for each.
var dependencyAnswers = []struct {
	name   string
	err    errorOf
	status int // 502: that of Statuses.Dependency; 503: of Statuses.Overloaded
	code   string
	wait   string // Retry-After; "open": the rest of the open time
}{
	{"failed", func(t *testing.T, d *guard.Dependency) error {
		return d.Do(t.Context(), comesTo(errors.New(secretText)))
	}, 502, "dependency-failed", ""},
	{"failed, and opened it", func(t *testing.T, d *guard.Dependency) (err error) {
		for d.State() == guard.StateClosed {
			err = d.Do(t.Context(), comesTo(errors.New(secretText)))
		}
		return err
	}, 502, "dependency-failed", "open"},
	{"timed out", func(t *testing.T, d *guard.Dependency) error {
		return d.Do(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("%s: %w", secretText, ctx.Err())
		})
	}, 502, "dependency-failed", ""},
	{"cancelled by a sibling", func(t *testing.T, d *guard.Dependency) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return d.Do(ctx, comesTo(nil))
	}, 502, "dependency-failed", ""},
	{"answered", func(t *testing.T, d *guard.Dependency) error {
		require.NoError(t, d.Tune(func(c *guard.DependencyConfig) { c.Classify = saying(guard.OutcomeAnswered) }))
		return d.Do(t.Context(), comesTo(errors.New(secretText)))
	}, 502, "dependency-failed", ""},
	{"open", func(t *testing.T, d *guard.Dependency) error {
		tripByFailures(d)
		time.Sleep(1234567890)
		return d.Do(t.Context(), comesTo(nil))
	}, 502, "dependency-open", "open"},
	{"half-open, busy", func(t *testing.T, d *guard.Dependency) error {
		tripByFailures(d)
		time.Sleep(time.Hour)
		_, permit, err := d.Acquire(t.Context())
		require.NoError(t, err)
		require.NotNil(t, permit)
		return d.Do(t.Context(), comesTo(nil))
	}, 502, "dependency-open", "1"},
	{"forced open", func(t *testing.T, d *guard.Dependency) error {
		d.Force(guard.ModeOpen)
		return d.Do(t.Context(), comesTo(nil))
	}, 502, "dependency-open", ""},
	{"forced open, and failed", func(t *testing.T, d *guard.Dependency) error {
		return d.Do(t.Context(), func(context.Context) error { d.Force(guard.ModeOpen); return errors.New(secretText) })
	}, 502, "dependency-failed", ""},
	{"throttled", func(t *testing.T, d *guard.Dependency) error {
		resp, err := d.Transport(always429{}).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		time.Sleep(2*time.Second + 1)
		return d.Do(t.Context(), comesTo(nil))
	}, 502, "dependency-open", "5"},
	{"saturated", func(t *testing.T, d *guard.Dependency) error {
		_, _, err := d.Acquire(t.Context())
		require.NoError(t, err)
		return d.Do(t.Context(), comesTo(nil))
	}, 503, "overloaded", "1"},
}

// always429 asks for a pause of 7 s.
type always429 struct{}

func (always429) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"7"}}, Body: http.NoBody}, nil
}

// The contract: 502 for what the dependency did, 503 for its bulkhead, which is
// ours; when to come back where that is known; and no word more.
func TestDependencyAnswers(t *testing.T) {
	for _, statuses := range []guard.Statuses{{}, {Dependency: http.StatusFailedDependency, Overloaded: http.StatusTooManyRequests}} {
		for _, test := range dependencyAnswers {
			for _, wrapped := range []bool{false, true} {
				t.Run(test.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						g := newGuard(t, guard.Config{Status: statuses})
						d, err := g.Dependency(secretName, guard.DependencyConfig{
							MinCalls: 10, OpenFor: 20 * time.Second, Concurrency: guard.Concurrency{Max: 1}, PauseOn429: true,
						})
						require.NoError(t, err)
						err = test.err(t, d)
						var dependency *guard.DependencyError
						require.ErrorAs(t, err, &dependency)
						status := test.status
						if statuses.Dependency != 0 {
							status = map[int]int{502: statuses.Dependency, 503: statuses.Overloaded}[status]
						}
						wait := test.wait
						if wait == "open" {
							rest := dependency.RetryAfter()
							require.Greater(t, rest, 16*time.Second, "20 s, jittered by a tenth, and 1.2 s are gone")
							wait = strconv.Itoa(int((rest + time.Second - 1) / time.Second))
						}
						if wrapped {
							err = fmt.Errorf("%s: %w", secretText, err)
						}
						requireDependencyAnswer(t, g, err, status, test.code, wait)
					})
				})
			}
		}
	}
}

func requireDependencyAnswer(t *testing.T, g *guard.Guard, err error, status int, code, wait string) {
	t.Helper()
	for _, format := range everyFormat {
		w := problemFor(t, g, format, "/visits", err)
		require.Equal(t, status, w.Code, err)
		require.Equal(t, wait, w.Header().Get("Retry-After"), err)
		seconds, _ := strconv.ParseInt(wait, 10, 64)
		body := w.Body.String()
		switch format {
		case asJSON, asXML:
			read := map[string]func(testing.TB, string) members{asJSON: readJSON, asXML: readXML}[format]
			m := read(t, body)
			require.Equal(t, []any{status, code, seconds}, []any{m.Status, m.Code, m.RetryAfter})
			require.NotEmpty(t, m.Detail)
		case asText:
			require.Contains(t, body, "code: "+code+"\n")
			require.Equal(t, wait != "", strings.Contains(body, "retry after: "+wait+" s\n"))
		}
		for _, word := range []string{"cassandra", "internal", "SELECT", "9042", "refused", "EOF", "context", "guard:"} {
			require.NotContains(t, body, word)
			require.NotContains(t, fmt.Sprint(w.Header()), word)
		}
	}
	head := httptest.NewRecorder()
	g.HandlerFunc(answer(err)).ServeHTTP(head, problemRequest(http.MethodHead, "/visits", asJSON))
	require.Equal(t, status, head.Code)
	require.Equal(t, wait, head.Header().Get("Retry-After"))
	require.Zero(t, head.Body.Len())
}

// Who says last what an error means is right: an Error around the dependency's
// is the application's answer, and one inside it is what the dependency failed with.
func TestDependencyErrorOrError(t *testing.T) {
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{MinCalls: 1000})
	conflict := &guard.Error{Status: http.StatusConflict, Detail: "Once is enough."}
	broken := &guard.Error{Status: http.StatusInternalServerError, Detail: "the dependency's own words"}
	failed := d.Do(t.Context(), comesTo(io.EOF))
	wrapping := d.Do(t.Context(), comesTo(broken))
	around := func(err error) *guard.Error { return &guard.Error{Status: http.StatusConflict, Err: err} }
	for name, test := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"failed":                               {failed, 502, "dependency-failed"},
		"wrapping an Error":                    {wrapping, 502, "dependency-failed"},
		"wrapping an Error, wrapped":           {fmt.Errorf("handler: %w", wrapping), 502, "dependency-failed"},
		"Error around it":                      {around(failed), 409, "conflict"},
		"Error around it, wrapped":             {fmt.Errorf("handler: %w", around(fmt.Errorf("load: %w", failed))), 409, "conflict"},
		"Error around it, wrapping an Error":   {around(wrapping), 409, "conflict"},
		"Error of no status around it":         {&guard.Error{Err: failed}, 500, "internal"},
		"an answer of its own, from inside":    {d.Do(t.Context(), comesTo(conflict)), 409, "conflict"},
		"Error around it, from inside":         {d.Do(t.Context(), comesTo(around(failed))), 409, "conflict"},
		"joined with an Error, first":          {errors.Join(failed, guard.NotFound("")), 502, "dependency-failed"},
		"joined with an Error, last":           {errors.Join(guard.NotFound(""), failed), 502, "dependency-failed"},
		"joined with a RefusedError":           {errors.Join(failed, guard.ErrLimited), 502, "dependency-failed"},
		"Error around two, joined":             {around(errors.Join(failed, wrapping)), 409, "conflict"},
		"joined with an Error around the next": {errors.Join(failed, around(wrapping)), 502, "dependency-failed"},
	} {
		t.Run(name, func(t *testing.T) {
			m := requireAnswer(t, g, newRequest(), test.err, test.status, test.code)
			assert.NotContains(t, m.Detail, "words")
		})
	}
}

// A body that is too large is the client's doing, wherever it is read.
func TestBodyTooLargeInsideACall(t *testing.T) {
	for way, call := range waysToCall {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
		w := httptest.NewRecorder()
		g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			r.Body = http.MaxBytesReader(w, r.Body, 3)
			return call(r.Context(), d, func(context.Context) error {
				_, err := io.ReadAll(r.Body)
				return fmt.Errorf("copy: %w", err)
			})
		}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("four")))
		require.Equal(t, http.StatusRequestEntityTooLarge, w.Code, way)
		require.Equal(t, guard.CallCounts{Ignored: 1}, callsOf(g), way)
	}
}

// To a client that has gone nothing is written, whatever became of its call.
func TestDependencyErrorOfClientThatIsGone(t *testing.T) {
	for _, test := range dependencyAnswers {
		synctest.Test(t, func(t *testing.T) {
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}, PauseOn429: true})
			ctx, hangUp := context.WithCancel(t.Context())
			err := test.err(t, d)
			hangUp()
			g.HandlerFunc(answer(err)).ServeHTTP(untouched{t}, newRequest().WithContext(ctx))
			require.EqualValues(t, 1, g.Snapshot().Requests.Counts.Canceled, test.name)
		})
	}
	// The call finds out by itself, and says so in any way.
	for errName, fall := range returns {
		if errName == "nil" {
			continue
		}
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
		ctx, hangUp := context.WithCancelCause(t.Context())
		g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			return d.Do(r.Context(), func(ctx context.Context) error { hangUp(errCause); <-ctx.Done(); return fall(ctx) })
		}).ServeHTTP(untouched{t}, newRequest().WithContext(ctx))
		require.Equal(t, guard.CallCounts{Ignored: 1}, callsOf(g), errName)
	}
}

// A flood of refusals by a breaker is a line a second, as one by a limit is.
func TestLogOfRefusalsByDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g, d := guardedCalls(t, guard.Config{Logger: j.json()}, guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
		h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error { return d.Do(r.Context(), comesTo(nil)) })
		refuse := func(times int) {
			for range times {
				ask(h, "")
			}
		}
		_, permit, err := d.Acquire(t.Context())
		require.NoError(t, err)
		refuse(3)
		permit.Done(nil)
		d.Force(guard.ModeOpen)
		require.Len(t, j.lines(t), 1, "that it was forced")
		refuse(5)
		time.Sleep(time.Second)
		synctest.Wait()
		lines := j.lines(t)
		require.Len(t, lines, 1)
		require.Equal(t, "guard: refused requests", lines[0]["msg"])
		require.Equal(t, []string{"dependency", "level", "msg", "saturated", "shadow"}, keys(lines[0]))
		require.EqualValues(t, 5, lines[0]["dependency"])
		require.EqualValues(t, 3, lines[0]["saturated"])
		refuse(7)
		require.NoError(t, g.Close())
		lines = j.lines(t)
		require.Len(t, lines, 1)
		require.EqualValues(t, 7, lines[0]["dependency"])
		counts := g.Snapshot().Requests.Counts
		require.Equal(t, guard.RefusalCounts{Dependency: 12, Saturated: 3}, counts.Refused)
		require.EqualValues(t, 15, counts.Status5xx)
		require.Zero(t, counts.Failed)
		time.Sleep(time.Hour)
	})
}

// Guarantee 4: who waits just as long as a breaker, or a pause, has him wait, and
// is alone, is let through.
func TestGuarantee4WaitsOfDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := 0
		for seed := range uint64(150) {
			r := rand.New(rand.NewPCG(seed, 11))
			openFor := time.Duration(1 + r.Int64N(int64(20*time.Second)))
			g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{
				MinCalls: 1 + r.IntN(3), OpenFor: max(openFor, time.Millisecond), MaxOpenFor: 3 * max(openFor, time.Millisecond),
				Probes: 1 + r.IntN(3), Window: time.Duration(1+r.IntN(60)) * time.Second, PauseOn429: true,
			})
			client := http.Client{Transport: d.Transport(statuses(func() int { return []int{200, 429, 503, 503}[r.IntN(4)] }))}
			h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
				out := httptest.NewRequest(http.MethodGet, "http://db", nil).WithContext(r.Context())
				out.RequestURI = ""
				resp, err := client.Do(out)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				return d.CheckResponse(resp)
			})
			if r.IntN(2) == 0 { // the route refuses for it
				h = newRoute(t, g, "r", guard.RouteConfig{Needs: []*guard.Dependency{d}}).Handler(h)
			}
			must := false // get through
			for range 60 {
				w := ask(h, "")
				refused := w.Code == http.StatusBadGateway && strings.Contains(w.Body.String(), "dependency-open")
				require.False(t, must && refused, "seed %d: %v", seed, w)
				after := w.Header().Get("Retry-After")
				require.True(t, !refused || after != "", "all of these end")
				if must = after != ""; !must {
					time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
					continue
				}
				seconds, err := strconv.Atoi(after)
				require.NoError(t, err)
				require.Positive(t, seconds)
				if refused && r.IntN(4) == 0 { // the time left is told, not that of the first refusal
					time.Sleep(time.Duration(seconds) * time.Second / 3)
					must = false
					continue
				}
				waits++
				time.Sleep(time.Duration(seconds) * time.Second)
			}
		}
		require.Greater(t, waits, 1000)
	})
}

// statuses is a transport whose responses have the statuses that it returns.
type statuses func() int

func (s statuses) RoundTrip(r *http.Request) (*http.Response, error) {
	status, h := s(), http.Header{}
	if status == http.StatusTooManyRequests {
		h.Set("Retry-After", "3")
	}
	return &http.Response{StatusCode: status, Header: h, Body: http.NoBody, Request: r}, nil
}

// What a dependency says of when to come back is not believed where the breaker
// is known to refuse for longer.
func TestFailureNamesTheLongerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{MinCalls: 1, OpenFor: 30 * time.Second})
		resp := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"3"}}, Body: http.NoBody}
		h := g.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			return d.Do(r.Context(), func(context.Context) error { return d.CheckResponse(resp) })
		})
		w := ask(h, "")
		require.Equal(t, http.StatusBadGateway, w.Code)
		require.Equal(t, guard.StateOpen, d.State())
		seconds, err := strconv.Atoi(w.Header().Get("Retry-After"))
		require.NoError(t, err)
		time.Sleep(time.Duration(seconds) * time.Second)
		assert.NotContains(t, ask(h, "").Body.String(), "dependency-open", "after %d s", seconds)
	})
}
