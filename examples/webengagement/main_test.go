package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// TestMain fails the run if a goroutine is left when all tests have passed.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := goroutinesLeft(patience); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// goroutinesLeft returns the stacks of all goroutines but its own once there are
// none, or patience is out. It leaves out one of the driver's, which v2.1.2
// forgets when a control connection is closed right after it was made.
func goroutinesLeft(patience time.Duration) (left []string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = nil
		for i, stack := range strings.Split(strings.TrimSpace(string(stacks)), "\n\n") {
			if i > 0 && !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "runtime.ensureSigM") &&
				!strings.Contains(stack, ".(*controlConn).heartBeat(") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// password is that of the administrators in tests.
const password = "correct horse"

// A rig is a program that runs, and a client of it.
type rig struct {
	*program

	t      testing.TB
	api    string // URL of the API
	panel  string // URL of the admin port
	client *http.Client
}

// newRig starts the program on free ports, without limits that a test does not set.
func newRig(t testing.TB, change ...func(*config)) *rig {
	t.Helper()
	c := defaults()
	c.addr, c.admin, c.password = "127.0.0.1:0", "127.0.0.1:0", password
	c.drain = 0
	c.limit, c.client = guard.Limit{Rate: 1e6, Burst: 1e6}, guard.Limit{Rate: 1e6, Burst: 1e6}
	c.logger = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&c)
	}
	p, err := start(c)
	require.NoError(t, err)
	r := &rig{
		program: p, t: t, api: "http://" + p.apiAddr.String(), panel: "http://" + p.ctlAddr.String(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, p.stop(ctx))
	})
	return r
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A request is what is sent.
type request struct {
	method, path, body string // path may begin with http://
	header             http.Header
	user               string // of Basic authentication, with the password
	wrongPassword      bool
}

// An answered is what came back.
type answered struct {
	*http.Response

	body string
}

func (r *rig) send(q request) answered {
	r.t.Helper()
	a, err := r.try(q)
	require.NoError(r.t, err)
	return a
}

func (r *rig) try(q request) (answered, error) {
	url := q.path
	if strings.HasPrefix(url, "/") {
		url = r.api + url
	}
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	h, err := http.NewRequest(method, url, strings.NewReader(q.body))
	if err != nil {
		return answered{}, err
	}
	if q.body != "" {
		h.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(h.Header, q.header)
	if q.user != "" {
		h.SetBasicAuth(q.user, password)
		if q.wrongPassword {
			h.SetBasicAuth(q.user, "wrong")
		}
	}
	resp, err := r.client.Do(h)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answered{resp, string(body)}, err
}

// get reads what a JSON answer of 200 says.
func (r *rig) get(q request) map[string]any {
	r.t.Helper()
	a := r.send(q)
	require.Equal(r.t, http.StatusOK, a.StatusCode, a.body)
	require.Equal(r.t, "application/json", a.Header.Get("Content-Type"))
	var members map[string]any
	require.NoError(r.t, json.Unmarshal([]byte(a.body), &members))
	return members
}

// visited returns the ids of an identity and of a visit of it.
func (r *rig) visited() (identity, visit string) {
	r.t.Helper()
	i := r.get(request{method: http.MethodPost, path: "/identities", body: `{"email": "Ann@Example.com", "name": "Ann"}`})
	identity, _ = i["id"].(string)
	v := r.get(request{method: http.MethodPost, path: "/visits", body: `{"identity": "` + identity + `", "page": "/pricing"}`})
	visit, _ = v["id"].(string)
	return identity, visit
}

// fault switches a fault of a stand-in: "cassandra?kind=down", say.
func (r *rig) fault(query string) {
	r.t.Helper()
	a := r.send(request{method: http.MethodPut, path: r.panel + "/faults/" + query})
	require.Equal(r.t, http.StatusOK, a.StatusCode, a.body)
}

// eventually waits until the condition holds.
func eventually(t testing.TB, holds func() bool, msg ...any) {
	t.Helper()
	require.Eventually(t, holds, patience, 5*time.Millisecond, msg...)
}
