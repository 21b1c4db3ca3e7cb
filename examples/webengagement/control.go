package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"example.com/guard"
	"example.com/guard/dashboard"
)

// control is the admin port: health, figures, fault switches and the way out. It
// asks nobody who he is, so it is on loopback alone, and not for browsers' other
// pages.
func (p *program) control() (http.Handler, error) {
	g, err := guard.New(guard.Config{Logger: p.config.logger, Support: "customer care"}) // no limits: it must answer when the server refuses
	if err != nil {
		return nil, err
	}
	metrics, err := p.metrics()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /livez", p.server.guard.Live())
	mux.Handle("GET /readyz", p.server.guard.Ready())
	for pattern, h := range map[string]guard.HandlerFunc{
		"GET /snapshot":         p.getSnapshot,
		"PUT /faults/cassandra": p.putCassandraFault,
		"PUT /faults/genesys":   p.putGenesysFault,
		"POST /drain":           p.postDrain,
	} {
		mux.Handle(pattern, g.HandlerFunc(h))
	}
	p.dashboard = dashboard.New(p.server.guard, dashboard.Title("web engagement"))
	inner := p.dashboard.Mount("/debug/guard/", g.Mux(mux))
	cross := http.NewCrossOriginProtection()
	return g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if !isLoopback(r.Host) { // another name for this address, made up to get past a browser's rules
			return guard.Forbidden("The host of the URL is not a loopback address.")
		}
		if cross.Check(r) != nil {
			return guard.Forbidden("The request comes from a page of another origin.")
		}
		inner.ServeHTTP(w, r)
		return nil
	}), nil
}

// isLoopback reports whether host, with or without a port, is this machine alone.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

func (p *program) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).end(); err != nil {
		return err
	}
	return answer(w, p.server.guard.Snapshot())
}

func (p *program) putCassandraFault(w http.ResponseWriter, r *http.Request) error {
	const overloaded = 0x1001
	f, err := faultOf(queryOf(r), overloaded, 0, 0xffff)
	if err == nil {
		err = p.standIns.failCassandra(f)
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{"cassandra": f.kind})
}

func (p *program) putGenesysFault(w http.ResponseWriter, r *http.Request) error {
	f, err := faultOf(queryOf(r), http.StatusInternalServerError, 400, 599)
	if err == nil {
		err = p.standIns.failGenesys(f)
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{"genesys": f.kind})
}

// postDrain ends the program, as a SIGTERM does.
func (p *program) postDrain(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).end(); err != nil {
		return err
	}
	p.drain()
	return answer(w, map[string]string{"draining": fmt.Sprintf("for %v, then refusing for %v", p.config.drain, p.config.drain)})
}
