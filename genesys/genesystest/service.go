package genesystest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Service is one product of a [Server].
type Service struct {
	// URL is where it listens: http://127.0.0.1:port.
	URL string

	name     string
	fail     failure
	mux      *http.ServeMux
	server   *http.Server
	listener net.Listener
	served   chan struct{}  // closed when the server has ended
	handlers sync.WaitGroup // that run

	mu      sync.Mutex // guards the fields below
	fault   Fault
	changed chan struct{} // closed when the fault changes
	met     int           // requests that the fault was for
	health  string
	counts  map[string]int
	total   int
	chats   int // of GMS
	closed  bool
}

// failure writes the error body of a product.
type failure func(v *Service, w http.ResponseWriter, status int)

func newService(name, health string, fail failure) *Service {
	return &Service{
		name: name, health: health, fail: fail,
		mux: http.NewServeMux(), served: make(chan struct{}), changed: make(chan struct{}), counts: make(map[string]int),
	}
}

func (v *Service) listen() error {
	l, err := listen()
	if err != nil {
		return err
	}
	v.listener, v.URL = l, "http://"+l.Addr().String()
	v.server = &http.Server{
		Handler:           v,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what breaks here is meant to
	}
	go func() {
		defer close(v.served)
		_ = v.server.Serve(l)
	}()
	return nil
}

func (v *Service) close() error {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	err := v.server.Close()
	<-v.served
	v.handlers.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Inject makes the service misbehave from now on; the zero Fault makes it behave.
// Requests that a fault before has hanging are dropped.
func (v *Service) Inject(f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fault, v.met = f, 0
	close(v.changed)
	v.changed = make(chan struct{})
}

// SetHealth sets what the end-point for its health says: "ONLINE" or "OFFLINE" of
// GMS, "production" or "maintenance" of UCS, which then refuses all else, and a
// word like "SYSTEM_STATUS_CLUSTER_SYNCHING" of GRE. The others have none.
func (v *Service) SetHealth(word string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.health = word
}

// Health returns what the end-point for its health says.
func (v *Service) Health() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.health
}

// Requests returns how many requests for a path have come, whatever became of
// them; "" means all. Of more than 1,000 different paths, the last are not told
// apart.
func (v *Service) Requests(path string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if path == "" {
		return v.total
	}
	return v.counts[path]
}

// arrived counts a request, and returns the fault that is for it.
func (v *Service) arrived(path string) (f Fault, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.total++
	if _, known := v.counts[path]; known || len(v.counts) < 1000 {
		v.counts[path]++
	}
	if !strings.HasPrefix(path, v.fault.prefix) {
		return Fault{}, v.changed
	}
	f = v.fault
	if f.good+f.bad > 0 && v.met%(f.good+f.bad) < f.good {
		f = Fault{}
	}
	v.met++
	return f, v.changed
}

// begin counts a handler that runs, unless the server is closed.
func (v *Service) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.handlers.Add(1)
	}
	return !v.closed
}

// ServeHTTP implements http.Handler.
func (v *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !v.begin() {
		panic(http.ErrAbortHandler)
	}
	defer v.handlers.Done()
	// The body is read first: only then is the hang-up of a client noticed.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f, changed := v.arrived(r.URL.Path)
	f.serve(v, w, r, changed)
}

// writeJSON writes a body with its length.
func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // a body of ours that cannot be encoded is a bug
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

type object = map[string]any
