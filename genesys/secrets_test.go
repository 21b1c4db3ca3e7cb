package genesys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

// A password in what is no URL, or not the one that was meant, is not shown: it
// may be anywhere in it.
func TestPasswordsInWhatIsNoURL(t *testing.T) {
	for _, address := range []string{
		"user:hunter2@host/path",          // no scheme, or the scheme "user"
		"http:/user:hunter2@host/",        // a path
		"http://user:hunter2/x@host/",     // a slash in the password, which makes a port of its beginning
		"http://user:%hunter2@host/",      // an escape that is none
		"https:user:hunter2@host/",        // opaque
		"http://user:hunter2#@host/path",  // a fragment
		"http:///user:hunter2@host/a?b=c", // no host
	} {
		_, err := genesys.GMS.Check(genesys.Probe{URL: address})
		require.ErrorContains(t, err, "genesys: Probe.URL is ")
		require.NotContains(t, err.Error(), "hunter2", address)
		require.NotContains(t, err.Error(), "hu", address)
		who := genesys.ClientCredentials{URL: address, ID: "id"}
		_, err = who.Fetch(t.Context())
		require.ErrorContains(t, err, "genesys: ClientCredentials.URL is ")
		require.NotContains(t, err.Error(), "hu", address)
		require.NotContains(t, who.String(), "hunter2", address)
		require.Contains(t, who.String(), `client "id"`)
	}
}

// A Probe has a password, and shows none.
func TestProbesDoNotShowThePassword(t *testing.T) {
	probe := genesys.Probe{URL: "http://user:hunter2@gms/status", Username: "default", Password: "hunter2"}
	var book bytes.Buffer
	fmt.Fprintf(&book, "%v %+v %#v %s", probe, probe, probe, probe)
	who := genesys.ClientCredentials{URL: "http://user:hunter2@login/", ID: "id", Secret: "hunter2", Transport: http.DefaultTransport}
	for _, h := range []slog.Handler{slog.NewTextHandler(&book, nil), slog.NewJSONHandler(&book, nil)} {
		slog.New(h).Info("all", "probe", probe, "pointer", &probe, "credentials", who)
	}
	b, err := json.Marshal(genesys.Probe{URL: "http://gms/status", Username: "default", Password: "hunter2"})
	require.NoError(t, err)
	book.Write(b)
	require.NotContains(t, book.String(), "hunter2")
	require.Contains(t, book.String(), "http://user:xxxxx@gms/status")
	require.Contains(t, book.String(), "http://user:xxxxx@login/")
}

// The request that a response shows has no token, whatever the base has made of
// the one that it was given.
func TestResponsesDoNotShowTheToken(t *testing.T) {
	reply := func(r *http.Request) *http.Response {
		resp := answer(200, `{"statusCode":1}`)
		resp.Request = r
		return resp
	}
	outside := depend(t, genesys.GMS, guard.DependencyConfig{MinCalls: 100}, roundTrip(func(r *http.Request) (*http.Response, error) {
		return reply(r), nil
	}))
	for name, base := range map[string]http.RoundTripper{
		"the same": roundTrip(func(r *http.Request) (*http.Response, error) { return reply(r), nil }),
		"a clone":  roundTrip(func(r *http.Request) (*http.Response, error) { return reply(r.Clone(r.Context())), nil }),
		"none":     roundTrip(func(*http.Request) (*http.Response, error) { return reply(nil), nil }),
		"judged":   outside.client.Transport, // which notes there what it has made of the body
	} {
		tokens := newTokens(t, genesys.TokenConfig{Base: base, Fetch: func(context.Context) (genesys.Token, error) {
			return genesys.Token{Value: "hunter2"}, nil
		}})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gms/", nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "application/json")
		resp, err := tokens.RoundTrip(r)
		require.NoError(t, err)
		require.NotNil(t, resp.Request, name)
		require.Equal(t, http.Header{"Accept": {"application/json"}}, resp.Request.Header, name)
		require.Equal(t, r.URL, resp.Request.URL)
		if name == "judged" {
			resp.Body = http.NoBody // of which the dependency knows nothing
			require.Error(t, outside.CheckResponse(resp), "and the dependency still knows")
		}
		require.NoError(t, resp.Body.Close())
	}
}

// A base, or what is around the TokenTransport, may not tell where a redirect
// has come from. Then no stranger gets the token, either.
func TestRedirectsOfUnknownOrigin(t *testing.T) {
	for _, forgetful := range []string{"base", "wrapper"} {
		var got []string
		tokens := newTokens(t, genesys.TokenConfig{
			Fetch: func(context.Context) (genesys.Token, error) { return genesys.Token{Value: "t"}, nil },
			Base: roundTrip(func(r *http.Request) (*http.Response, error) {
				got = append(got, r.URL.String()+" "+r.Header.Get("Authorization"))
				if r.URL.Host == "cloud" {
					return answer(302, "", "Location", "https://evil/"), nil
				}
				return answer(200, ""), nil
			}),
		})
		client := &http.Client{Transport: tokens}
		if forgetful == "wrapper" {
			client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				resp, err := tokens.RoundTrip(r)
				if resp != nil {
					resp.Request = nil
				}
				return resp, err
			})
		}
		_, _, err := get(t, client, "https://cloud/")
		require.NoError(t, err)
		require.Equal(t, []string{"https://cloud/ Bearer t", "https://evil/ "}, got, forgetful)
	}
}
