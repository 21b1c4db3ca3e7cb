package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPrometheus has a real Prometheus scrape the program, and asks it what the
// alerts of guardprom ask: while all is well, while Cassandra is down, and after.
func TestPrometheus(t *testing.T) {
	path := prometheusPath(t)
	t.Parallel() // it takes five seconds before its first scrape
	r := newRig(t, quick)
	_, visit := r.visited()
	p := startPrometheus(t, path, r.ctlAddr.String())

	// Each time that Prometheus is asked there has been another request.
	asks := func(expr string, is func(series []point) bool) {
		t.Helper()
		await(t, func() bool {
			r.send(request{path: "/visits/" + visit})
			return is(p.query(t, expr))
		}, "%s", expr)
	}
	some := func(series []point) bool { return len(series) > 0 }
	none := func(series []point) bool { return len(series) == 0 }
	asks(`rate(guard_requests_total{outcome="served"}[1m]) > 0`, some) // which takes two scrapes

	alerts := p.alerts(t)
	require.Contains(t, alerts, "GuardBreakerOpen")
	for name, expr := range alerts {
		require.Empty(t, p.query(t, expr), name)
	}

	r.cassandraDown("/visits/" + visit)
	asks(alerts["GuardBreakerOpen"], func(series []point) bool {
		for _, s := range series {
			if s.Metric["dependency"] == "cassandra" {
				require.Equal(t, map[string]string{"job": "webengagement", "instance": r.ctlAddr.String(), "dependency": "cassandra"}, s.Metric)
				require.Equal(t, "1", s.Value[1])
				return true
			}
		}
		return false
	})
	asks(alerts["GuardRefusingForDependency"], some)
	require.Empty(t, p.query(t, alerts["GuardRefusing"]), "it is not for want of capacity")
	require.Empty(t, p.query(t, alerts["GuardPanics"]))

	r.fault("cassandra?kind=none")
	asks(alerts["GuardBreakerOpen"], none)
	asks(`guard_route_requests_total{route="visits",outcome="served"} > 2`, some)
	asks(`go_goroutines > 0 and process_start_time_seconds > 0`, some)
}

// prometheusPath returns where Prometheus is. If it is not there, the test is
// skipped, or fails if GUARD_PROMETHEUS is set.
func prometheusPath(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs prometheus, which -short leaves out")
	}
	path, err := exec.LookPath("prometheus")
	if err != nil && os.Getenv("GUARD_PROMETHEUS") != "" {
		require.NoError(t, err, "GUARD_PROMETHEUS is set")
	}
	if err != nil {
		t.Skip("needs prometheus (on Debian: apt-get install prometheus): " + err.Error())
	}
	return path
}

// A scraper is a Prometheus that runs until the test is over.
type scraper struct {
	url    string
	client http.Client
	log    output
}

// output is what a program has written. It is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// prometheusReady is what it has written once it answers queries: where, and that.
var prometheusReady = regexp.MustCompile(`(?s)msg="Listening on"[^\n]* address=(127\.0\.0\.1:\d+).* msg="Server is ready to receive web requests\."`)

// startPrometheus runs it on a port that is free, with a directory of its own, and
// with the alerts of guardprom.
func startPrometheus(t *testing.T, path, target string) *scraper {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(filepath.FromSlash("../../adapters/guardprom/alerts/guard.yml"))
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: webengagement, static_configs: [{targets: [%q]}]}]
`, rules, target), 0o600))

	p := &scraper{client: http.Client{Transport: &http.Transport{}, Timeout: patience}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		cancel()
		_ = cmd.Wait()
	})
	await(t, func() bool {
		found := prometheusReady.FindStringSubmatch(p.log.String())
		if found != nil {
			p.url = "http://" + found[1]
		}
		return found != nil
	}, "it is not ready: %s", &p.log)
	return p
}

// get asks the API, and reads the data of an answer that is a success.
func (p *scraper) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, http.NoBody)
	require.NoError(t, err)
	resp, err := p.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	answer := struct {
		Status string
		Data   any
	}{Data: into}
	require.NoError(t, json.Unmarshal(body, &answer), "%s: %s", path, body)
	require.Equal(t, "success", answer.Status, "%s: %s", path, body)
}

// A point is what an expression is for one series: an instant, and a number as text.
type point struct {
	Metric map[string]string
	Value  [2]any
}

// query returns what the expression is now.
func (p *scraper) query(t *testing.T, expr string) []point {
	t.Helper()
	var data struct{ Result []point }
	p.get(t, "/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result
}

// alerts returns the expressions of the rules, by the names of the alerts.
func (p *scraper) alerts(t *testing.T) map[string]string {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	p.get(t, "/api/v1/rules", &data)
	exprs := map[string]string{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			require.NotEqual(t, "err", r.Health, "%s: %s", r.Name, r.LastError)
			exprs[r.Name] = r.Query
		}
	}
	return exprs
}
