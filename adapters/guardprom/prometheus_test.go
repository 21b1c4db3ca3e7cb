package guardprom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardprom"
)

// program returns the path of a program of Debian's package prometheus. If it is
// not there, the test is skipped, or fails if GUARD_PROMETHEUS is set.
func program(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs " + name + ", which -short leaves out")
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("GUARD_PROMETHEUS") != "" {
		require.NoError(t, err, "GUARD_PROMETHEUS is set")
	}
	if err != nil {
		t.Skip("needs " + name + " (on Debian: apt-get install prometheus): " + err.Error())
	}
	return path
}

// A real Prometheus scrapes a guarded server, and answers what the dashboard and
// the alerts ask.
func TestPrometheus(t *testing.T) {
	path := program(t, "prometheus")
	t.Parallel() // it takes five seconds before its first scrape
	f := newFull(t)
	f.exercise(t)
	mux := http.NewServeMux()
	for pattern, o := range map[string]guardprom.Options{"/metrics": {}, "/native": {NativeHistograms: true}} {
		mux.Handle(pattern, promhttp.HandlerFor(register(t, f.Guard, o), promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	}
	target := httptest.NewServer(mux)
	t.Cleanup(target.Close)
	p := startPrometheus(t, path, target.Listener.Addr().String())

	// A rate takes two scrapes. One that is late leaves nothing for a moment.
	asked := func(t *testing.T, expr string) (values []string) {
		await(t, func() bool {
			values = p.query(t, expr)
			return len(values) > 0
		}, "%s has no series: %s", expr, &p.log)
		return values
	}
	for _, job := range []string{"classic", "native"} {
		asked(t, `rate(guard_requests_total{job="`+job+`"}[1m])`)
	}

	t.Run("dashboard", func(t *testing.T) {
		board := readDashboard(t)
		exprs := board.exprs(t)
		require.Greater(t, len(exprs), 30)
		for _, expr := range exprs {
			if strings.HasPrefix(expr, "guard_bound_no_queue_seconds{") {
				p.query(t, expr) // not known before much has been served
				continue
			}
			asked(t, expr)
		}
	})
	t.Run("alerts", func(t *testing.T) {
		require.Len(t, p.alerts(t), len(readAlerts(t)))
		await(t, func() bool {
			states := p.alerts(t)
			return states["GuardBreakerOpen"] == "pending" && states["GuardNotReady"] == "pending" && states["GuardShadow"] == "inactive"
		}, "the breaker is open, and the alerts are not pending")
	})
	t.Run("values", func(t *testing.T) {
		require.Equal(t, []string{"3"}, asked(t, `guard_requests_total{job="classic",outcome="served"}`))
		require.Equal(t, []string{"6"}, asked(t, `guard_request_duration_seconds_bucket{job="classic",le="+Inf"}`))
		require.Equal(t, []string{"6"}, asked(t, `histogram_count(guard_request_duration_seconds{job="native"})`))
		require.Equal(t, []string{"1"}, asked(t, `guard_dependency_breaker_state{job="native",dependency="db",state="open"}`))
		quantile := asked(t, `histogram_quantile(1, guard_dependency_call_duration_seconds{job="native",dependency="db"})`)
		require.Len(t, quantile, 1)
		require.NotEqual(t, "NaN", quantile[0])
	})
}

// A server is a Prometheus that runs until the test is over.
type server struct {
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

// await waits until the condition holds, which is asked in the goroutine of the
// test and may end it.
func await(t *testing.T, holds func() bool, format string, args ...any) {
	t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-look.C {
		if time.Now().After(deadline) {
			require.FailNowf(t, "not in time", format, args...)
		}
	}
}

// ready is what it writes once it answers queries.
const ready = `msg="Server is ready to receive web requests."`

var listening = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`)

// startPrometheus runs it on a port that is free, with a directory of its own.
func startPrometheus(t *testing.T, path, target string) *server {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(filepath.Join("alerts", "guard.yml"))
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - {job_name: classic, static_configs: [{targets: [%q]}]}
  - {job_name: native, metrics_path: /native, static_configs: [{targets: [%q]}]}
`, rules, target, target), 0o600))

	p := &server{client: http.Client{Transport: &http.Transport{}, Timeout: patience}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--enable-feature=native-histograms")
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		cancel()
		_ = cmd.Wait()
	})
	await(t, func() bool { return strings.Contains(p.log.String(), ready) }, "it is not ready: %s", &p.log)
	found := listening.FindStringSubmatch(p.log.String())
	require.NotNil(t, found, "it does not say where it listens: %s", &p.log)
	p.url = "http://" + found[1]
	return p
}

// get asks the API, and returns the data of an answer that is a success.
func (p *server) get(t *testing.T, path string, into any) {
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

// query returns the values of the series that the expression has now.
func (p *server) query(t *testing.T, expr string) (values []string) {
	t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	p.get(t, "/api/v1/query?query="+url.QueryEscape(expr), &data)
	for _, s := range data.Result {
		values = append(values, fmt.Sprint(s.Value[1]))
	}
	return values
}

// alerts returns the state of each rule, none of which failed to be evaluated.
func (p *server) alerts(t *testing.T) map[string]string {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, State, Health, LastError string }
		}
	}
	p.get(t, "/api/v1/rules", &data)
	states := map[string]string{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			require.NotEqual(t, "err", r.Health, "%s: %s", r.Name, r.LastError)
			states[r.Name] = r.State
		}
	}
	return states
}
