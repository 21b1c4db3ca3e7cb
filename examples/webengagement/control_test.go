package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// TestControl looks at what the admin port shows.
func TestControl(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.visited()
	assert.Equal(t, http.StatusOK, r.send(request{path: r.panel + "/livez"}).StatusCode)
	ready := r.send(request{path: r.panel + "/readyz?verbose"})
	assert.Equal(t, http.StatusOK, ready.StatusCode)
	assert.Contains(t, ready.body, "[+]cassandra ok")

	var s guard.Snapshot
	require.NoError(t, json.Unmarshal([]byte(r.send(request{path: r.panel + "/snapshot"}).body), &s))
	assert.Equal(t, uint64(2), s.Requests.Counts.Served, "the admin port does not count")
	names := []string{}
	for _, d := range s.Dependencies {
		names = append(names, d.Name)
	}
	assert.Equal(t, []string{"genesys", "cassandra", "cassandra-schema"}, names)
	assert.Equal(t, http.StatusNotFound, r.send(request{path: "/livez"}).StatusCode, "health is on the other port")
}

// TestControlHost uses a name that somebody has made to point to this machine, so
// that a browser takes a page of his for one of ours.
func TestControlHost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for host, status := range map[string]int{
		"evil.example": http.StatusForbidden, "127.0.0.1.evil.example:8081": http.StatusForbidden, "192.0.2.1": http.StatusForbidden,
		"localhost:8081": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:8081": http.StatusOK,
	} {
		h, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.panel+"/livez", http.NoBody)
		require.NoError(t, err)
		h.Host = host
		resp, err := r.client.Do(h)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode, host)
	}
}
