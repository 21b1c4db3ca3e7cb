package genesys_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

// Nothing that a peer sends makes the classifiers panic, and what they say of
// JSON that is valid is what encoding/json finds in it.
func FuzzClassify(f *testing.F) {
	for _, body := range []string{
		`{"statusCode":1}`, `{"statusCode":"2"}`, `{"StatusCode":0,"a":[{"b":"}"}]}`, `{"statusCode":1`, `[`, ``, "\x1f\x8b\x08",
		`{"message":"m","code":"c","contextId":"i","status":429}`, `{"status\u0043ode":1e0}`, `{"statusCode":1,"statusCode":null}`,
	} {
		f.Add(int8(2), 200, "", "", []byte(body))
		f.Add(int8(3), 500, "gzip", "text/html", []byte(body))
		f.Add(int8(6), 429, "deflate", "image/png", []byte(body))
	}
	f.Fuzz(func(t *testing.T, product int8, status int, encoding, value string, body []byte) {
		p := genesys.Product(product)
		resp := func() *http.Response {
			return answer(status, string(body), "Content-Encoding", encoding, "Content-Type", value, "Retry-After", value,
				"Inin-Ratelimit-Reset", value, "Inin-Ratelimit-Count", value, "Inin-Ratelimit-Allowed", value, "Inin-Correlation-Id", value)
		}
		head := body[:min(len(body), 64<<10)]
		o := judge(p, resp(), string(head))
		require.GreaterOrEqual(t, o, guard.OutcomeDefault)
		require.LessOrEqual(t, o, guard.OutcomeAnswered)
		genesys.ParseRateLimit(resp().Header)

		checked := resp()
		err := p.CheckResponse(nil, checked)
		require.Equal(t, o == failed || o == answered || o == byStatus && status >= 400, err != nil, "%v", o)
		after, readErr := io.ReadAll(checked.Body)
		require.NoError(t, readErr)
		require.True(t, bytes.Equal(body, after), "the body is handed on whole")
		if err != nil {
			require.Less(t, len(err.Error()), 4<<10)
		}

		if p != genesys.GMS || status != 200 || encoding != "" || o == succeeded && strings.Contains(value, "/") {
			return
		}
		if want, ok := oracle(body); ok {
			require.Equal(t, want, o, "%q", body)
		}
	})
}

// oracle says what encoding/json makes of an answer of GMS: ok is false if it
// cannot tell.
func oracle(body []byte) (o guard.Outcome, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if open, err := d.Token(); err != nil || open != json.Delim('{') || len(body) > 64<<10 || !json.Valid(body) {
		return 0, false
	}
	for d.More() {
		name, err := d.Token()
		var value any
		if err != nil || d.Decode(&value) != nil {
			return 0, false
		}
		if !strings.EqualFold(name.(string), "statusCode") {
			continue
		}
		n, number := value.(json.Number)
		switch s, text := value.(string); {
		case !number && text && strings.Trim(s, "012") != "", number && strings.Trim(n.String(), "0123456789") != "":
			return 0, false // numbers that look otherwise have a table of their own
		case !number && !text:
			o = guard.OutcomeDefault
		default:
			o = map[string]guard.Outcome{"0": succeeded, "1": failed, "2": answered}[s+n.String()]
			if len(s+n.String()) > 1 && text {
				return 0, false
			}
		}
	}
	return o, true
}

// Whatever a token end-point and a health end-point send is a token or an error,
// and healthy or not.
func FuzzPeers(f *testing.F) {
	f.Add(int8(1), 200, "", []byte(`{"access_token":"t","token_type":"bearer","expires_in":3600}`))
	f.Add(int8(2), 200, "gzip", []byte(`ONLINE`))
	f.Add(int8(4), 200, "", []byte(`{"mode":"production"}`))
	f.Add(int8(5), 503, "", []byte(`SYSTEM_STATUS_CLUSTER_SYNCHING`))
	f.Fuzz(func(t *testing.T, product int8, status int, encoding string, body []byte) {
		base := roundTrip(func(*http.Request) (*http.Response, error) {
			return answer(status, string(body), "Content-Encoding", encoding, "Location", "/elsewhere"), nil
		})
		token, err := genesys.ClientCredentials{URL: "http://login/oauth/token", Transport: base}.Fetch(t.Context())
		require.Equal(t, err != nil, token.Value == "")
		if err != nil {
			require.Less(t, len(err.Error()), 1<<10)
		}
		check, err := genesys.Product(product).Check(genesys.Probe{URL: "http://genesys/", Transport: base})
		if err != nil {
			return
		}
		if err := check(t.Context()); err != nil {
			require.Less(t, len(err.Error()), 1<<10)
		}
	})
}
