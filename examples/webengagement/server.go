package main

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// server is the API: its guard, what it depends on, and its handlers.
type server struct {
	guard    *guard.Guard
	db       *cassandra
	genesys  *contactCenter
	accounts accounts
	started  time.Time
	handler  http.Handler
}

// addresses say where the systems are that the server depends on.
type addresses struct {
	cassandra string                     // hosts, with commas between them
	protocol  int                        // version of the native protocol; 0: the newest that both know
	driver    func(*gocql.ClusterConfig) // see config
	genesys   string                     // a URL
}

// newServer makes the API. The systems that it depends on need not be up.
func newServer(c *config, a addresses) (*server, error) {
	schema, err := newSchema(c.keyspace, c.replication)
	if err != nil {
		return nil, err
	}
	g, err := guard.New(guard.Config{
		Limit:       c.limit,
		Clients:     []guard.ClientLimit{{Limit: c.client}},
		Concurrency: guard.Concurrency{Max: 500},
		Exempt:      func(*http.Request) bool { return false }, // /livez and /readyz are on the other port
		Support:     "customer care",
		DrainDelay:  c.drain,
		Logger:      c.logger,
		Hooks:       c.hooks,
	})
	if err != nil {
		return nil, err
	}
	s := &server{guard: g, accounts: newAccounts(c.password), started: time.Now()}
	if s.genesys, err = openGenesys(g, a.genesys, c.breaker); err != nil {
		return nil, err
	}
	if s.db, err = openCassandra(g, a, schema, c.breaker); err != nil {
		return nil, err
	}
	if err := s.route(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// route says what answers to what. A route that needs a system refuses at once
// while the breaker of that is open, and takes no token for it.
func (s *server) route() error {
	mux := http.NewServeMux()
	var errs []error
	group := func(name string, c guard.RouteConfig, handlers map[string]guard.HandlerFunc) {
		route, err := s.guard.Route(name, c)
		if err != nil {
			errs = append(errs, err)
			return
		}
		for pattern, h := range handlers {
			mux.Handle(pattern, route.HandlerFunc(s.slowToo(h)))
		}
	}
	db, genesys := []*guard.Dependency{s.db.dep}, []*guard.Dependency{s.genesys.dep}
	group("identities", guard.RouteConfig{Needs: db}, map[string]guard.HandlerFunc{
		"GET /identities/{id}": s.getIdentity,
		"GET /identities":      s.getIdentities,
		"POST /identities":     s.postIdentity,
	})
	group("visits", guard.RouteConfig{Needs: db}, map[string]guard.HandlerFunc{
		"GET /visits/{id}": s.getVisit,
		"GET /visits":      s.getVisits,
		"POST /visits":     s.postVisit,
	})
	group("events", guard.RouteConfig{Needs: db}, map[string]guard.HandlerFunc{
		"GET /visits/{id}/events":  s.getEvents,
		"POST /visits/{id}/events": s.postEvent,
	})
	group("agents", guard.RouteConfig{Needs: genesys}, map[string]guard.HandlerFunc{
		"GET /agents/{id}": s.getAgent,
		"GET /agents":      s.getAgents,
	})
	group("queues", guard.RouteConfig{Needs: genesys}, map[string]guard.HandlerFunc{
		"GET /queues/{id}": s.getQueue,
		"GET /queues":      s.getQueues,
	})
	group("engagements", guard.RouteConfig{Needs: append(db, genesys...)}, map[string]guard.HandlerFunc{
		"GET /engagements/{id}": s.getEngagement,
		"POST /engagements":     s.postEngagement,
	})
	group("administration", guard.RouteConfig{Concurrency: guard.Concurrency{Max: 10}}, map[string]guard.HandlerFunc{
		"GET /admin/limits":              s.getLimits,
		"PUT /admin/limits":              s.putLimits,
		"PUT /admin/dependencies/{name}": s.putDependency,
	})
	group("self", guard.RouteConfig{}, map[string]guard.HandlerFunc{ // what needs no other system
		"GET /version":    s.getVersion,
		"GET /demo/panic": func(http.ResponseWriter, *http.Request) error { panic("for the demonstration") },
		"GET /demo/error": func(http.ResponseWriter, *http.Request) error { return errors.New("for the demonstration") },
	})
	s.handler = s.guard.Handler(s.canonical(s.guard.Mux(mux)))
	return errors.Join(errs...)
}

// canonical refuses paths with dots and empty elements in them, which a mux would
// redirect to where they lead.
func (s *server) canonical(next http.Handler) http.Handler {
	return s.guard.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if p := r.URL.Path; !strings.HasPrefix(p, "/") || (p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/")) {
			return guard.NotFound("The path is not a valid one.")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// slowToo answers clients whose body came too slowly. When ReadTimeout is over,
// net/http cancels the request's context, just as if the client had gone.
func (s *server) slowToo(h guard.HandlerFunc) guard.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		var e *guard.Error
		if errors.As(err, &e) && e.Status == http.StatusRequestTimeout {
			s.guard.WriteError(w, r.WithContext(context.WithoutCancel(r.Context())), e)
			return nil
		}
		return err
	}
}

func (s *server) getVersion(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).end(); err != nil {
		return err
	}
	return answer(w, map[string]any{"name": "webengagement", "version": 1, "started": s.started.UTC().Truncate(time.Second)})
}

// close ends the sessions; the server has been shut down before.
func (s *server) close() {
	_ = s.guard.Close() // it never fails
	if s.db != nil {
		s.db.Close()
	}
	if s.genesys != nil {
		s.genesys.client.CloseIdleConnections()
	}
}
