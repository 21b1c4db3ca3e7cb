package genesys_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

const (
	byStatus  = guard.OutcomeDefault // it is left to the status
	succeeded = guard.OutcomeSucceeded
	failed    = guard.OutcomeFailed
	answered  = guard.OutcomeAnswered
)

// judge asks the classifiers as a guard.Dependency does.
func judge(p genesys.Product, resp *http.Response, body string) guard.Outcome {
	c := p.Config(guard.DependencyConfig{})
	o := c.ClassifyResponse(resp)
	if o == byStatus && c.ClassifyBody != nil {
		o = c.ClassifyBody(resp, []byte(body))
	}
	return o
}

func TestStatuses(t *testing.T) {
	all := []genesys.Product{genesys.GWE, genesys.GMS, genesys.GWS, genesys.UCS, genesys.GRE, genesys.Cloud}
	for _, p := range all {
		d := depend(t, p, guard.DependencyConfig{MinCalls: 1000}, roundTrip(func(r *http.Request) (*http.Response, error) {
			status := map[string]int{"/200": 200, "/204": 204, "/302": 304, "/400": 400, "/401": 401, "/403": 403, "/404": 404, "/408": 408, "/425": 425, "/429": 429, "/500": 500, "/501": 501, "/502": 502, "/503": 503, "/504": 504, "/505": 505}
			return answer(status[r.URL.Path], ""), nil
		}))
		for path, want := range map[string]guard.Outcome{
			"/200": succeeded, "/204": succeeded, "/302": succeeded,
			"/400": answered, "/404": answered, "/429": answered, "/501": answered, "/505": answered,
			"/401": failed, "/408": failed, "/425": failed, "/500": failed, "/502": failed, "/503": failed, "/504": failed,
			"/403": map[bool]guard.Outcome{true: failed, false: answered}[p == genesys.GWE],
		} {
			before := d.counts()
			_, _, err := get(t, d.client, "http://genesys"+path)
			require.NoError(t, err)
			after := d.counts()
			got := byStatus
			switch {
			case after.Failed > before.Failed:
				got = failed
			case after.Answered > before.Answered:
				got = answered
			case after.Succeeded > before.Succeeded:
				got = succeeded
			}
			require.Equal(t, want, got, "%v %s", p, path)
		}
	}
}

func TestStatusCodes(t *testing.T) {
	gms, gws := genesys.GMS, genesys.GWS
	for _, test := range []struct {
		product genesys.Product
		status  int
		body    string
		want    guard.Outcome
	}{
		{gms, 200, `{"statusCode":0}`, succeeded},
		{gms, 200, `{"statusCode":1}`, failed},
		{gms, 200, `{"statusCode":2}`, answered},
		{gms, 201, `{"statusCode":1}`, failed},
		{gms, 200, `{"statusCode":3}`, byStatus}, // is not documented
		{gms, 200, `{"statusCode":-1}`, byStatus},
		{gms, 200, `{"statusCode":200}`, byStatus},
		{gms, 400, `{"statusCode":1}`, answered}, // the table is for 200
		{gms, 500, `{"statusCode":0}`, failed},
		{gms, 500, `{"statusCode":2}`, failed},

		// However it is written.
		{gms, 200, `{"StatusCode":1}`, failed},
		{gms, 200, `{"STATUSCODE":1}`, failed},
		{gms, 200, `{"status\u0043ode":1}`, failed},
		{gms, 200, `{"statusCode":"1"}`, failed},
		{gms, 200, `{"statusCode":" 1 "}`, failed},
		{gms, 200, `{"statusCode":1.0}`, failed},
		{gms, 200, `{"statusCode":1e0}`, failed},
		{gms, 200, "\xef\xbb\xbf \r\n\t{ \"statusCode\" :\n 1 }", failed},
		{gms, 200, `{"messages":[{"statusCode":2},"}",{"a":"\"]"}],"x":null,"statusCode":1}`, failed},
		{gms, 200, `{"statusCode":0,"statusCode":1}`, failed}, // the last wins, as in Jackson and encoding/json

		// What is none.
		{gms, 200, ``, byStatus},
		{gms, 200, `ONLINE`, byStatus},
		{gms, 200, `<html>{"statusCode":1}`, byStatus},
		{gms, 200, `[{"statusCode":1}]`, byStatus},
		{gms, 200, `{"value":{"statusCode":1}}`, byStatus},
		{gms, 200, `{"statusCode":1.5}`, byStatus},
		{gms, 200, `{"statusCode":"one"}`, byStatus},
		{gms, 200, `{"statusCode":0x1p0}`, byStatus},
		{gms, 200, `{"statusCode":NaN}`, byStatus},
		{gms, 200, `{"statusCode":99999999999999999999999999}`, byStatus},
		{gms, 200, `{"statusCode":null}`, byStatus},
		{gms, 200, `{"statusCode":true}`, byStatus},
		{gms, 200, `{"statusCode":{}}`, byStatus},
		{gms, 200, `{"statusCode":[1]}`, byStatus},
		{gms, 200, `{statusCode:1}`, byStatus},
		{gms, 200, `{"statusCode" 1}`, byStatus},
		{gms, 200, `{"a":1 "statusCode":1}`, byStatus},
		{gms, 200, `{"a":"` + strings.Repeat("x", 1<<20) + `","statusCode":1}`, byStatus}, // beyond what is looked at

		// What is cut off.
		{gms, 200, `{"statusCode":1`, byStatus}, // of 12, perhaps
		{gms, 200, `{"statusCode":`, byStatus},
		{gms, 200, `{"statusCode`, byStatus},
		{gms, 200, `{"statusCode":1,`, failed},
		{gms, 200, `{"statusCode":"1"`, failed},
		{gms, 200, `{"statusCode":"1`, byStatus},
		{gms, 200, `{"statusCode":1,"messages":[{"text":"hel`, failed},
		{gms, 200, `{"messages":[{"text":"hel`, byStatus},

		{gws, 200, `{"statusCode":0}`, succeeded},
		{gws, 200, `{"statusCode":7}`, succeeded},
		{gws, 200, `{"statusCode":9}`, succeeded},
		{gws, 200, `{"statusCode":4}`, failed},
		{gws, 500, `{"statusCode":4,"statusMessage":"Cassandra"}`, failed},
		{gws, 500, `{"statusCode":6}`, answered}, // the code says more than the status
		{gws, 404, `{"statusCode":4}`, failed},
		{gws, 500, `{"statusCode":0}`, byStatus}, // but does not make a success of a failure
		{gws, 503, `<html>`, byStatus},
		{gws, 401, `{"statusCode":20}`, failed},
		{gws, 200, `{"statusCode":20}`, failed},
		{gws, 401, `{"statusCode":5}`, failed},
		{gws, 401, `{"statusCode":0}`, failed},
		{gws, 200, `{"statusCode":21}`, byStatus},

		{genesys.UCS, 200, `{"statusCode":1}`, byStatus}, // those have no such code
		{genesys.GWE, 200, `{"statusCode":1}`, byStatus},
		{genesys.GRE, 200, `{"statusCode":1}`, byStatus},
		{genesys.Cloud, 200, `{"statusCode":1}`, byStatus},
		{0, 401, `{"statusCode":1}`, byStatus},
		{-1, 401, `{"statusCode":1}`, byStatus},
		{7, 401, `{"statusCode":1}`, byStatus},
	} {
		got := judge(test.product, answer(test.status, ""), test.body)
		require.Equal(t, test.want, got, "%v %d %.80s", test.product, test.status, test.body)
	}
	for _, code := range []string{"1", "2", "3", "5", "6", "8", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"} {
		require.Equal(t, answered, judge(gws, answer(200, ""), `{"statusCode":`+code+`}`), code)
	}
}

// The type of a body is believed only where it says that there is no JSON in it.
func TestContentTypes(t *testing.T) {
	for contentType, want := range map[string]guard.Outcome{
		"":                                failed,
		"application/json":                failed,
		"text/html;charset=UTF-8":         failed,
		"text/plain":                      failed,
		"nonsense":                        failed,
		"image/png":                       succeeded,
		"Audio/WAV; codecs=1":             succeeded,
		"application/octet-stream":        succeeded,
		" APPLICATION/PDF ; name=x":       succeeded,
		"application/octet-stream+json":   failed,
		"application/vnd.genesys.v1+json": failed,
	} {
		require.Equal(t, want, judge(genesys.GMS, answer(200, "", "Content-Type", contentType), `{"statusCode":1}`), contentType)
	}
}

func TestNilResponse(t *testing.T) {
	require.Equal(t, byStatus, genesys.GMS.ClassifyResponse(nil))
	require.Equal(t, byStatus, genesys.GMS.ClassifyBody(nil, nil))
	require.Error(t, genesys.GMS.CheckResponse(nil, nil))
	require.Equal(t, byStatus, genesys.Cloud.ClassifyResponse(&http.Response{StatusCode: 429}))
	require.Equal(t, byStatus, genesys.GMS.ClassifyBody(&http.Response{StatusCode: 200}, nil))
}

// Classifiers that are there already have the first word, and everything else is
// left as it is.
func TestConfigKeepsWhatIsGiven(t *testing.T) {
	given := guard.DependencyConfig{
		MinCalls: 7,
		ClassifyResponse: func(resp *http.Response) guard.Outcome {
			if resp.StatusCode == 401 {
				return guard.OutcomeIgnored
			}
			return guard.OutcomeDefault
		},
		ClassifyBody: func(_ *http.Response, head []byte) guard.Outcome {
			if strings.Contains(string(head), "mine") {
				return guard.OutcomeIgnored
			}
			return guard.OutcomeDefault
		},
	}
	c := genesys.GMS.Config(given)
	require.Equal(t, 7, c.MinCalls)
	require.True(t, c.PauseOn429)
	require.Nil(t, c.Check)
	require.Equal(t, guard.OutcomeIgnored, c.ClassifyResponse(answer(401, "")))
	require.Equal(t, failed, c.ClassifyResponse(answer(500, "")))
	require.Equal(t, guard.OutcomeIgnored, c.ClassifyBody(answer(200, ""), []byte(`{"statusCode":1,"mine":0}`)))
	require.Equal(t, failed, c.ClassifyBody(answer(200, ""), []byte(`{"statusCode":1}`)))
	require.NotNil(t, genesys.UCS.Config(given).ClassifyBody, "of a product that has none, the given one is kept")
	require.Nil(t, genesys.UCS.Config(guard.DependencyConfig{}).ClassifyBody, "and without one no body is buffered")
}

func TestProductNames(t *testing.T) {
	require.Equal(t, "GMS", genesys.GMS.String())
	require.Equal(t, "Cloud", genesys.Cloud.String())
	require.Equal(t, "none", genesys.Product(0).String())
	require.Equal(t, "unknown 7", genesys.Product(7).String())
	require.Equal(t, "unknown -1", genesys.Product(-1).String())
}
