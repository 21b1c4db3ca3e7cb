package main

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// A driverWatch counts what reaches the driver of Cassandra for clients of the API,
// and may have it dial another address than it would.
type driverWatch struct {
	addr string // "": the driver's own
	n    atomic.Int64
}

// watch is the driver of a config.
func (d *driverWatch) watch(c *gocql.ClusterConfig) {
	c.PoolConfig.HostSelectionPolicy = watchedPolicy{gocql.RoundRobinHostPolicy(), d}
	if d.addr != "" {
		c.Dialer = d
	}
}

func (d *driverWatch) calls() int { return int(d.n.Load()) }

// DialContext implements the driver's Dialer.
func (d *driverWatch) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, d.addr)
}

// A watchedPolicy is asked for a node for each statement that reaches the driver.
type watchedPolicy struct {
	gocql.HostSelectionPolicy

	driver *driverWatch
}

// Pick leaves out probes, which have no request of a client behind them.
func (p watchedPolicy) Pick(q gocql.ExecutableStatement) gocql.NextHost {
	if q, ok := q.(interface{ Context() context.Context }); ok && q.Context().Value(http.ServerContextKey) != nil {
		p.driver.n.Add(1)
	}
	return p.HostSelectionPolicy.Pick(q)
}
