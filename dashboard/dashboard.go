package dashboard

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"example.com/guard"
)

// A Dashboard shows what a guard does. It is an [http.Handler] that answers the
// same at every path, so it can be mounted anywhere. Make one with [New]; the zero
// Dashboard is not usable. All methods are safe for concurrent use.
type Dashboard struct {
	guard   *guard.Guard
	allowed func(*http.Request) bool
	title   string
	boot    string // tells one history from that of the process before
	stop    chan struct{}
	stopped sync.Once

	mu      sync.Mutex // guards the fields below
	past    history
	streams map[*stream]struct{}
}

// An Option changes what [New] makes.
type Option func(*Dashboard)

// Authorize has allowed decide who may see the dashboard, instead of the default,
// which is the machine it runs on alone. It is called once for each request, and
// false is answered with 403; to ask for credentials, wrap the Dashboard in a
// middleware. Requests that another site makes in a user's browser are refused
// before it is asked. nil leaves the default in place.
func Authorize(allowed func(*http.Request) bool) Option {
	return func(d *Dashboard) {
		if allowed != nil {
			d.allowed = allowed
		}
	}
}

// Title is what the page calls the server. "" means "guard", as does no Title.
func Title(title string) Option {
	return func(d *Dashboard) { d.title = title }
}

// New returns a Dashboard of g, and starts the one goroutine that looks at g once
// a second until [Dashboard.Close]. It panics if g is nil.
func New(g *guard.Guard, options ...Option) *Dashboard {
	if g == nil {
		panic("dashboard: the guard is nil")
	}
	d := &Dashboard{
		guard: g, allowed: local, boot: rand.Text(),
		stop: make(chan struct{}), streams: make(map[*stream]struct{}),
	}
	for _, option := range options {
		if option != nil {
			option(d)
		}
	}
	if d.title == "" {
		d.title = "guard"
	}
	d.past.begin(g.Snapshot())
	go d.watch()
	return d
}

// Close ends the looking, and the streams to those who watch. The history stays
// as it is, and can be seen. It does not wait for a hook of the guard that is
// running because the dashboard looked. It never fails, and may be called again.
func (d *Dashboard) Close() error {
	d.stopped.Do(func() { close(d.stop) })
	return nil
}

// Mount returns a handler that serves the dashboard at prefix ("/debug/guard/", say)
// and what is below, and leaves all else to next. With the guard's handler as next,
// the dashboard is beside the guard: neither limited nor measured.
func (d *Dashboard) Mount(prefix string, next http.Handler) http.Handler {
	exact := strings.TrimSuffix(prefix, "/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == exact || strings.HasPrefix(r.URL.Path, exact+"/") {
			d.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP implements [http.Handler]: the page, and, by the query, ?format=json
// for the guard's Snapshot, and what the page itself asks for.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	query := r.URL.Query()
	format, asset := query.Get("format"), query.Get("asset")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "The dashboard only reads: GET or HEAD.", http.StatusMethodNotAllowed)
	case foreign(r):
		http.Error(w, "Another site asks for this.", http.StatusForbidden)
	case !d.allowed(r):
		http.Error(w, "The dashboard is shown to the machine that it runs on, or to whom the server allows.", http.StatusForbidden)
	case asset != "":
		serveAsset(w, r, asset)
	case format == "":
		serveAsset(w, r, "index.html")
	case format == "json":
		d.serveSnapshot(w)
	case format == "poll":
		writeJSON(w, d.encode(d.unseen(query.Get("after"))))
	case format == "stream":
		d.serveStream(w, r, query.Get("after"))
	default:
		http.Error(w, "The formats are json, poll and stream.", http.StatusBadRequest)
	}
}

func (d *Dashboard) serveSnapshot(w http.ResponseWriter) {
	body, _ := json.MarshalIndent(d.guard.Snapshot(), "", "  ") // has nothing that could fail
	writeJSON(w, append(body, '\n'))
}

func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) //nolint:gosec // JSON that may not be sniffed; net/http sends none to a HEAD
}
