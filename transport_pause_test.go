package guard_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// retryAfters are what upstreams have been seen to send, and how long a pause it
// asks for; the clock of a bubble begins at midnight, 2000-01-01 UTC.
var retryAfters = map[string]struct {
	lines []string
	want  time.Duration // 0: none
}{
	"seconds":                {[]string{"5"}, 5 * time.Second},
	"spaces":                 {[]string{" \t5 "}, 5 * time.Second},
	"zeros":                  {[]string{"00005"}, 5 * time.Second},
	"as long as may be":      {[]string{"60"}, time.Minute},
	"longer than may be":     {[]string{"61"}, time.Minute},
	"longer than a Duration": {[]string{"9223372037"}, time.Minute},
	"more than an int64":     {[]string{"9223372036854775808"}, time.Minute},
	"absurd":                 {[]string{strings.Repeat("9", 1000)}, time.Minute},
	"zero":                   {[]string{"0"}, 0},
	"negative":               {[]string{"-5"}, 0},
	"a sign":                 {[]string{"+5"}, 0},
	"a fraction":             {[]string{"5.5"}, 0},
	"an exponent":            {[]string{"1e9"}, 0},
	"a unit":                 {[]string{"5s"}, 0},
	"hexadecimal":            {[]string{"0x5"}, 0},
	"a list":                 {[]string{"5, 6"}, 0},
	"other digits":           {[]string{"\u0665"}, 0},
	"junk":                   {[]string{"soon"}, 0},
	"empty":                  {[]string{""}, 0},
	"none":                   {nil, 0},
	"a date":                 {[]string{"Sat, 01 Jan 2000 00:00:05 GMT"}, 5 * time.Second},
	"a date, as of old":      {[]string{"Saturday, 01-Jan-00 00:00:05 GMT"}, 5 * time.Second},
	"a date, as C has it":    {[]string{"Sat Jan  1 00:00:05 2000"}, 5 * time.Second},
	"a date far off":         {[]string{"Fri, 31 Dec 9999 23:59:59 GMT"}, time.Minute},
	"a date past":            {[]string{"Fri, 31 Dec 1999 23:59:59 GMT"}, 0},
	"a date long past":       {[]string{"Mon, 01 Jan 0001 00:00:00 GMT"}, 0},
	"a date now":             {[]string{"Sat, 01 Jan 2000 00:00:00 GMT"}, 0},
	"a date that is none":    {[]string{"Sat, 31 Feb 2000 00:00:05 GMT"}, 0},
	"several lines":          {[]string{"5", "7"}, 5 * time.Second}, // the first counts, as with http.Header.Get
}

// answer429 makes a call that is answered with 429.
func answer429(tb testing.TB, u *upstream, lines ...string) error {
	tb.Helper()
	var headers []string
	for _, line := range lines {
		headers = append(headers, "Retry-After", line)
	}
	resp, err := sendThrough(tb.Context(), u.Dependency, answering(429, http.NoBody, headers...))
	require.NoError(tb, err)
	err = u.CheckResponse(resp)
	require.ErrorIs(tb, err, guard.ErrThrottled)
	require.NoError(tb, resp.Body.Close())
	u.requireCall(tb, guard.OutcomeAnswered)
	return err
}

func try(u *upstream) error {
	return u.Do(context.Background(), func(context.Context) error { return nil })
}

func waitOf(tb testing.TB, err error) time.Duration {
	tb.Helper()
	var e *guard.DependencyError
	require.ErrorAs(tb, err, &e)
	return e.RetryAfter()
}

// A 429 pauses calls for just as long as it asks for, and who waits that long is
// let through.
func TestTransportPause(t *testing.T) {
	for name, test := range retryAfters {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{PauseOn429: true})
			told := waitOf(t, answer429(t, u, test.lines...))
			require.Equal(t, max(test.want, 0) > 0, told > 0)
			if test.want == 0 {
				require.Negative(t, told, "it is not known")
				require.Equal(t, guard.StateClosed, u.State())
				require.NoError(t, try(u))
				return
			}
			require.Equal(t, test.want, told)
			require.Equal(t, guard.StateOpen, u.State())
			require.Equal(t, test.want, u.snapshot().PausedFor)
			err := try(u)
			require.ErrorIs(t, err, guard.ErrThrottled)
			require.NotErrorIs(t, err, guard.ErrOpen)
			require.Equal(t, test.want, waitOf(t, err))
			time.Sleep(test.want - 1)
			require.ErrorIs(t, try(u), guard.ErrThrottled)
			require.EqualValues(t, 1, waitOf(t, err), "reckoned when it is asked for")
			time.Sleep(time.Nanosecond)
			require.NoError(t, try(u))
			require.Equal(t, guard.StateClosed, u.State())
			require.Zero(t, u.snapshot().Counts.Failed)
			require.EqualValues(t, 2, u.snapshot().Counts.Throttled)
		})
	}
}

// Without PauseOn429, or with another status, nothing pauses.
func TestTransportNoPause(t *testing.T) {
	for pauses, status := range map[bool]int{false: 429, true: 403} {
		u := newUpstream(t, guard.DependencyConfig{PauseOn429: pauses})
		resp, err := sendThrough(t.Context(), u.Dependency, answering(status, http.NoBody, "Retry-After", "5"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, try(u))
	}
}

// Of several pauses the longest counts, and what is told of them is one change.
func TestTransportPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		g := newGuard(t, guard.Config{Hooks: guard.Hooks{BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e.To.String())
		}}})
		d, err := g.Dependency("api", guard.DependencyConfig{PauseOn429: true})
		require.NoError(t, err)
		ready, answers := make(chan struct{}), []string{"5", "9", "3"}
		var all sync.WaitGroup
		for i, after := range answers { // all are on their way when the first comes back
			all.Go(func() {
				resp, err := sendThrough(t.Context(), d, base(func(r *http.Request) (*http.Response, error) {
					<-ready
					time.Sleep(time.Duration(i))
					return answering(429, nil, "Retry-After", after)(r)
				}))
				require.NoError(t, err)
				require.Nil(t, resp.Body)
			})
		}
		synctest.Wait()
		close(ready)
		all.Wait()
		require.Equal(t, 9*time.Second-1, g.Snapshot().Dependencies[0].PausedFor)
		time.Sleep(9*time.Second - 1)
		require.Equal(t, guard.StateClosed, d.State())
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{"open", "closed"}, told)
	})
}

// A pause is no failure, and neither makes the breaker open nor stay open for
// longer than it would.
func TestTransportPauseAndTheBreaker(t *testing.T) {
	config := guard.DependencyConfig{PauseOn429: true, MinCalls: 2, FailureRate: 1, OpenFor: time.Second, MaxOpenFor: time.Minute}
	fail := func(t *testing.T, u *upstream) {
		t.Helper()
		_ = u.Do(t.Context(), func(context.Context) error { return errSource })
		u.requireCall(t, guard.OutcomeFailed)
	}
	bubble(t, "no failure", func(t *testing.T) {
		u := newUpstream(t, config)
		for range 20 {
			answer429(t, u, "1")
			time.Sleep(time.Second)
		}
		require.NoError(t, try(u))
		s := u.snapshot()
		require.EqualValues(t, 20, s.Counts.Answered)
		require.Zero(t, s.Window.Failed)
		require.Zero(t, s.Window.Streak)
	})
	bubble(t, "as a probe", func(t *testing.T) {
		u := newUpstream(t, config)
		fail(t, u)
		fail(t, u)
		open := u.snapshot().NextProbe
		require.InDelta(t, time.Second, open, float64(time.Second)/10)
		time.Sleep(open)
		require.Equal(t, guard.StateHalfOpen, u.State())
		answer429(t, u, "30") // alive: the breaker closes, but calls pause
		require.Equal(t, guard.StateOpen, u.State())
		err := try(u)
		require.ErrorIs(t, err, guard.ErrThrottled)
		require.Equal(t, 30*time.Second, waitOf(t, err))
		time.Sleep(30 * time.Second)
		require.Equal(t, guard.StateClosed, u.State())
		time.Sleep(time.Minute) // the success that it would find in the window is not what this is about
		fail(t, u)
		fail(t, u)
		require.InDelta(t, time.Second, u.snapshot().NextProbe, float64(time.Second)/10, "as long as at first")
	})
	for pause, open := range map[string]time.Duration{"shorter": time.Minute, "longer": time.Second} {
		bubble(t, "while open, "+pause, func(t *testing.T) {
			c := config
			c.OpenFor = open
			u := newUpstream(t, c)
			go func() { // it began before the breaker opened
				resp, err := sendThrough(t.Context(), u.Dependency, stubborn(time.Millisecond, answering(429, nil, "Retry-After", "10")))
				if err == nil && resp.Body != nil {
					_ = resp.Body.Close()
				}
			}()
			synctest.Wait()
			_ = u.Do(t.Context(), func(context.Context) error { return errSource })
			_ = u.Do(t.Context(), func(context.Context) error { return errSource })
			opened := u.snapshot().NextProbe
			time.Sleep(time.Millisecond)
			synctest.Wait()
			err := try(u)
			want, wait := guard.ErrThrottled, 10*time.Second
			if open > wait {
				want, wait = guard.ErrOpen, opened-time.Millisecond
			}
			require.ErrorIs(t, err, want)
			require.Equal(t, wait, waitOf(t, err), "the longer of the two")
			time.Sleep(wait - 1)
			require.Error(t, try(u))
			time.Sleep(time.Nanosecond)
			require.Equal(t, guard.StateHalfOpen, u.State())
			require.NoError(t, try(u))
			require.Equal(t, guard.StateClosed, u.State())
		})
	}
	bubble(t, "forced", func(t *testing.T) {
		u := newUpstream(t, config)
		answer429(t, u, "30")
		u.Force(guard.ModeClosed)
		require.NoError(t, try(u))
		<-u.done
		answer429(t, u, "30")
		require.NoError(t, try(u), "closed is closed")
		u.Force(guard.ModeAuto)
		require.NoError(t, try(u), "given back with nothing counted")
		require.Equal(t, guard.StateClosed, u.State())
		<-u.done
		<-u.done
		answer429(t, u, "30")
		u.Force(guard.ModeOpen)
		err := try(u)
		require.ErrorIs(t, err, guard.ErrOpen)
		require.Negative(t, waitOf(t, err), "nobody knows for how long")
	})
	bubble(t, "a body of the 429", func(t *testing.T) {
		u := newUpstream(t, config)
		resp, err := sendThrough(t.Context(), u.Dependency, answering(429, bodyOf("slow down"), "Retry-After", "5"))
		require.NoError(t, err)
		require.ErrorIs(t, try(u), guard.ErrThrottled, "from the header on")
		time.Sleep(3 * time.Second)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 2*time.Second, waitOf(t, try(u)))
	})
}

// Shadow mode refuses nothing, whatever the upstream asks for.
func TestTransportPauseInShadow(t *testing.T) {
	g := newGuard(t, guard.Config{Shadow: true})
	d, err := g.Dependency("api", guard.DependencyConfig{PauseOn429: true})
	require.NoError(t, err)
	for range 3 {
		resp, err := sendThrough(t.Context(), d, answering(429, http.NoBody, "Retry-After", "5"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	s := g.Snapshot().Dependencies[0]
	require.EqualValues(t, 2, s.Counts.Throttled)
	require.EqualValues(t, 3, s.Counts.Answered)
	require.Zero(t, s.InFlight)
}

// CheckResponse hands the upstream's Retry-After on, in the 502, bounded.
func TestCheckResponse(t *testing.T) {
	d := newDependency(t, guard.DependencyConfig{})
	require.Error(t, d.CheckResponse(nil))
	var failed *guard.DependencyError
	require.NotErrorAs(t, d.CheckResponse(nil), &failed)
	for name, test := range retryAfters {
		bubble(t, name, func(t *testing.T) {
			u := newUpstream(t, guard.DependencyConfig{})
			for _, status := range []int{429, 503, 200} {
				h := http.Header{"Retry-After": slices.Clone(test.lines)}
				err := u.CheckResponse(&http.Response{StatusCode: status, Header: h})
				if status == 200 {
					require.NoError(t, err)
					continue
				}
				got := requireAnswer(t, u.guard, newRequest(), err, http.StatusBadGateway, "dependency-failed")
				require.EqualValues(t, math.Ceil(test.want.Seconds()), got.RetryAfter)
				require.Equal(t, status == 429, errors.Is(err, guard.ErrThrottled))
			}
			require.Zero(t, u.snapshot().Counts, "it counts nothing")
			require.NoError(t, try(u), "and pauses nothing")
		})
	}
}
