package genesys_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard/genesys"
)

// The refusals must not keep the connections that the fetch needs, if it goes the
// same way: with all of them waiting for it, it would wait for them.
func TestRefusalsDoNotKeepTheConnectionsFromTheFetch(t *testing.T) {
	var issued atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch want := fmt.Sprintf("Bearer t%d", issued.Load()); {
		case r.URL.Path == "/auth/v3/oauth/token":
			fmt.Fprintf(w, `{"access_token":"t%d"}`, issued.Add(1))
		case r.Header.Get("Authorization") != want:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"statusCode":20,"statusMessage":"not authenticated"}`)
		default:
			_, _ = io.WriteString(w, `{"statusCode":0}`)
		}
	}))
	defer server.Close()
	base := transport(t)
	base.MaxConnsPerHost = 2
	who := genesys.ClientCredentials{URL: server.URL + "/auth/v3/oauth/token", ID: "id", Secret: "secret", Transport: base}
	tokens := newTokens(t, genesys.TokenConfig{Fetch: who.Fetch, Base: base, Timeout: 5 * time.Second})
	client := &http.Client{Transport: tokens}
	_, _, err := get(t, client, server.URL+"/")
	require.NoError(t, err)

	issued.Add(1) // which nobody has got: the one before is no longer good
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/", strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				return
			}
			resp, text, err := read(client.Do(r))
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Error(text, err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 3, issued.Load(), "and one new token for all")
}

// Tokens that seem to be born expired are fetched once for all who were refused,
// too, and not once for each.
func TestStormOfTokensThatAreBornExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, tokens := newMint(t, genesys.TokenConfig{})
		m.life = -time.Hour
		require.Equal(t, "200", m.call(t, tokens))
		m.good = "2"
		m.hook = func() { // with the first token on its way, others are refused and get the second
			if len(m.sent) == 2 {
				require.Equal(t, "200", m.call(t, tokens))
			}
		}
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, 2, m.made)
	})
}

// A Fetch that does not know of its context, and does not return, holds nobody up
// for longer than its Timeout. There is no second one beside it.
func TestFetchThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(mint)
		var tokens *genesys.TokenTransport
		fetches, answerIt := 0, make(chan struct{})
		tokens, err := genesys.NewTokenTransport(genesys.TokenConfig{
			Base: m, Timeout: 3 * time.Second,
			Fetch: func(context.Context) (genesys.Token, error) {
				fetches++
				<-answerIt
				return genesys.Token{Value: "late"}, nil
			},
		})
		require.NoError(t, err)
		began := time.Now()
		require.Contains(t, m.call(t, tokens), "genesys: no token: ")
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Contains(t, m.call(t, tokens), "genesys: no token: ")
		require.Equal(t, 3*time.Second, time.Since(began), "who comes later does not wait again")
		synctest.Wait()
		require.Equal(t, 1, fetches)
		close(answerIt)
		synctest.Wait()
		require.Equal(t, "200", m.call(t, tokens))
		require.Equal(t, []string{"Bearer late"}, m.sent)
	})
}

// The same for one that asks for a token itself, on the way to a token.
func TestFetchThatNeedsAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(mint)
		var tokens *genesys.TokenTransport
		tokens, err := genesys.NewTokenTransport(genesys.TokenConfig{
			Base: m, Timeout: 3 * time.Second,
			Fetch: func(context.Context) (genesys.Token, error) {
				r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://login/", nil)
				if err != nil {
					return genesys.Token{}, err
				}
				_, err = tokens.RoundTrip(r)
				return genesys.Token{}, err
			},
		})
		require.NoError(t, err)
		require.Contains(t, m.call(t, tokens), "genesys: no token: ")
		synctest.Wait()
		require.Empty(t, m.sent)
	})
}

// An error of a Fetch is user code as well: it may call back, or panic, where it
// is asked what it is.
func TestFetchErrorsThatMisbehave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(mint)
		var tokens *genesys.TokenTransport
		var failure error
		tokens, err := genesys.NewTokenTransport(genesys.TokenConfig{
			Base: m, Backoff: 1, Timeout: time.Second,
			Fetch: func(context.Context) (genesys.Token, error) { return genesys.Token{}, failure },
		})
		require.NoError(t, err)
		for _, failure = range []error{
			strange(func() { panic("boom") }),
			strange(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cloud/", nil)
				if err == nil {
					_, err = tokens.RoundTrip(r)
				}
				if err == nil {
					panic("there is no token")
				}
			}),
			strange(nil), // calls what is nil
		} {
			time.Sleep(time.Minute)
			require.Contains(t, m.call(t, tokens), "genesys: no token")
		}
	})
}

// strange is an error that does something when it is asked what it is.
type strange func()

func (s strange) Error() string { return "strange" }
func (s strange) Is(error) bool { s(); return false }
