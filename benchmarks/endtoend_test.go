package benchmarks_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/guard"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// The server runs in a process of its own, which is this program again: the load
// comes from here. What it is to serve, and with which limit, is in the environment.
const (
	serveEnv = "GUARD_BENCHMARK_SERVE" // the name of a handler or, after "bound:", of a bound
	limitEnv = "GUARD_BENCHMARK_LIMIT" // requests a second, or at once
)

// page is what the handler answers: some work, and a body of the usual size.
var page = []byte(strings.Repeat(`{"id":"0123456789","name":"a visit"},`, 28))

func TestMain(m *testing.M) {
	if name := os.Getenv(serveEnv); name != "" {
		if err := serveUntilEOF(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A process is a testing.TB for constructors, where there is no test: what they
// would clean up ends with the process.
type process struct{ testing.TB }

func (process) Helper()                   {}
func (process) Name() string              { return "server" }
func (process) Cleanup(func())            {}
func (process) FailNow()                  { os.Exit(1) }
func (process) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }

// serveUntilEOF says where it listens on its output, and ends with its input. It
// tells /cpu what CPU time it has used.
func serveUntilEOF(name string) error {
	limit, err := strconv.Atoi(os.Getenv(limitEnv))
	if err != nil {
		return err
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(page)
	})
	if bound, ok := strings.CutPrefix(name, "bound:"); ok {
		h = pick(process{}, bounds, bound).build(process{}, limit, h)
	} else {
		q := generous
		if limit != unlimited {
			burst := max(limit/10, 1) // which those that count by windows are given for each
			q = quota{rate: burst, burst: burst, window: time.Duration(burst) * time.Second / time.Duration(limit)}
		}
		h = pick(process{}, append(handlers, limitedAndSelfTuned, watchable), name).build(process{}, q, h)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, cpuTime().Nanoseconds()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	fmt.Println(listener.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// limitedAndSelfTuned is guard as its README has it, which nobody else has.
var limitedAndSelfTuned = handler{"guard+self-tuned", func(tb testing.TB, q quota, next http.Handler) http.Handler {
	return newGuard(tb, guard.Config{Limit: q.limit(), Concurrency: guard.Concurrency{SelfTuned: true}}).Handler(next)
}}

// start runs a server until the test is over, and returns its URL.
func start(tb testing.TB, name string, limit int) string {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveEnv+"="+name, limitEnv+"="+strconv.Itoa(limit))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		_ = in.Close()
		require.NoError(tb, cmd.Wait())
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(tb, err)
	return "http://" + strings.TrimSpace(addr)
}

// usedCPU asks a server for the CPU time that it has used, in ns.
func usedCPU(tb testing.TB, url string) float64 {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/cpu", nil)
	require.NoError(tb, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(tb, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(tb, err)
	ns, err := strconv.ParseFloat(string(text), 64)
	require.NoError(tb, err)
	http.DefaultClient.CloseIdleConnections()
	return ns
}

// A traffic is how a server is asked.
type traffic struct {
	rate    int // requests a second, whatever the answers; 0 means as fast as they come
	workers int // at the most; 0 means as many as it takes
	lasts   time.Duration
}

// measured is what came of a traffic.
type measured struct {
	admitted, refused, failed int
	seconds, cpu              float64 // cpu in ns
	latency                   vegeta.LatencyMetrics
}

func (l traffic) run(tb testing.TB, url string) measured {
	tb.Helper()
	options := []func(*vegeta.Attacker){vegeta.Connections(256), vegeta.Timeout(10 * time.Second)}
	if l.workers > 0 {
		options = append(options, vegeta.Workers(uint64(l.workers)), vegeta.MaxWorkers(uint64(l.workers)))
	}
	targets := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: url + "/visits/1"})
	before := usedCPU(tb, url)
	began := time.Now()
	var served vegeta.Metrics
	var m measured
	attacker := vegeta.NewAttacker(options...)
	for r := range attacker.Attack(targets, vegeta.Rate{Freq: l.rate, Per: time.Second}, l.lasts, "") {
		switch r.Code {
		case http.StatusOK:
			served.Add(r)
			m.admitted++
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			m.refused++
		default:
			m.failed++
		}
	}
	m.seconds = time.Since(began).Seconds()
	served.Close()
	m.cpu, m.latency = usedCPU(tb, url)-before, served.Latencies
	return m
}

// The floods' limit, and what comes: ten times of it.
const (
	floodLimit = 300
	floodRate  = 10 * floodLimit
)

// unlimited is a limit, in requests a second or at once, that no load here meets.
const unlimited = 1_000_000

var endToEnd = []struct {
	name       string
	limit      int
	contenders []string
	traffic
}{
	{"below-saturation", unlimited, served, traffic{rate: 1000, lasts: time.Second}},
	{"saturation", unlimited, served, traffic{workers: 16, lasts: time.Second}},
	{"flood", floodLimit, flooded, traffic{rate: floodRate, lasts: time.Second}},
}

var (
	served  = []string{"bare", "guard", "bound:guard-self-tuned", "by-hand", "failsafehttp", "bound:chi-throttle", "httprate", "go-limiter"}
	flooded = []string{"bare", "guard", "guard+self-tuned", "by-hand", "failsafehttp", "httprate", "throttled", "go-limiter", "tollbooth"}
)

// BenchmarkEndToEnd asks a server in another process over real connections.
func BenchmarkEndToEnd(b *testing.B) {
	for _, job := range endToEnd {
		for _, name := range job.contenders {
			b.Run(job.name+"/"+strings.TrimPrefix(name, "bound:"), func(b *testing.B) {
				url := start(b, name, job.limit)
				traffic{rate: 100, lasts: 200 * time.Millisecond}.run(b, url)
				for range b.N {
					m := job.run(b, url)
					require.NotZero(b, m.admitted)
					if job.limit == unlimited && !strings.HasSuffix(name, "self-tuned") {
						require.Zero(b, m.refused, "it has a limit, and is to have none")
					}
					all := float64(m.admitted + m.refused)
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(all/m.seconds, "req/s")
					b.ReportMetric(float64(m.latency.P50), "p50-ns")
					b.ReportMetric(float64(m.latency.P99), "p99-ns")
					b.ReportMetric(float64(m.latency.Quantile(0.999)), "p99.9-ns")
					b.ReportMetric(m.cpu/all, "cpu-ns/req")
					b.ReportMetric(m.cpu/m.seconds/1e9, "cores")
					b.ReportMetric(float64(m.admitted)/m.seconds, "admitted/s")
					b.ReportMetric(float64(m.failed), "failed")
				}
			})
		}
	}
}

// TestEndToEnd proves that the servers do what is measured.
func TestEndToEnd(t *testing.T) {
	short := traffic{rate: 100, lasts: 300 * time.Millisecond}
	for _, name := range served {
		m := short.run(t, start(t, name, unlimited))
		require.Positive(t, m.admitted, name)
		require.Zero(t, m.refused, name)
		require.Zero(t, m.failed, name)
		require.False(t, math.IsNaN(m.cpu), name)
	}
	for _, name := range flooded {
		m := short.run(t, start(t, name, 1))
		require.Positive(t, m.admitted, name)
		require.Zero(t, m.failed, name)
		if name != "bare" {
			require.Positive(t, m.refused, name)
		}
	}
}
