package guard_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// A witness keeps every event, and may be given more to do on each.
type witness struct {
	also func() // nil: nothing

	mu        sync.Mutex
	requests  []guard.RequestEvent
	refusals  []guard.RefusalEvent
	calls     []guard.CallEvent
	breakers  []guard.BreakerEvent
	tunes     []guard.TuneEvent
	panics    []guard.PanicEvent
	healths   []guard.HealthEvent
	overloads []guard.OverloadEvent
}

func tellTo[E any](w *witness, to *[]E) func(context.Context, E) {
	return func(_ context.Context, e E) {
		w.mu.Lock()
		*to = append(*to, e)
		w.mu.Unlock()
		if w.also != nil {
			w.also()
		}
	}
}

func (w *witness) hooks() guard.Hooks {
	return guard.Hooks{
		RequestDone: tellTo(w, &w.requests), Refused: tellTo(w, &w.refusals), CallDone: tellTo(w, &w.calls),
		BreakerChanged: tellTo(w, &w.breakers), Tuned: tellTo(w, &w.tunes), Panicked: tellTo(w, &w.panics),
		HealthChanged:   tellTo(w, &w.healths),
		OverloadChanged: tellTo(w, &w.overloads),
	}
}

// forget drops what has been told so far, and returns how many events it was.
func (w *witness) forget() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.requests) + len(w.refusals) + len(w.calls) + len(w.breakers) + len(w.tunes) + len(w.panics) + len(w.healths)
	w.requests, w.refusals, w.calls, w.breakers, w.tunes, w.panics, w.healths = nil, nil, nil, nil, nil, nil, nil
	return n
}

// accounted is how many requests are accounted for.
func accounted(c guard.RequestCounts) uint64 {
	return c.Served + c.Failed + c.Panicked + c.Aborted + c.Canceled + c.Hijacked + c.Refused.Total()
}

// A overtakeable is a recorder that can be taken over.
type overtakeable struct{ *httptest.ResponseRecorder }

func (overtakeable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, nil }

// errExited is what runApart returns where the goroutine has ended.
var errExited = errors.New("the goroutine has exited")

// runApart serves a request in a goroutine of its own, and returns what came out of
// the handler: nil, what it panicked with, or errExited.
func runApart(h http.Handler, r *http.Request) any {
	out := make(chan any, 1)
	go func() {
		var p any = errExited
		defer func() {
			if q := recover(); q != nil {
				p = q
			}
			out <- p
		}()
		h.ServeHTTP(overtakeable{httptest.NewRecorder()}, r)
		p = nil
	}()
	return <-out
}

// A guarded is a guard with a route, a dependency, and whoever is told of them.
type guarded struct {
	*witness
	g     *guard.Guard
	d     *guard.Dependency
	rt    *guard.Route
	again http.Handler // what is being tested, for one more request
}

// requestScenes are things that become of a request, one each.
var requestScenes = []struct {
	name    string
	config  guard.Config
	route   guard.RouteConfig
	needs   bool           // the route needs the dependency
	before  func(*guarded) //
	do      func(*guarded) guard.HandlerFunc
	outcome guard.RequestOutcome
	status  int
	out     any    // what comes out of the handler
	refused error  // what the event matches; nil: none is told
	by      string // the client limit, or the dependency, of that
	at      string // the stage that refuses: "guard", "route", "call"
}{
	{name: "served", do: doing(noContent), status: 204},
	{name: "nothing written", do: doing(func(http.ResponseWriter, *http.Request) {}), status: 200},
	{name: "an answer", do: answers(guard.Forbidden("")), status: 403},
	{name: "any error", do: answers(errors.New(secret)), outcome: guard.RequestFailed, status: 500},
	{name: "a 503 of the handler's", do: answers(&guard.Error{Status: 503}), outcome: guard.RequestFailed, status: 503},
	{name: "a call that failed", do: func(s *guarded) guard.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) error {
			return s.d.Do(r.Context(), func(context.Context) error { return errors.New(secret) })
		}
	}, outcome: guard.RequestFailed, status: 502},
	{name: "a panic", do: doing(func(http.ResponseWriter, *http.Request) { panic(secret) }), outcome: guard.RequestPanicked, status: 500},
	{name: "a panic after the header", do: doing(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		panic(secret)
	}), outcome: guard.RequestPanicked, status: 202, out: http.ErrAbortHandler},
	{name: "an abort", do: doing(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), outcome: guard.RequestAborted, out: http.ErrAbortHandler},
	{name: "an error after the header", do: func(*guarded) guard.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusFound)
			return errors.New(secret)
		}
	}, outcome: guard.RequestAborted, status: 302, out: http.ErrAbortHandler},
	{name: "Goexit", do: doing(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }), outcome: guard.RequestAborted, out: errExited},
	{name: "a client that has gone", do: doing(nil), outcome: guard.RequestCanceled, status: 499},
	{name: "a hijack", do: doing(func(w http.ResponseWriter, _ *http.Request) {
		_, _, _ = w.(http.Hijacker).Hijack()
	}), outcome: guard.RequestHijacked},
	{
		name: "the limit", config: guard.Config{Limit: tokens(1)}, before: func(s *guarded) { _ = runApart(s.again, put()) },
		outcome: guard.RequestRefused, status: 503, refused: guard.ErrLimited, at: "guard",
	},
	{
		name: "a client's limit", config: guard.Config{Clients: []guard.ClientLimit{{Name: "each", Limit: tokens(1)}}},
		before: func(s *guarded) { _ = runApart(s.again, put()) }, outcome: guard.RequestRefused, status: 503, refused: guard.ErrLimited, by: "each", at: "guard",
	},
	{
		name: "the route's limit", route: guard.RouteConfig{Limit: tokens(1)}, before: func(s *guarded) { _ = runApart(s.again, put()) },
		outcome: guard.RequestRefused, status: 503, refused: guard.ErrLimited, at: "route",
	},
	{
		name: "the route's clients", route: guard.RouteConfig{Clients: []guard.ClientLimit{{Limit: tokens(1)}}},
		before: func(s *guarded) { _ = runApart(s.again, put()) }, outcome: guard.RequestRefused, status: 503, refused: guard.ErrLimited, by: "client", at: "route",
	},
	{
		name: "draining", before: func(s *guarded) { _ = s.g.Shutdown(context.Background()) },
		outcome: guard.RequestRefused, status: 503, refused: guard.ErrDraining, at: "guard",
	},
	{
		name: "a need", needs: true, before: func(s *guarded) { s.d.Force(guard.ModeOpen) },
		outcome: guard.RequestRefused, status: 502, refused: guard.ErrOpen, by: "db", at: "route",
	},
	{
		name: "an open breaker", before: func(s *guarded) { s.d.Force(guard.ModeOpen) }, do: calling,
		outcome: guard.RequestRefused, status: 502, refused: guard.ErrOpen, by: "db", at: "call",
	},
	{
		name: "a full bulkhead", before: func(s *guarded) { _, _, _ = s.d.Acquire(context.Background()) }, do: calling,
		outcome: guard.RequestRefused, status: 503, refused: guard.ErrSaturated, by: "db", at: "call",
	},
}

func doing(f func(http.ResponseWriter, *http.Request)) func(*guarded) guard.HandlerFunc {
	return func(*guarded) guard.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) error {
			if f == nil {
				return r.Context().Err()
			}
			f(w, r)
			return nil
		}
	}
}

func answers(err error) func(*guarded) guard.HandlerFunc {
	return func(*guarded) guard.HandlerFunc { return answer(err) }
}

func calling(s *guarded) guard.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) error {
		return s.d.Do(r.Context(), func(context.Context) error { return nil })
	}
}

func put() *http.Request { return httptest.NewRequest(http.MethodPut, "/", nil) }

func newGuarded(t *testing.T, c guard.Config, rc guard.RouteConfig, needs bool) *guarded {
	t.Helper()
	s := &guarded{witness: new(witness)}
	c.Hooks = s.hooks()
	s.g = newGuard(t, c)
	var err error
	s.d, err = s.g.Dependency("db", guard.DependencyConfig{Concurrency: guard.Concurrency{Max: 1}})
	require.NoError(t, err)
	if needs {
		rc.Needs = []*guard.Dependency{s.d}
	}
	s.rt = newRoute(t, s.g, "inner", rc)
	return s
}

// Whatever becomes of a request, and however deep its stages are nested, it is
// told of once, with the innermost route's name, and counted once.
func TestHooksOfRequests(t *testing.T) {
	for shape, wrap := range map[string]func(*guarded, guard.HandlerFunc) http.Handler{
		"guard":  func(s *guarded, h guard.HandlerFunc) http.Handler { return s.g.HandlerFunc(h) },
		"route":  func(s *guarded, h guard.HandlerFunc) http.Handler { return s.rt.HandlerFunc(h) },
		"nested": func(s *guarded, h guard.HandlerFunc) http.Handler { return s.g.Handler(s.rt.HandlerFunc(h)) },
		"deep": func(s *guarded, h guard.HandlerFunc) http.Handler {
			outer, _ := s.g.Route("outer", guard.RouteConfig{})
			mux := http.NewServeMux()
			mux.Handle("/", outer.Handler(s.rt.HandlerFunc(h)))
			return s.g.Handler(s.g.Mux(mux))
		},
	} {
		for _, scene := range requestScenes {
			if shape == "guard" && scene.at == "route" {
				continue
			}
			t.Run(shape+"/"+scene.name, func(t *testing.T) {
				s := newGuarded(t, scene.config, scene.route, scene.needs)
				if scene.do == nil {
					scene.do = doing(noContent)
				}
				s.again = wrap(s, scene.do(s))
				before := 0
				if scene.before != nil {
					scene.before(s)
					before = len(s.requests)
					s.forget()
				}
				r := put()
				if scene.outcome == guard.RequestCanceled {
					ctx, hangUp := context.WithCancel(r.Context())
					hangUp()
					r = r.WithContext(ctx)
				}
				require.Equal(t, scene.out, runApart(s.again, r))

				route := map[string]string{"guard": "", "route": "inner", "nested": "inner", "deep": "inner"}[shape]
				if scene.at == "guard" && shape != "route" {
					route = "" // the request never got to one
				}
				require.Len(t, s.requests, 1)
				got := s.requests[0]
				require.GreaterOrEqual(t, got.Latency, time.Duration(0))
				got.Latency = 0
				require.Equal(t, guard.RequestEvent{Route: route, Method: http.MethodPut, Status: scene.status, Outcome: scene.outcome}, got)

				if scene.outcome == guard.RequestPanicked {
					require.Len(t, s.panics, 1)
					require.Equal(t, secret, s.panics[0].Value)
					require.Equal(t, route, s.panics[0].Route)
					require.Contains(t, string(s.panics[0].Stack), "hooks_test.go")
				} else {
					require.Empty(t, s.panics)
				}
				if scene.refused == nil {
					require.Empty(t, s.refusals)
				} else {
					require.Len(t, s.refusals, 1)
					e := s.refusals[0]
					require.ErrorIs(t, e.Err, scene.refused)
					require.Equal(t, scene.by, e.Client+e.Dependency)
					require.Equal(t, scene.at != "call" && shape != "guard" && route != "", e.Route == "inner")
					require.False(t, e.Shadow)
				}
				snap := s.g.Snapshot()
				require.Zero(t, snap.Requests.InFlight)
				require.EqualValues(t, before+1, accounted(snap.Requests.Counts))
				for _, rt := range snap.Routes {
					require.Zero(t, rt.InFlight)
				}
			})
		}
	}
}

// Who is refused for what goes on at once is told of once, and is not whom the
// place belongs to.
func TestHooksOfOverload(t *testing.T) {
	one := guard.Concurrency{Max: 1}
	for name, s := range map[string]*guarded{
		"guard": newGuarded(t, guard.Config{Concurrency: one}, guard.RouteConfig{}, false),
		"route": newGuarded(t, guard.Config{}, guard.RouteConfig{Concurrency: one}, false),
	} {
		depth := 0
		s.again = s.g.Handler(s.rt.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			if depth++; depth == 1 {
				_ = runApart(s.again, put())
			}
			return nil
		}))
		require.Nil(t, runApart(s.again, put()))
		require.Len(t, s.refusals, 1)
		require.ErrorIs(t, s.refusals[0].Err, guard.ErrOverloaded)
		require.Len(t, s.requests, 2)
		require.Equal(t, []guard.RequestOutcome{guard.RequestRefused, guard.RequestServed},
			[]guard.RequestOutcome{s.requests[0].Outcome, s.requests[1].Outcome}, name)
		require.EqualValues(t, 1, s.g.Snapshot().Requests.Counts.Refused.Overloaded)
	}
}

// Events that were told do not keep the context of the call that caused them.
func TestHooksKeepNoContext(t *testing.T) {
	d, err := newGuard(t, guard.Config{}).Dependency("db", guard.DependencyConfig{MinCalls: 1})
	require.NoError(t, err)
	freed := make(chan struct{})
	func() {
		type key struct{}
		v := new([1 << 20]byte)
		runtime.SetFinalizer(v, func(*[1 << 20]byte) { close(freed) })
		_ = d.Do(context.WithValue(context.Background(), key{}, v), func(context.Context) error { return errors.New("x") })
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(d)
}
