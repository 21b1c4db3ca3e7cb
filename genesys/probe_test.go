package genesys_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// probe returns a check of one of the fake's products.
func probe(t *testing.T, p genesys.Product, url string) func(context.Context) error {
	t.Helper()
	check, err := p.Check(genesys.Probe{URL: url, Username: genesystest.Username, Password: genesystest.Password})
	require.NoError(t, err)
	return check
}

func TestChecks(t *testing.T) {
	fake := start(t)
	gms := probe(t, genesys.GMS, fake.GMS.URL+genesys.GMSStatusPath)
	ucs := probe(t, genesys.UCS, fake.UCS.URL+genesys.UCSStatusPath)
	gre := probe(t, genesys.GRE, fake.GRE.URL+genesys.GREStatusPath)
	gwe := probe(t, genesys.GWE, fake.GWE.URL+"/backend/data/visits?userId=nobody") // 204
	gws := probe(t, genesys.GWS, fake.GWS.URL+"/api/v2/queues")
	cloud, err := genesys.Cloud.Check(genesys.Probe{URL: fake.Cloud.URL + "/api/v2/routing/queues", Transport: tokensOf(t, fake)})
	require.NoError(t, err)
	all := map[string]func(context.Context) error{"GMS": gms, "UCS": ucs, "GRE": gre, "GWE": gwe, "GWS": gws, "Cloud": cloud}
	for name, check := range all {
		require.NoError(t, check(t.Context()), name)
	}

	fake.GMS.SetHealth("OFFLINE") // with a 200
	require.ErrorContains(t, gms(t.Context()), `"OFFLINE"`)
	fake.UCS.SetHealth("maintenance") // with a 200
	require.ErrorContains(t, ucs(t.Context()), `"maintenance"`)
	fake.GRE.SetHealth("SYSTEM_STATUS_CLUSTER_SYNCHING")
	require.ErrorContains(t, gre(t.Context()), `status 503, "SYSTEM_STATUS_CLUSTER_SYNCHING"`)
	fake.GWS.Inject(genesystest.Failure(4)) // with a 200
	require.ErrorContains(t, gws(t.Context()), "tells of a failure")
	fake.Cloud.Inject(genesystest.Throttle(time.Minute))
	require.NoError(t, cloud(t.Context()), "it is alive")

	for name, f := range map[string]genesystest.Fault{
		"down": genesystest.Down(), "reset": genesystest.Reset(), "503": genesystest.Status(503), "404": genesystest.Status(404), "401": genesystest.Status(401),
	} {
		fake.Inject(f)
		for product, check := range all {
			if product == "GWE" && name == "reset" {
				fake.GWE.Inject(genesystest.Down()) // a 204 has no body to break off
			}
			if product == "Cloud" {
				fake.Login.Inject(genesystest.Fault{})
			}
			require.Error(t, check(t.Context()), "%s %s", product, name)
		}
	}
	fake.Inject(genesystest.Hang())
	for name, check := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		require.ErrorIs(t, check(ctx), context.DeadlineExceeded, name)
		cancel()
	}
}

// The words are looked for in what comes, not believed from the status.
func TestChecksReadTheBody(t *testing.T) {
	for _, test := range []struct {
		product genesys.Product
		status  int
		body    string
		ok      bool
	}{
		{genesys.GMS, 200, "ONLINE", true},
		{genesys.GMS, 200, " online\r\n", true},
		{genesys.GMS, 200, `"ONLINE"`, true},
		{genesys.GMS, 200, "", false},
		{genesys.GMS, 200, "NOT ONLINE", false},
		{genesys.GMS, 200, "<html>ONLINE banking</html>", false},
		{genesys.GMS, 200, "ONLINE" + strings.Repeat(" ", 1<<20) + "x", true}, // no more is read
		{genesys.GMS, 302, "ONLINE", false},
		{genesys.UCS, 200, `{"mode":"Production"}`, true},
		{genesys.UCS, 200, `{"x":{"mode":"production"}}`, false},
		{genesys.UCS, 200, `production`, false},
		{genesys.UCS, 503, `{"mode":"production"}`, false},
		{genesys.GRE, 200, "<html><body>SYSTEM_STATUS_OK</body></html>", true},
		{genesys.GRE, 200, "SYSTEM_STATUS_OKAY", false},
		{genesys.GRE, 200, "<html>portal</html>", false},
		{genesys.GRE, 503, "SYSTEM_STATUS_OK", false},
		{genesys.GWE, 200, "anything", true},
		{genesys.GWE, 302, "", false}, // a login page
		{genesys.GWS, 200, `{"statusCode":0}`, true},
		{genesys.GWS, 200, `{"statusCode":6}`, false},
		{genesys.GWS, 200, `<html>`, true},
		{genesys.Cloud, 403, "{}", false},
	} {
		asked := 0
		check, err := test.product.Check(genesys.Probe{
			URL: "http://user:word@genesys/status", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				asked++
				require.Equal(t, "no-cache", r.Header.Get("Cache-Control"))
				user, password, _ := r.BasicAuth()
				require.Equal(t, "user:word", user+":"+password)
				return answer(test.status, test.body, "Location", "http://genesys/login"), nil
			}),
		})
		require.NoError(t, err)
		err = check(t.Context())
		require.Equal(t, test.ok, err == nil, "%v %d %.60s: %v", test.product, test.status, test.body, err)
		require.Equal(t, 1, asked)
		if err != nil {
			require.NotContains(t, err.Error(), "word@")
			require.Less(t, len(err.Error()), 300)
		}
	}
}

func TestCheckErrorsNameFieldAndValue(t *testing.T) {
	for url, want := range map[string]string{
		"":                                   `Probe.URL is "", want http://`,
		"ftp://host/":                        `Probe.URL is "ftp://host/", want http://`,
		"http:///path":                       `Probe.URL is "http:///path", want http://`,
		"http://u:secret@host:port/":         `Probe.URL is not a URL: `,
		"gopher://user:secret@host/":         `Probe.URL is "gopher://user:xxxxx@host/"`,
		"host/genesys/1/admin/node/status":   `Probe.URL is "host/genesys/1/admin/node/status", want http://`,
		"http://u:secret@h\x7f/":             `Probe.URL is not a URL: `,
		"http://u:secret@[fe80::1%25en0]:x/": `Probe.URL is not a URL: `,
	} {
		_, err := genesys.GMS.Check(genesys.Probe{URL: url})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := genesys.Product(0).Check(genesys.Probe{URL: "http://host/"})
	require.ErrorContains(t, err, "the Product is none")
}

// The check does the probing, so that no user's request is the guinea pig.
func TestCheckClosesTheBreaker(t *testing.T) {
	fake := start(t)
	closed := make(chan struct{})
	g, err := guard.New(guard.Config{Logger: quiet(), Hooks: guard.Hooks{BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
		if e.To == guard.StateClosed {
			close(closed)
		}
	}}})
	require.NoError(t, err)
	defer g.Close()
	d, err := g.Dependency("gms", genesys.GMS.Config(guard.DependencyConfig{
		MinCalls: 2, OpenFor: 5 * time.Millisecond, CheckEvery: time.Millisecond,
		Check: probe(t, genesys.GMS, fake.GMS.URL+genesys.GMSStatusPath),
	}))
	require.NoError(t, err)
	client := &http.Client{Transport: d.Transport(transport(t))}
	fake.GMS.Inject(genesystest.Failure(1).On("/genesys/2/"))
	fake.GMS.SetHealth("OFFLINE")
	chat := fake.GMS.URL + "/genesys/2/chat/x"
	for range 2 {
		_, _, err := do(t, client, http.MethodPost, chat, "")
		require.NoError(t, err)
	}
	require.NotEqual(t, guard.StateClosed, d.State())
	fake.GMS.Inject(genesystest.Fault{})
	fake.GMS.SetHealth("ONLINE")
	<-closed
	require.Equal(t, guard.StateClosed, d.State())
	require.Equal(t, 2, fake.GMS.Requests("/genesys/2/chat/x"))
}
