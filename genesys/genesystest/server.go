// Package genesystest plays the Genesys products over loopback HTTP, for tests of
// servers that call them: with agents, queues and statistics, tokens that expire,
// and faults that are switched on and off at run time.
//
//	fake, err := genesystest.Start()
//	…
//	defer fake.Close()
//	fake.GMS.Inject(genesystest.Failure(1)) // 200, but failed
//	…
//	fake.GMS.Inject(genesystest.Fault{}) // as good as new
//
// Each product is a [Service] at an address of its own. Paths, bodies and headers
// are those of the products' documentation; of GWE and GRE, where it gives no
// paths or bodies, they are made up in its manner. It is no reference for what the
// products can do.
//
// Everything is safe for concurrent use, and [Server.Close] stops every goroutine.
package genesystest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The accounts that the server knows.
const (
	Username     = "default" // for Basic authentication at GWE, GMS and GWS
	Password     = "password"
	ClientID     = "client" // for tokens, at Login
	ClientSecret = "secret"
)

// A Server plays all the products. Make one with [Start].
type Server struct {
	GWE   *Service // Web Engagement: /backend/data/visits
	GMS   *Service // Mobile Services: /genesys/1, /genesys/2
	GWS   *Service // Web Services: /api/v2, with Basic authentication or a token
	UCS   *Service // Universal Contact Server: /server/status, /profiles
	GRE   *Service // Rules Engine: /genesys-rules-engine
	Cloud *Service // Genesys Cloud: /api/v2, with a token
	Login *Service // tokens: /oauth/token, and /auth/v3/oauth/token of GWS

	tokens tokens

	mu     sync.Mutex // guards the fields below
	agents []Agent
	queues []Queue
}

// Start starts a server, each of whose services listens on a free port of
// 127.0.0.1. Close stops it.
func Start() (*Server, error) {
	s := &Server{agents: defaultAgents(), queues: defaultQueues()}
	s.tokens.life = 24 * time.Hour
	for _, p := range []struct {
		service **Service
		name    string
		health  string
		fail    failure
		serve   func(*Service)
	}{
		{&s.GWE, "GWE", "", failGWE, s.serveGWE},
		{&s.GMS, "GMS", "ONLINE", failGMS, s.serveGMS},
		{&s.GWS, "GWS", "", failGWS, s.serveGWS},
		{&s.UCS, "UCS", "production", failUCS, s.serveUCS},
		{&s.GRE, "GRE", "SYSTEM_STATUS_OK", failGRE, s.serveGRE},
		{&s.Cloud, "Cloud", "", failCloud, s.serveCloud},
		{&s.Login, "Login", "", failLogin, s.serveLogin},
	} {
		v := newService(p.name, p.health, p.fail)
		p.serve(v)
		if err := v.listen(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		*p.service = v
	}
	return s, nil
}

// Close stops the server: it closes all connections, those that hang included,
// and waits until the handlers are done. Close again does nothing.
func (s *Server) Close() error {
	var errs []error
	for _, v := range s.services() {
		if v != nil {
			errs = append(errs, v.close())
		}
	}
	return errors.Join(errs...)
}

// Inject injects a fault into all services, Login included.
func (s *Server) Inject(f Fault) {
	for _, v := range s.services() {
		v.Inject(f)
	}
}

func (s *Server) services() []*Service {
	return []*Service{s.GWE, s.GMS, s.GWS, s.UCS, s.GRE, s.Cloud, s.Login}
}

// An Agent is one of the contact centre.
type Agent struct {
	ID    string
	Name  string
	Email string
	State string // "Ready", "NotReady" or "Busy"
	Queue string // the ID of the queue that the agent works for
}

// A Queue is one of the contact centre, with what its statistics say.
type Queue struct {
	ID      string
	Name    string
	Waiting int           // interactions that wait now
	Longest time.Duration // for how long the first of them has
	Handled int           // today
}

func defaultAgents() []Agent {
	return []Agent{
		{"a-1", "Ada Marsh", "ada@contact.example", "Ready", "q-sales"},
		{"a-2", "Ben Okoro", "ben@contact.example", "Busy", "q-sales"},
		{"a-3", "Cleo Ruiz", "cleo@contact.example", "NotReady", "q-care"},
		{"a-4", "Dan Novak", "dan@contact.example", "Ready", "q-care"},
	}
}

func defaultQueues() []Queue {
	return []Queue{
		{"q-sales", "Sales", 2, 12 * time.Second, 140},
		{"q-care", "Customer Care", 5, 75 * time.Second, 317},
	}
}

// Agents returns the agents: four, if none were set.
func (s *Server) Agents() []Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.agents)
}

// SetAgents replaces the agents.
func (s *Server) SetAgents(agents ...Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents = slices.Clone(agents)
}

// Queues returns the queues: two, if none were set.
func (s *Server) Queues() []Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queues)
}

// SetQueues replaces the queues.
func (s *Server) SetQueues(queues ...Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = slices.Clone(queues)
}

func (s *Server) agent(id string) (Agent, bool) {
	agents := s.Agents()
	i := slices.IndexFunc(agents, func(a Agent) bool { return a.ID == id })
	if i < 0 {
		return Agent{}, false
	}
	return agents[i], true
}

func (s *Server) queue(id string) (Queue, bool) {
	queues := s.Queues()
	i := slices.IndexFunc(queues, func(q Queue) bool { return q.ID == id })
	if i < 0 {
		return Queue{}, false
	}
	return queues[i], true
}

// count returns how many agents of a queue are in a state.
func (s *Server) count(queue, state string) (n int) {
	for _, a := range s.Agents() {
		if a.Queue == queue && a.State == state {
			n++
		}
	}
	return n
}

// basic reports whether a request is authorized with the Username and Password.
func basic(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && user == Username && password == Password
}

// authorized wraps a handler that wants authorization.
func authorized(v *Service, ok func(*http.Request) bool, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !ok(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+v.name+`"`)
			v.fail(v, w, http.StatusUnauthorized)
			return
		}
		h(w, r)
	}
}

func listen() (net.Listener, error) {
	var c net.ListenConfig
	l, err := c.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("genesystest: %w", err)
	}
	return l, nil
}

// title returns what a status is called, in the lower case of an error.
func title(status int) string { return strings.ToLower(http.StatusText(status)) }
