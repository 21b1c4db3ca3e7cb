package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start builds and starts the server as a process of its own.
func start(t *testing.T) (url string, p *os.Process) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "quickstart")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	url = regexp.MustCompile(`http://[\d.:]+\d`).FindString(line)
	require.NotEmpty(t, url, line)
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return url, cmd.Process
}

// client sends from an address of its own, so that it has a bucket of its own.
func client(last int) *http.Client {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(last))}
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{LocalAddr: from}).DialContext,
		MaxIdleConnsPerHost: 100,
	}}
}

// tally counts answers.
type tally struct {
	mu     sync.Mutex
	status map[int]int
	wrong  []string
}

func (c *tally) get(client *http.Client, url string) {
	status, wrong := 0, ""
	resp, err := client.Get(url)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if status = resp.StatusCode; status == http.StatusServiceUnavailable {
			wrong = checkRefusal(resp.Header, body)
		}
	}
	if err != nil {
		wrong = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status[status]++
	if wrong != "" {
		c.wrong = append(c.wrong, wrong)
	}
}

func checkRefusal(h http.Header, body []byte) string {
	var p struct {
		Status     int
		Code       string
		RetryAfter int
		RequestID  string `json:"requestId"`
	}
	err := json.Unmarshal(body, &p)
	seconds := h.Get("Retry-After")
	// With a token every 10 or 20 ms and 10 clients, nobody need wait for more than a second.
	if err != nil || p.Status != 503 || p.Code != "rate-limited" || seconds != "1" || strconv.Itoa(p.RetryAfter) != seconds ||
		p.RequestID != h.Get("X-Request-Id") || h.Get("Content-Type") != "application/problem+json" {
		return fmt.Sprintf("%v %v %s", err, h, body)
	}
	return ""
}

// At five times the limit, from another process: only 200 and 503, the bound is
// kept, /livez answers, and memory is level.
func TestUnderLoad(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sends from many loopback addresses, and reads /proc")
	}
	const clients, perSecond = 10, 500 // the limit is 100 a second, and 50 for a client
	period := 4 * time.Second
	if testing.Short() {
		period = time.Second
	}
	url, process := start(t)
	answers, health := &tally{status: map[int]int{}}, &tally{status: map[int]int{}}
	var senders [clients]*http.Client
	for i := range senders {
		senders[i] = client(10 + i)
	}
	var wg sync.WaitGroup
	var memory []int
	began := time.Now()
	ticks := time.NewTicker(time.Second / perSecond)
	defer ticks.Stop()
	for i := 0; time.Since(began) < period; i++ {
		<-ticks.C
		wg.Go(func() { answers.get(senders[i%clients], url+"/visits/1") })
		if i%50 == 0 {
			wg.Go(func() { health.get(senders[0], url+"/livez") })
			memory = append(memory, resident(t, process.Pid))
		}
	}
	wg.Wait()
	took := time.Since(began)

	assert.Empty(t, answers.wrong)
	assert.LessOrEqual(t, float64(answers.status[200]), 50+100*took.Seconds())
	assert.Len(t, answers.status, 2, "only 200 and 503: %v", answers.status)
	assert.Empty(t, health.wrong)
	assert.Len(t, health.status, 1, "only 200: %v", health.status)
	half := len(memory) / 2
	assert.Less(t, memory[len(memory)-1], memory[half]*3/2, "KiB resident, half way and at the end")
	t.Logf("%v of load: %v; /livez: %v; resident %d KiB half way, %d KiB at the end", took, answers.status, health.status, memory[half], memory[len(memory)-1])

	require.NoError(t, process.Signal(syscall.SIGTERM))
	state, err := process.Wait()
	require.NoError(t, err)
	assert.Zero(t, state.ExitCode(), "it stops in good order")
}

// resident returns how much memory the process has, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}
