package benchmarks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of this file prove that every contender does the job that is timed:
// one that admitted all, or never opened, would win every race.

// few is a quota small enough to be used up, and long enough to stay so.
var few = quota{rate: 5, burst: 5, window: time.Hour}

func TestLimiters(t *testing.T) {
	for _, l := range limiters {
		t.Run(l.name, func(t *testing.T) {
			take := l.build(t, generous)
			for range 1000 {
				if !take() {
					require.Equal(t, "failsafe-smooth", l.name, "refused with tokens left")
					time.Sleep(time.Nanosecond)
				}
			}
			take = l.build(t, few)
			admitted := 0
			for range 100 {
				if take() {
					admitted++
				}
			}
			if l.name == "failsafe-smooth" {
				require.Equal(t, 1, admitted, "a leaky bucket admits one at a time")
				return
			}
			require.Equal(t, few.burst, admitted)
		})
	}
}

func TestKeyedLimiters(t *testing.T) {
	for _, l := range keyedLimiters {
		t.Run(l.name, func(t *testing.T) {
			take := l.build(t, few, 1000)
			for n := range 100 {
				admitted := 0
				for range 10 {
					if take(strconv.Itoa(n)) {
						admitted++
					}
				}
				require.Equal(t, few.burst, admitted, "key %d", n)
			}
		})
	}
}

func TestBreakers(t *testing.T) {
	for _, b := range breakers {
		t.Run(b.name+"/one-in-four", func(t *testing.T) {
			call := b.build(t)
			for n := range 400 {
				asked := false
				var want error
				if n%4 == 0 {
					want = errBroken
				}
				err := call(func() error { asked = true; return want })
				require.True(t, asked, "call %d was refused", n)
				require.ErrorIs(t, err, want)
			}
		})
		t.Run(b.name+"/opens", func(t *testing.T) {
			call := b.build(t)
			require.NoError(t, call(func() error { return nil }))
			require.True(t, trip(call))
			for range 1000 { // the share that is dropped grows, by lot
				_ = call(func() error { return errBroken })
			}
			asked := 0
			for range 100 {
				if call(func() error { asked++; return errBroken }) == nil {
					require.Fail(t, "refused without an error")
				}
			}
			if b.partly {
				require.Less(t, asked, 50)
				return
			}
			require.Zero(t, asked)
		})
	}
}

func TestClients(t *testing.T) {
	for _, c := range clients {
		for _, ends := range []time.Duration{0, callTimeout} {
			t.Run(c.name+"/"+ends.String(), func(t *testing.T) { testClient(t, c, ends) })
		}
	}
}

func testClient(t *testing.T, c client, ends time.Duration) {
	t.Helper()
	calls, ended, next := 0, false, &upstream{status: http.StatusOK}
	rt := c.build(t, tripper(func(r *http.Request) (*http.Response, error) {
		calls++
		ended = r.Context().Done() != nil
		return next.RoundTrip(r)
	}), ends)
	r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil)
	resp, err := rt.RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 1, calls)
	if c.name == "bare" {
		return
	}
	if c.name != "hystrix-go" { // which leaves the call behind
		require.Equal(t, ends > 0, ended)
	}
	require.True(t, next.fail(rt, r), "it does not open")
	calls = 0
	_, err = rt.RoundTrip(r)
	require.Error(t, err)
	require.Zero(t, calls, "it is not open")
}

func TestHandlers(t *testing.T) {
	for _, h := range handlers {
		t.Run(h.name, func(t *testing.T) {
			served := 0
			guarded := h.build(t, few, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				served++
				w.WriteHeader(http.StatusNoContent)
			}))
			statuses := map[int]int{}
			for range 20 {
				w := httptest.NewRecorder()
				guarded.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/visits/1", nil))
				statuses[w.Code]++
				if w.Code != http.StatusNoContent {
					require.NotZero(t, w.Body.Len(), "refused without a body")
				}
			}
			if h.name == "bare" {
				require.Equal(t, 20, served)
				return
			}
			require.Equal(t, few.burst, served)
			require.Equal(t, few.burst, statuses[http.StatusNoContent])
			require.Equal(t, 20-few.burst, statuses[http.StatusServiceUnavailable]+statuses[http.StatusTooManyRequests])
		})
	}
}

func TestBounds(t *testing.T) {
	const most = 2
	for _, b := range bounds {
		t.Run(b.name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			guarded := b.build(t, most, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				entered <- struct{}{}
				<-leave
				w.WriteHeader(http.StatusNoContent)
			}))
			serve := func() int {
				w := httptest.NewRecorder()
				guarded.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				return w.Code
			}
			statuses := make(chan int, most)
			places := most
			if b.finds {
				places = 1 // how many more is for it to find out
			}
			for range places {
				go func() { statuses <- serve() }()
				<-entered
			}
			if !b.finds {
				require.NotEqual(t, http.StatusNoContent, serve(), "one more than may be was let in")
			}
			close(leave)
			for range places {
				require.Equal(t, http.StatusNoContent, <-statuses)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	for _, timed := range tasks {
		for _, r := range requests {
			if r.does != nil && !r.does(timed.task) {
				continue
			}
			t.Run(timed.name+"/"+r.name, func(t *testing.T) { testRequest(t, r, timed.task) })
		}
	}
}

func testRequest(t *testing.T, r request, does task) {
	t.Helper()
	var outcome error
	calls, ended := 0, false
	does.call = func(ctx context.Context) error {
		calls++
		ended = ctx.Done() != nil
		return outcome
	}
	serve := func(h http.Handler, client string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = client
		h.ServeHTTP(w, r)
		return w.Code
	}
	refused := []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}
	many := addresses(100)

	does.all, does.each = few, generous
	h := r.build(t, does)
	for range few.burst {
		require.Equal(t, http.StatusNoContent, serve(h, many[0]))
	}
	require.Equal(t, few.burst, calls)
	if r.name == "bare" {
		return
	}
	require.Equal(t, does.timeout > 0, ended)
	require.Contains(t, refused, serve(h, many[0]))
	require.Contains(t, refused, serve(h, many[1]), "not all share the limit")
	require.Equal(t, few.burst, calls)

	if does.clients > 0 {
		does.all, does.each = generous, few
		h = r.build(t, does)
		for _, client := range many {
			for range few.burst {
				require.Equal(t, http.StatusNoContent, serve(h, client))
			}
			require.Contains(t, refused, serve(h, client))
		}
	}

	does.all, does.each = generous, generous
	h = r.build(t, does)
	outcome = errBroken
	for range 50 {
		require.Equal(t, http.StatusBadGateway, serve(h, many[0]))
	}
	calls = 0
	require.Equal(t, http.StatusBadGateway, serve(h, many[0]))
	require.Zero(t, calls, "the breaker is not open")
}
