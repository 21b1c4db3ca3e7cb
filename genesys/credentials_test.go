package genesys_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

func TestClientCredentials(t *testing.T) {
	fake := start(t)
	for _, path := range []string{"/oauth/token", "/auth/v3/oauth/token"} {
		c := credentials(fake)
		c.URL = fake.Login.URL + path
		token, err := c.Fetch(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, token.Value)
		require.WithinDuration(t, time.Now().Add(24*time.Hour), token.Expires, time.Minute)
	}
	for _, test := range []struct {
		name, url, secret string
		fault             genesystest.Fault
		want              string
	}{
		{"wrong secret", "", "wrong-secret", genesystest.Fault{}, `status 401, error "invalid_client"`},
		{"not found", "/nothing", "", genesystest.Fault{}, "status 404"},
		{"failing", "", "", genesystest.Status(500), `status 500, error "server_error"`},
		{"no token in it", "", "", genesystest.Failure(0), "holds no access_token"},
		{"breaks off", "", "", genesystest.Reset(), "cannot be read"},
		{"down", "", "", genesystest.Down(), "genesys: token end-point: "},
		{"no URL", "\x7f", "", genesystest.Fault{}, "ClientCredentials.URL is not a URL"},
	} {
		fake.Login.Inject(test.fault)
		c := credentials(fake)
		c.URL = strings.TrimSuffix(c.URL, "/oauth/token") + "/oauth/token" + test.url
		if test.secret != "" {
			c.Secret = test.secret
		}
		_, err := c.Fetch(t.Context())
		require.ErrorContains(t, err, test.want, test.name)
		require.NotContains(t, err.Error(), c.Secret)
		var of *url.Error
		require.NotErrorAs(t, err, &of, "which would show the URL")
	}
}

// A redirect must not carry the secret to another host.
func TestClientCredentialsFollowNoRedirects(t *testing.T) {
	asked := 0
	c := genesys.ClientCredentials{URL: "http://login/", ID: "a b", Secret: "c:d", Scope: "x y", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked++
		id, secret, _ := r.BasicAuth()
		require.Equal(t, "a+b c%3Ad", id+" "+secret)
		require.NoError(t, r.ParseForm())
		require.Equal(t, "client_credentials", r.PostForm.Get("grant_type"))
		require.Equal(t, "x y", r.PostForm.Get("scope"))
		return answer(307, `{"access_token":"x"}`, "Location", "http://evil/"), nil
	})}
	_, err := c.Fetch(t.Context())
	require.ErrorContains(t, err, "status 307")
	require.Equal(t, 1, asked)
}

// Of an answer without end no more is read than a token needs.
func TestAnswersWithoutEnd(t *testing.T) {
	for name, ask := range map[string]func(http.RoundTripper) error{
		"token": func(base http.RoundTripper) error {
			_, err := genesys.ClientCredentials{URL: "http://login/", Transport: base}.Fetch(t.Context())
			return err
		},
		"check": func(base http.RoundTripper) error {
			check, err := genesys.GMS.Check(genesys.Probe{URL: "http://gms/", Transport: base})
			require.NoError(t, err)
			return check(t.Context())
		},
	} {
		var body endless
		require.Error(t, ask(roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &body}, nil
		})), name)
		require.LessOrEqual(t, body.read, 64<<10, name)
		require.True(t, body.closed, name)
	}
}

// endless is a body without end, up to what no test wants to wait for.
type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(b []byte) (int, error) {
	if e.read += len(b); e.read > 16<<20 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(b), nil
}

func (e *endless) Close() error { e.closed = true; return nil }
