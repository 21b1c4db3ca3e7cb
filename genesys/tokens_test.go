package genesys_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

// A mint makes tokens and knows which are good.
type mint struct {
	made int
	fail error
	life time.Duration // 0: not told
	take time.Duration
	good string // "": all are
	hook func() // called by RoundTrip, if it is not nil
	sent []string
}

func (m *mint) fetch(ctx context.Context) (genesys.Token, error) {
	m.made++
	t := genesys.Token{Value: strconv.Itoa(m.made)}
	if m.life != 0 {
		t.Expires = time.Now().Add(m.life)
	}
	select {
	case <-time.After(m.take):
		return t, m.fail
	case <-ctx.Done():
		return genesys.Token{}, ctx.Err()
	}
}

// RoundTrip implements http.RoundTripper.
func (m *mint) RoundTrip(r *http.Request) (*http.Response, error) {
	got := r.Header.Get("Authorization")
	m.sent = append(m.sent, got)
	if m.hook != nil {
		m.hook()
	}
	if m.good != "" && got != "Bearer "+m.good {
		return answer(http.StatusUnauthorized, ""), nil
	}
	return answer(http.StatusOK, ""), nil
}

// call sends a request with a token and returns what became of it.
func (m *mint) call(t *testing.T, tokens *genesys.TokenTransport) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://cloud/", nil)
	require.NoError(t, err)
	resp, err := tokens.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	require.NoError(t, resp.Body.Close())
	return strconv.Itoa(resp.StatusCode)
}

func newMint(t *testing.T, c genesys.TokenConfig) (*mint, *genesys.TokenTransport) {
	t.Helper()
	m := new(mint)
	c.Fetch, c.Base = m.fetch, m
	tokens, err := genesys.NewTokenTransport(c)
	require.NoError(t, err)
	return m, tokens
}

// After a failure the end-point is left alone: for 1 s, 2 s, 4 s, and so on.
func TestBackoffAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{MaxBackoff: 5 * time.Second})
		m.fail = errors.New("login is down")
		for i, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
			require.Contains(t, m.call(t, tokens), "login is down")
			require.Equal(t, i+1, m.made)
			time.Sleep(wait - 1)
			require.Equal(t, "genesys: no token: login is down (next fetch in 0s)", m.call(t, tokens))
			require.Equal(t, i+1, m.made, "nobody asks during the back-off")
			time.Sleep(time.Nanosecond)
		}
		m.fail = nil
		require.Equal(t, "200", m.call(t, tokens))
		m.good = "nothing is"
		time.Sleep(time.Second)
		m.fail = errors.New("down again")
		require.Contains(t, m.call(t, tokens), "down again")
		time.Sleep(time.Second)
		m.fail, m.good = nil, "8"
		require.Equal(t, "200", m.call(t, tokens), "it begins with 1 s again after a success")
	})
}

// A fresh token that is refused, too, is not replaced for a while: something that
// is refused to this account must not fetch a token with every request.
func TestTokensInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		m.good = "none"
		require.Equal(t, "401", m.call(t, tokens))
		require.Equal(t, "401", m.call(t, tokens))
		require.Equal(t, 1, m.made)
		require.Len(t, m.sent, 2, "and nothing is repeated")
		time.Sleep(time.Second)
		require.Equal(t, "401", m.call(t, tokens), "once, and no more")
		require.Equal(t, 2, m.made)
		require.Len(t, m.sent, 4)
		for range 100 {
			require.Equal(t, "401", m.call(t, tokens))
		}
		require.Equal(t, 2, m.made)
		require.Len(t, m.sent, 104)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://cloud/", io.MultiReader(strings.NewReader("{}")))
		require.NoError(t, err)
		resp, err := tokens.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		synctest.Wait()
		require.Equal(t, 2, m.made, "nor for a body that cannot be repeated")
		m.good = "2"
		require.Equal(t, "200", m.call(t, tokens))
		time.Sleep(time.Second)
		for want := 3; want < 10; want++ { // those that help are not held up
			m.good = strconv.Itoa(want)
			require.Equal(t, "200", m.call(t, tokens))
			require.Equal(t, want, m.made)
		}
	})
}

// That a token was in vain which somebody has replaced already says nothing of the
// one that he got.
func TestTokensInVainThatAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		require.Equal(t, "200", m.call(t, tokens))
		m.good = "2"
		m.hook = func() { // with the second token on its way, somebody gets a third
			if len(m.sent) == 3 {
				m.good = "3"
				require.Equal(t, "200", m.call(t, tokens))
			}
		}
		require.Equal(t, "401", m.call(t, tokens))
		m.good = "4"
		require.Equal(t, "200", m.call(t, tokens))
	})
}

// There is no new token: the refusal is not handed on, and so it is closed.
func TestRefusalWithoutANewToken(t *testing.T) {
	m := new(mint)
	refused, refusing := new(closes), false
	tokens := newTokens(t, genesys.TokenConfig{Fetch: m.fetch, Base: roundTrip(func(*http.Request) (*http.Response, error) {
		if refusing {
			return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: refused}, nil
		}
		return answer(http.StatusOK, ""), nil
	})})
	require.Equal(t, "200", m.call(t, tokens))
	refusing, m.fail = true, errors.New("login is down")
	require.Contains(t, m.call(t, tokens), "login is down")
	require.True(t, refused.closed)
}

// A token whose end is known is replaced before it, and nobody waits for that.
func TestTokensAreRenewedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		m.life, m.take = time.Hour, 2*time.Second
		require.Equal(t, "200", m.call(t, tokens))
		time.Sleep(58 * time.Minute)
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, 1, m.made)
		time.Sleep(time.Minute) // within the last minute of its hour
		began := time.Now()
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, "200", m.call(t, tokens))
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Equal(t, 2, m.made, "one is being made")
		time.Sleep(3 * time.Second)
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, []string{"Bearer 1", "Bearer 1", "Bearer 1", "Bearer 1", "Bearer 2"}, m.sent)

		time.Sleep(24 * time.Hour) // nobody called in time: now he has to wait
		began = time.Now()
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, 3, m.made)
	})
}

// The end-point fails while the token is still good: that harms nobody.
func TestRenewalAheadThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		m.life = 10 * time.Minute
		require.Equal(t, "200", m.call(t, tokens))
		m.fail = errors.New("down")
		time.Sleep(9*time.Minute + time.Second)
		for range 50 {
			require.Equal(t, "200", m.call(t, tokens))
			time.Sleep(time.Second)
			synctest.Wait()
		}
		require.Greater(t, m.made, 3, "it is tried again")
		require.Less(t, m.made, 12, "with a back-off")
		time.Sleep(9 * time.Second)
		require.Contains(t, m.call(t, tokens), "down", "but in the end it is over")
	})
}

// Tokens that are born expired are used all the same, and fetched once in a
// back-off: clocks differ.
func TestTokensThatAreBornExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		m.life = -time.Hour
		for range 3 {
			for range 100 {
				require.Equal(t, "200", m.call(t, tokens))
				synctest.Wait()
			}
			time.Sleep(time.Second)
		}
		require.Equal(t, 3, m.made)
	})
}

// A body that cannot be repeated costs its own request, and not the next one.
func TestRefusalRenewsForTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		require.Equal(t, "200", m.call(t, tokens))
		m.good = "2"
		for _, want := range []int{http.StatusUnauthorized, http.StatusOK} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://cloud/", io.MultiReader(strings.NewReader("{}")))
			require.NoError(t, err)
			resp, err := tokens.RoundTrip(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, resp.StatusCode)
			synctest.Wait()
			require.Equal(t, 2, m.made)
		}
	})
}

// A Fetch that hangs ends with its Timeout, and counts against the dependency; a
// caller with less patience does not.
func TestFetchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{Timeout: 3 * time.Second})
		m.take = time.Hour
		d := depend(t, genesys.Cloud, guard.DependencyConfig{Timeout: guard.NoTimeout, FairShare: 2 * time.Second}, tokens)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cloud/", nil)
		require.NoError(t, err)
		_, _, err = read(d.client.Do(r))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, genesys.ErrToken)
		require.Equal(t, guard.CallCounts{Ignored: 1}, d.counts())

		began := time.Now()
		_, _, err = get(t, d.client, "http://cloud/")
		require.ErrorIs(t, err, genesys.ErrToken)
		require.Equal(t, 2*time.Second, time.Since(began), "he joined the fetch that was under way")
		require.Equal(t, guard.CallCounts{Ignored: 1, Failed: 1}, d.counts())
		synctest.Wait()
		require.Equal(t, 1, m.made)
	})
}

// A Fetch that panics, or ends its goroutine, is an error to all who wait.
func TestFetchThatDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func(){"the Fetch panicked: boom": func() { panic("boom") }, "has ended its goroutine": runtime.Goexit} {
		tokens := newTokens(t, genesys.TokenConfig{Fetch: func(context.Context) (genesys.Token, error) {
			end()
			return genesys.Token{}, nil
		}})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://cloud/", nil)
		require.NoError(t, err)
		_, err = tokens.RoundTrip(r)
		require.ErrorIs(t, err, genesys.ErrToken)
		require.ErrorContains(t, err, name)
	}
}

// What a breaker in front of the token end-point says is not hidden: it knows
// when to come back, and what it counts is not counted twice.
func TestTokenEndPointWithABreakerOfItsOwn(t *testing.T) {
	fake := start(t)
	g := newGuard(t, new(journal))
	login, err := g.Dependency("login", guard.DependencyConfig{})
	require.NoError(t, err)
	cloud, err := g.Dependency("cloud", genesys.Cloud.Config(guard.DependencyConfig{}))
	require.NoError(t, err)
	who := credentials(fake)
	who.Transport = login.Transport(transport(t))
	client := &http.Client{Transport: cloud.Transport(newTokens(t, genesys.TokenConfig{Fetch: who.Fetch, Base: transport(t)}))}
	_, _, err = get(t, client, fake.Cloud.URL+"/api/v2/users")
	require.NoError(t, err)
	login.Force(guard.ModeOpen)
	fake.ExpireTokens()
	_, _, err = get(t, client, fake.Cloud.URL+"/api/v2/users")
	var guarded *guard.DependencyError
	require.ErrorAs(t, err, &guarded)
	require.Equal(t, "login", guarded.Dependency())
	require.ErrorIs(t, err, guard.ErrOpen)
	require.Equal(t, guard.CallCounts{Succeeded: 1, Ignored: 1}, g.Snapshot().Dependencies[1].Counts)
}

func TestTokenConfigErrorsNameFieldAndValue(t *testing.T) {
	fetch := func(context.Context) (genesys.Token, error) { return genesys.Token{}, nil }
	for want, c := range map[string]genesys.TokenConfig{
		"TokenConfig.Fetch is nil, want a function":                    {},
		"TokenConfig.Timeout is -1ns, want >= 0":                       {Fetch: fetch, Timeout: -1},
		"TokenConfig.Backoff is -1ns, want >= 0":                       {Fetch: fetch, Backoff: -1},
		"TokenConfig.MaxBackoff is -1ns, want >= 0":                    {Fetch: fetch, MaxBackoff: -1},
		"TokenConfig.MaxBackoff is 1s, less than the Backoff of 2s":    {Fetch: fetch, Backoff: 2 * time.Second, MaxBackoff: time.Second},
		"TokenConfig.MaxBackoff is 500ms, less than the Backoff of 1s": {Fetch: fetch, MaxBackoff: 500 * time.Millisecond},
	} {
		_, err := genesys.NewTokenTransport(c)
		require.ErrorContains(t, err, want)
	}
	_, err := genesys.NewTokenTransport(genesys.TokenConfig{Fetch: fetch, Backoff: time.Hour})
	require.NoError(t, err, "the MaxBackoff follows")
}

// CloseIdleConnections reaches the base, for http.Client.
func TestCloseIdleConnections(t *testing.T) {
	base := new(idle)
	tokens := newTokens(t, genesys.TokenConfig{Fetch: new(mint).fetch, Base: base})
	(&http.Client{Transport: tokens}).CloseIdleConnections()
	require.Equal(t, 1, base.closed)
	tokens.With(new(mint)).CloseIdleConnections()
	require.NotNil(t, tokens.With(nil))
}

type idle struct {
	mint
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }
