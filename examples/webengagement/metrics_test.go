package main

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// quick makes a breaker open after two failures, and close soon after the end of
// them.
func quick(c *config) {
	c.breaker.MinCalls = 2
	c.breaker.OpenFor, c.breaker.MaxOpenFor = 200*time.Millisecond, 200*time.Millisecond
	c.breaker.CheckEvery = 50 * time.Millisecond
}

// cassandraDown takes Cassandra down, and sends requests until the breaker is open.
func (r *rig) cassandraDown(path string) {
	r.t.Helper()
	r.fault("cassandra?kind=down")
	await(r.t, func() bool {
		require.Equal(r.t, http.StatusBadGateway, r.send(request{path: path}).StatusCode)
		return r.server.db.dep.State() == guard.StateOpen
	}, "the breaker is not open")
}

// await waits until the condition holds, which is asked in the goroutine of the
// test and may end it.
func await(t testing.TB, holds func() bool, format string, args ...any) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-look.C {
		if time.Now().After(deadline) {
			require.FailNowf(t, "not in time", format, args...)
		}
	}
}

// TestMetrics scrapes the admin port after some requests, and while Cassandra is
// down.
func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick, func(c *config) { c.breaker.OpenFor, c.breaker.MaxOpenFor = time.Hour, time.Hour })
	scrape := func() string {
		a := r.send(request{path: r.panel + "/metrics"})
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		assert.Contains(t, a.Header.Get("Content-Type"), "text/plain; version=0.0.4")
		return a.body
	}
	_, visit := r.visited()
	well := scrape()
	for _, line := range []string{
		`guard_requests_total{outcome="served"} 2`, // the admin port does not count
		`guard_requests_refused_total{reason="dependency"} 0`,
		`guard_route_requests_total{outcome="served",route="visits"} 1`,
		`guard_dependency_breaker_state{dependency="cassandra",state="closed"} 1`,
		`guard_dependency_calls_in_flight_limit{dependency="genesys"} 200`,
		`guard_client_limit_burst_tokens{limit="client"} 1e+06`,
		`guard_phase{state="serving"} 1`,
		`go_info{version="` + runtime.Version() + `"} 1`,
	} {
		assert.Contains(t, well, "\n"+line+"\n")
	}
	if runtime.GOOS == "linux" {
		assert.Regexp(t, `\nprocess_resident_memory_bytes \d`, well)
	}

	r.cassandraDown("/visits/" + visit)
	require.Equal(t, http.StatusBadGateway, r.send(request{path: "/visits/" + visit}).StatusCode)
	down := scrape()
	for _, line := range []string{
		`guard_dependency_breaker_state{dependency="cassandra",state="open"} 1`,
		`guard_dependency_breaker_state{dependency="genesys",state="closed"} 1`,
		// The routes need it, and so it is not called.
		`guard_route_requests_refused_total{reason="dependency",route="visits"} `,
		`guard_dependency_calls_total{dependency="cassandra",outcome="failed"} `,
	} {
		assert.Contains(t, down, "\n"+line)
	}
	assert.NotContains(t, down, "\nguard_requests_refused_total{reason=\"dependency\"} 0\n")
	assert.NotContains(t, down, visit, "what clients send is in no label")

	assert.Equal(t, http.StatusNotFound, r.send(request{path: "/metrics"}).StatusCode, "metrics are on the other port")
	elsewhere, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.panel+"/metrics", http.NoBody)
	require.NoError(t, err)
	elsewhere.Host = "evil.example"
	resp, err := r.client.Do(elsewhere)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}
