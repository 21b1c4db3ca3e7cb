package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
	"example.com/guard/adapters/guardotel"
	"example.com/guard/dashboard"
	"example.com/guard/genesys/genesystest"
)

// config is what the flags say, and the tests.
type config struct {
	addr, admin          string
	cassandra, genesys   string // "": the stand-in
	keyspace             string
	replication          string
	password             string
	drain                time.Duration
	limit, client        guard.Limit
	breaker              guard.DependencyConfig
	headerTime, bodyTime time.Duration              // for a client to send its header; all
	logger               *slog.Logger               // nil: slog.Default()
	hooks                guard.Hooks                // of the API's guard
	driver               func(*gocql.ClusterConfig) // changes the driver's; nil: not
	otlp                 bool                       // export as otlpEndpoint says
	flush                time.Duration              // for the rest of it, in the end
}

func defaults() config {
	return config{
		addr: "127.0.0.1:8080", admin: "127.0.0.1:8081",
		keyspace: "webengagement", replication: "1",
		drain:  2 * time.Second,
		limit:  guard.Limit{Rate: 2000, Burst: 500},
		client: guard.Limit{Rate: 200, Burst: 100},
		breaker: guard.DependencyConfig{
			Timeout:     time.Second,
			Concurrency: guard.Concurrency{Max: 200},
			Window:      3 * time.Second,
			SlowCall:    500 * time.Millisecond,
			OpenFor:     time.Second,
			MaxOpenFor:  4 * time.Second,
			CheckEvery:  500 * time.Millisecond,
		},
		headerTime: 5 * time.Second, bodyTime: 10 * time.Second,
		flush: 3 * time.Second,
	}
}

// A program is all that runs.
type program struct {
	config    config
	standIns  *standIns
	telemetry *telemetry // nil: nothing is exported
	server    *server
	api       *http.Server
	panel     *http.Server
	apiAddr   net.Addr
	ctlAddr   net.Addr
	dashboard *dashboard.Dashboard // on the panel
	serving   sync.WaitGroup
	drain     func() // asks for the end
	draining  chan struct{}
}

// start starts everything; stop ends it.
func start(c config) (*program, error) {
	if !isLoopback(c.admin) {
		return nil, fmt.Errorf("-admin is %q, want a loopback address and a port: whoever gets there may break things", c.admin)
	}
	p := &program{config: c, draining: make(chan struct{})}
	p.drain = sync.OnceFunc(func() { close(p.draining) })
	var err error
	if p.standIns, err = startStandIns(&c); err != nil {
		return nil, err
	}
	where := addresses{cassandra: c.cassandra, genesys: c.genesys, driver: c.driver}
	if p.standIns.cassandra != nil {
		where.cassandra, where.protocol = p.standIns.cassandra.Addr(), 4
	}
	if p.standIns.genesys != nil {
		u, err := url.Parse(p.standIns.genesys.GWS.URL)
		if err != nil {
			return nil, errors.Join(err, p.stop(context.Background()))
		}
		u.User = url.UserPassword(genesystest.Username, genesystest.Password)
		where.genesys = u.String()
	}
	if c.otlp {
		if p.telemetry, err = openTelemetry(&c); err != nil {
			return nil, errors.Join(err, p.stop(context.Background()))
		}
		p.config.hooks = guardotel.Hooks(c.hooks)
	}
	if p.server, err = newServer(&p.config, where); err == nil {
		err = errors.Join(p.telemetry.observe(p.server.guard), p.listen())
	}
	if err != nil {
		return nil, errors.Join(err, p.stop(context.Background()))
	}
	return p, nil
}

// listen serves both ports.
func (p *program) listen() (err error) {
	control, err := p.control()
	if err != nil {
		return err
	}
	p.api, p.apiAddr, err = p.serve(p.config.addr, p.telemetry.handler(p.server.handler))
	if err != nil {
		return err
	}
	p.panel, p.ctlAddr, err = p.serve(p.config.admin, control)
	return err
}

// serve serves with bounds on what a client may take its time for, and on the size
// of its header; net/http has none by default but the last.
func (p *program) serve(addr string, h http.Handler) (*http.Server, net.Addr, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	logger := p.config.logger
	if logger == nil {
		logger = slog.Default()
	}
	s := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            p.config.headerTime,
		ReadTimeout:                  p.config.bodyTime,
		WriteTimeout:                 30 * time.Second,
		IdleTimeout:                  time.Minute,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true, // OPTIONS * is a URI that is none, as others are

		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	p.serving.Go(func() { _ = s.Serve(l) }) // it ends with ErrServerClosed
	return s, l.Addr(), nil
}

// stop ends everything in order: no new requests, those that go on, the admin
// port, the export of what they were, the sessions, the stand-ins.
func (p *program) stop(ctx context.Context) error {
	var errs []error
	if p.api != nil {
		errs = append(errs, p.server.guard.Shutdown(ctx, refusing{p.api, p.config.drain}))
	}
	if p.dashboard != nil {
		_ = p.dashboard.Close() // or its streams would keep the port
	}
	if p.panel != nil {
		errs = append(errs, p.panel.Shutdown(ctx))
	}
	if errors.Join(errs...) != nil { // what does not end is cut off
		for _, s := range []*http.Server{p.api, p.panel} {
			if s != nil {
				errs = append(errs, s.Close())
			}
		}
	}
	p.serving.Wait()
	p.telemetry.close()
	if p.server != nil {
		p.server.close()
	}
	p.standIns.close()
	return errors.Join(errs...)
}

// refusing is a server that still listens for a while when the guard refuses
// already: whoever has not noticed that it is going is told so, with 503 and a
// time to come back, and not by a connection refused.
type refusing struct {
	*http.Server

	lasts time.Duration
}

// Shutdown implements what [guard.Guard.Shutdown] takes.
func (r refusing) Shutdown(ctx context.Context) error {
	timer := time.NewTimer(r.lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return r.Server.Shutdown(ctx)
}
