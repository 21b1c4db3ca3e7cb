package genesys_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// What is not a success names the dependency, whatever it is and whoever has
// judged it, over a real transport, too: there the response knows its request,
// and the request what the body has told.
func TestErrorsNameTheDependency(t *testing.T) {
	fake := start(t)
	for _, test := range []struct {
		name   string
		fault  genesystest.Fault
		config guard.DependencyConfig
		status int
	}{
		{"a failure in a 200", genesystest.Failure(1), guard.DependencyConfig{}, 200},
		{"a refusal in a 200", genesystest.Failure(2), guard.DependencyConfig{}, 200},
		{"a refusal by its status", genesystest.Status(404), guard.DependencyConfig{}, 404},
		{"a failure by its status", genesystest.Status(500), guard.DependencyConfig{}, 500},
		{"a refusal by their own word", genesystest.Fault{}, guard.DependencyConfig{ClassifyResponse: func(resp *http.Response) guard.Outcome {
			require.NotNil(t, resp.Request.URL, "a classifier may ask what the request was")
			if resp.StatusCode == http.StatusOK {
				return guard.OutcomeAnswered
			}
			return guard.OutcomeDefault
		}}, 200},
	} {
		fake.GMS.Inject(test.fault)
		test.config.MinCalls = 100
		d := depend(t, genesys.GMS, test.config, nil)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fake.GMS.URL+"/genesys/2/chat/x", nil)
		require.NoError(t, err)
		resp, err := d.client.Do(r)
		require.NoError(t, err)
		err = genesys.GMS.CheckResponse(d.Dependency, resp)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, test.status, resp.StatusCode)
		var guarded *guard.DependencyError
		require.ErrorAs(t, err, &guarded, test.name)
		require.Equal(t, "GMS", guarded.Dependency(), test.name)
		require.NotContains(t, err.Error(), "502", "no status is made up")
	}
}

// What a classifier says that is no Outcome is not believed, as a transport does.
func TestOutcomesThatAreNone(t *testing.T) {
	for _, none := range []guard.Outcome{-1, 99} {
		d := depend(t, genesys.GMS, guard.DependencyConfig{
			ClassifyResponse: func(*http.Response) guard.Outcome { return none },
			ClassifyBody:     func(*http.Response, []byte) guard.Outcome { return none },
		}, nil)
		require.NoError(t, genesys.GMS.CheckResponse(d.Dependency, answer(200, "")))
		require.Error(t, genesys.GMS.CheckResponse(d.Dependency, answer(500, "")))
	}
}

// An event stream that failed may go on for hours: nobody waits for its body.
func TestCheckResponseDoesNotWaitForAStream(t *testing.T) {
	body, events := io.Pipe()
	defer events.Close()
	resp := answer(500, "", "Content-Type", "text/event-stream")
	resp.Body = body
	done := make(chan error, 1)
	go func() { done <- genesys.Cloud.CheckResponse(nil, resp) }()
	if err := <-done; err == nil {
		t.Error("it failed")
	}
	require.Same(t, body, resp.Body)
}

// A statusCode means the same however it is written.
func TestCodesAreNumbers(t *testing.T) {
	for _, code := range []string{`6`, `"6"`, `6.0`, `" 6 "`, `6e0`, `"06"`} {
		var e *genesys.Error
		require.ErrorAs(t, genesys.GWS.CheckResponse(nil, answer(200, `{"statusCode":`+code+`}`)), &e, code)
		require.Equal(t, "6", e.Code, code)
		require.True(t, e.NotFound(), code)
	}
}
