package genesys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// credentials returns those of the fake.
func credentials(fake *genesystest.Server) genesys.ClientCredentials {
	return genesys.ClientCredentials{URL: fake.Login.URL + "/oauth/token", ID: genesystest.ClientID, Secret: genesystest.ClientSecret}
}

// newTokens returns a TokenTransport. Its back-off is so short that no test runs
// into it that does not want to.
func newTokens(tb testing.TB, c genesys.TokenConfig) *genesys.TokenTransport {
	tb.Helper()
	if c.Backoff == 0 {
		c.Backoff = 1
	}
	tokens, err := genesys.NewTokenTransport(c)
	require.NoError(tb, err)
	return tokens
}

// tokensOf returns a TokenTransport with tokens of the fake.
func tokensOf(tb testing.TB, fake *genesystest.Server) *genesys.TokenTransport {
	tb.Helper()
	return newTokens(tb, genesys.TokenConfig{Fetch: credentials(fake).Fetch, Base: transport(tb)})
}

// All tokens expire under 200 callers: one new token, and no outage.
func TestStormOf401s(t *testing.T) {
	const callers = 200
	fake := start(t)
	d := depend(t, genesys.Cloud, guard.DependencyConfig{MinCalls: 5, Timeout: guard.NoTimeout}, tokensOf(t, fake))
	users, query := fake.Cloud.URL+"/api/v2/users", fake.Cloud.URL+"/api/v2/analytics/queues/observations/query"
	_, _, err := get(t, d.client, users)
	require.NoError(t, err)
	require.Equal(t, 1, fake.Login.Requests("/oauth/token"))

	for round := 2; round <= 4; round++ {
		fake.ExpireTokens()
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i := range callers {
			all.Go(func() {
				<-begin
				method, address, body := http.MethodGet, users, io.Reader(nil)
				if i%2 == 0 { // whose body has to be sent twice
					method, address, body = http.MethodPost, query, strings.NewReader(`{"metrics":["oWaiting"]}`)
				}
				r, err := http.NewRequestWithContext(t.Context(), method, address, body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, _, err := read(d.client.Do(r))
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Error(resp, err)
				}
			})
		}
		close(begin)
		all.Wait()
		require.Equal(t, round, fake.Login.Requests("/oauth/token"), "one new token for all")
	}
	require.Equal(t, guard.StateClosed, d.State())
	require.Equal(t, guard.CallCounts{Succeeded: 1 + 3*callers}, d.counts())
	require.Greater(t, fake.Cloud.Requests(""), 1+3*callers, "there was a storm")
}

// The token belongs inside. Outside of it, the breaker counts the refusals that
// a new token puts right.
func TestTokenTransportBelongsInside(t *testing.T) {
	fake := start(t)
	g := newGuard(t, new(journal))
	config := genesys.Cloud.Config(guard.DependencyConfig{MinCalls: 100})
	right, err := g.Dependency("right", config)
	require.NoError(t, err)
	wrong, err := g.Dependency("wrong", config)
	require.NoError(t, err)
	tokens := tokensOf(t, fake)
	inside := &http.Client{Transport: right.Transport(tokens)}
	outside := &http.Client{Transport: tokens.With(wrong.Transport(transport(t)))}
	for range 3 {
		for _, c := range []*http.Client{inside, outside} {
			fake.ExpireTokens()
			resp, _, err := get(t, c, fake.Cloud.URL+"/api/v2/users")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
		}
	}
	all := g.Snapshot().Dependencies
	require.Equal(t, guard.CallCounts{Succeeded: 3}, all[0].Counts)
	require.Equal(t, guard.CallCounts{Succeeded: 3, Failed: 3}, all[1].Counts)
}

// Who began the fetch hangs up; the others get their token all the same.
func TestHangingUpDoesNotFailTheOthers(t *testing.T) {
	fetching, fetch := make(chan struct{}), make(chan struct{})
	var fetches atomic.Int64
	tokens := newTokens(t, genesys.TokenConfig{
		Fetch: func(ctx context.Context) (genesys.Token, error) {
			if fetches.Add(1) == 1 {
				close(fetching)
			}
			select {
			case <-fetch:
				return genesys.Token{Value: "t"}, nil
			case <-ctx.Done():
				return genesys.Token{}, ctx.Err()
			}
		},
		Base: roundTrip(func(*http.Request) (*http.Response, error) { return answer(200, ""), nil }),
	})
	d := depend(t, genesys.Cloud, guard.DependencyConfig{Timeout: guard.NoTimeout}, tokens)
	ctx, hangUp := context.WithCancel(t.Context())
	first, others := make(chan error, 1), make(chan error, 20)
	call := func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cloud/", nil)
		if err != nil {
			return err
		}
		_, _, err = read(d.client.Do(r))
		return err
	}
	go func() { first <- call(ctx) }()
	<-fetching
	for range cap(others) {
		go func() { others <- call(t.Context()) }()
	}
	hangUp()
	require.ErrorIs(t, <-first, context.Canceled)
	close(fetch)
	for range cap(others) {
		require.NoError(t, <-others)
	}
	require.EqualValues(t, 1, fetches.Load())
	require.Equal(t, guard.CallCounts{Succeeded: 20, Ignored: 1}, d.counts())
}

// Our own account is wrong: that is a 502 to the user, and never a 401, and it
// opens the breaker.
func TestRefusedWithAFreshToken(t *testing.T) {
	fake := start(t)
	d := depend(t, genesys.Cloud, guard.DependencyConfig{MinCalls: 3}, tokensOf(t, fake))
	fake.Cloud.Inject(genesystest.Status(http.StatusUnauthorized))
	h := d.guard.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fake.Cloud.URL+"/api/v2/users", nil)
		if err != nil {
			return err
		}
		resp, err := d.client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		assert.Equal(t, http.StatusUnauthorized, resp.StatusCode, "it is handed on")
		if err := genesys.Cloud.CheckResponse(d.Dependency, resp); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
	for i := range 5 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusBadGateway, w.Code)
		require.Empty(t, w.Header().Get("WWW-Authenticate"))
		require.LessOrEqual(t, fake.Cloud.Requests("/api/v2/users"), 2*(i+1), "each was repeated once at the most")
	}
	require.Equal(t, guard.CallCounts{Failed: 3, Open: 2}, d.counts())
	require.Contains(t, d.log.String(), "bad.credentials")
}

// A request is repeated once, and only if its body can be sent again.
func TestRepetition(t *testing.T) {
	for _, test := range []struct {
		name    string
		body    func() io.Reader
		prepare func(*http.Request)
		status  int // of the first answer
		sent    int // requests
		want    int
	}{
		{"no body", func() io.Reader { return nil }, nil, 401, 2, 200},
		{"http.NoBody", func() io.Reader { return http.NoBody }, nil, 401, 2, 200},
		{"a body that can be repeated", func() io.Reader { return strings.NewReader("body") }, nil, 401, 2, 200},
		{"a body that cannot", func() io.Reader { return io.MultiReader(strings.NewReader("body")) }, nil, 401, 1, 401},
		{"a GetBody that fails", func() io.Reader { return strings.NewReader("body") }, func(r *http.Request) {
			r.GetBody = func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }
		}, 401, 1, 401},
		{"not a 401", func() io.Reader { return nil }, nil, 403, 1, 403},
		{"its own authorization", func() io.Reader { return nil }, func(r *http.Request) { r.Header.Set("Authorization", "Basic x") }, 401, 1, 401},
		{"no headers", func() io.Reader { return nil }, func(r *http.Request) { r.Header = nil }, 401, 2, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			fetches, sent := make(chan struct{}, 9), -1
			var discarded closes
			tokens := newTokens(t, genesys.TokenConfig{
				Fetch: func(context.Context) (genesys.Token, error) {
					fetches <- struct{}{}
					return genesys.Token{Value: fmt.Sprint("t", len(fetches)), Type: "bearer"}, nil
				},
				Base: roundTrip(func(r *http.Request) (*http.Response, error) {
					sent++
					if r.Body != nil {
						b, err := io.ReadAll(r.Body)
						require.NoError(t, err)
						require.NoError(t, r.Body.Close())
						require.Contains(t, []string{"", "body"}, string(b))
					}
					if sent == 0 {
						return answer(200, ""), nil
					}
					if sent == 1 {
						resp := answer(test.status, "refused")
						resp.Body, resp.Request = &discarded, r
						return resp, nil
					}
					require.Equal(t, "Bearer t2", r.Header.Get("Authorization"))
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
				}),
			})
			_, _, err := get(t, &http.Client{Transport: tokens}, "http://cloud/")
			require.NoError(t, err)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://cloud/", test.body())
			require.NoError(t, err)
			if test.prepare != nil {
				test.prepare(r)
			}
			before := r.Header.Clone()
			resp, err := tokens.RoundTrip(r)
			require.NoError(t, err)
			require.Equal(t, test.want, resp.StatusCode)
			require.Equal(t, test.sent, sent)
			require.Equal(t, before, r.Header, "the caller's request is not changed")
			if test.name != "its own authorization" {
				require.Same(t, r, resp.Request, "and not the one with the token is shown")
			}
			require.Equal(t, test.sent == 2, discarded.closed, "the first response is closed if nobody gets it")
			require.NoError(t, resp.Body.Close())
		})
	}
}

// closes is a body that notes whether it was closed.
type closes struct{ closed bool }

func (*closes) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closes) Close() error           { c.closed = true; return nil }

// The token end-point is down: that is a failure of the dependency, which opens
// the breaker, which then spares the end-point.
func TestTokenEndPointFails(t *testing.T) {
	for name, fault := range map[string]genesystest.Fault{
		"503": genesystest.Status(503), "down": genesystest.Down(), "not json": genesystest.Reset(), "hangs": genesystest.Hang(),
	} {
		t.Run(name, func(t *testing.T) {
			fake := start(t)
			fake.Login.Inject(fault)
			tokens := newTokens(t, genesys.TokenConfig{Fetch: credentials(fake).Fetch, Base: transport(t), Timeout: 20 * time.Millisecond})
			d := depend(t, genesys.Cloud, guard.DependencyConfig{MinCalls: 3, OpenFor: time.Hour}, tokens)
			var closed closes
			for range 3 {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fake.Cloud.URL+"/api/v2/users", &closed)
				require.NoError(t, err)
				r.Body, r.ContentLength = &closed, -1
				_, err = d.client.Transport.RoundTrip(r)
				require.ErrorIs(t, err, genesys.ErrToken)
				require.NotErrorIs(t, err, context.DeadlineExceeded, "it was not the caller's")
				require.True(t, closed.closed, "the request's body is closed")
				var guarded *guard.DependencyError
				require.ErrorAs(t, err, &guarded)
			}
			require.Equal(t, guard.StateOpen, d.State())
			require.Equal(t, guard.CallCounts{Failed: 3}, d.counts())
			require.Zero(t, fake.Cloud.Requests(""))
		})
	}
}

// No stranger gets the token, wherever a redirect leads.
func TestRedirectsDoNotCarryTheTokenAway(t *testing.T) {
	var got []string
	tokens := newTokens(t, genesys.TokenConfig{
		Fetch: func(context.Context) (genesys.Token, error) { return genesys.Token{Value: "t"}, nil },
		Base: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.URL.String()+" "+r.Header.Get("Authorization"))
			next := map[string]string{
				"https://cloud/1": "https://cloud/2", "https://cloud/2": "https://evil/3", "https://evil/3": "https://cloud/4",
				"https://cloud/5": "http://cloud/6",
			}[r.URL.String()]
			resp := answer(200, "")
			if next != "" {
				resp = answer(302, "", "Location", next)
			}
			resp.Request = r
			return resp, nil
		}),
	})
	d := depend(t, genesys.Cloud, guard.DependencyConfig{}, tokens)
	for _, path := range []string{"1", "5"} {
		_, _, err := get(t, d.client, "https://cloud/"+path)
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"https://cloud/1 Bearer t", "https://cloud/2 Bearer t", "https://evil/3 ", "https://cloud/4 ",
		"https://cloud/5 Bearer t", "http://cloud/6 ",
	}, got)
}

// Neither what is printed nor what is logged shows a secret.
func TestSecretsAreNotShown(t *testing.T) {
	const hidden = "hunter2"
	var book bytes.Buffer
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&book, nil)), slog.New(slog.NewJSONHandler(&book, nil))} {
		token := genesys.Token{Value: hidden}
		who := genesys.ClientCredentials{URL: "http://u:" + hidden + "@login/oauth/token", ID: "id", Secret: hidden}
		tokens := newTokens(t, genesys.TokenConfig{
			Fetch: func(context.Context) (genesys.Token, error) { return token, nil },
			Base:  roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }),
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://cloud/", nil)
		require.NoError(t, err)
		_, err = tokens.RoundTrip(r)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		log.Info("all", "token", token, "pointer", &token, "transport", fmt.Sprintf("%v %+v %#v", tokens, tokens, tokens), "error", err)
		fmt.Fprintf(&book, "%v %+v %#v %s %v %+v %#v", token, token, token, token, who.String(), who, who)
		b, err := json.Marshal(token)
		require.NoError(t, err)
		book.Write(b)
		b, err = json.Marshal(genesys.ClientCredentials{URL: "http://login/", ID: "id", Secret: hidden})
		require.NoError(t, err)
		book.Write(b)
	}
	require.NotContains(t, book.String(), hidden)
	require.Contains(t, book.String(), "Bearer [redacted]")

	for _, secret := range []string{hidden + "\r\nX: y", ""} {
		tokens := newTokens(t, genesys.TokenConfig{
			Fetch: func(context.Context) (genesys.Token, error) { return genesys.Token{Value: secret}, nil },
		})
		_, err := tokens.RoundTrip(httptest.NewRequest(http.MethodGet, "http://127.0.0.1:1/", nil))
		require.ErrorIs(t, err, genesys.ErrToken)
		require.NotContains(t, err.Error(), hidden)
	}
}
