package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys/genesystest"
)

// What the switches do in the table, beside those without parameters.
const slowness, flap = 700 * time.Millisecond, 500 * time.Millisecond

func switched(kind string) fault {
	return fault{kind: kind, delay: slowness, down: flap, up: flap}
}

// faultRefused is a fault without a switch: no process listens.
const faultRefused = "refused"

// A cassandraStandIn is the one in this process.
type cassandraStandIn struct {
	*standIns

	stopped bool
}

func (s *cassandraStandIn) Fault(kind string) error {
	if s.stopped = kind == faultRefused; s.stopped {
		s.cassandra.Stop()
		return nil
	}
	f := switched(kind)
	f.code = 0x1001 // overloaded
	return s.failCassandra(f)
}

func (s *cassandraStandIn) Heal() error {
	if s.stopped {
		return s.cassandra.Restart()
	}
	return s.failCassandra(fault{})
}

func (s *cassandraStandIn) Calls() int { return s.cassandra.Requests() }

// A genesysStandIn is the one in this process.
type genesysStandIn struct{ *standIns }

func (s *genesysStandIn) Fault(kind string) error {
	f := switched(kind)
	f.code = 503
	return s.failGenesys(f)
}

func (s *genesysStandIn) Heal() error { return s.failGenesys(fault{}) }

// Calls leaves out the probes, which ask for the queues.
func (s *genesysStandIn) Calls() int { return s.genesys.GWS.Requests(agentsPath) }

// A proxied system has a network that fails, and is well itself.
type proxied struct {
	faultySystem

	proxy *proxy
	calls func() int
}

func (s proxied) Fault(kind string) error {
	s.proxy.set(kind)
	return nil
}

func (s proxied) Heal() error { return s.Fault(faultNone) }

// Calls counts on this side of the network.
func (s proxied) Calls() int { return s.calls() }

// TestFault measures each fault of each stand-in and of the network to it, and
// prints a line for each.
func TestFault(t *testing.T) {
	if os.Getenv("GUARD_FAULTS") == "" {
		t.Skip("more than a minute of load and faults: set GUARD_FAULTS=1, or run make faults at the repository's root")
	}
	table := &faultTable{}
	defer table.print()
	ofSwitches := []string{faultDown, faultHang, faultSlow, faultErrors, faultFlapping}
	ofNetworks := []string{faultSlow, faultResets, faultHole, faultHalfOpen}
	for _, dependency := range []string{"cassandra", "genesys"} {
		for _, kind := range append([]string{faultRefused}, ofSwitches...) {
			if dependency == "cassandra" || kind != faultRefused {
				testFault(t, table, dependency, kind, false)
			}
		}
		for _, kind := range ofNetworks {
			testFault(t, table, dependency, kind, true)
		}
	}
}

func testFault(t *testing.T, table *faultTable, dependency, kind string, network bool) {
	t.Helper()
	c := faultCase{system: dependency, kind: kind, dependency: dependency, partly: kind == faultSlow || kind == faultFlapping}
	if network {
		c.system += ", network"
	}
	t.Run(c.system+"/"+kind, func(t *testing.T) {
		w, driver := &breakerWatch{dependency: dependency}, &driverWatch{}
		far, err := startStandIns(ptr(defaults()))
		require.NoError(t, err)
		t.Cleanup(far.close)
		var system faultySystem = &cassandraStandIn{standIns: far}
		at := far.cassandra.Addr()
		if dependency == "genesys" {
			system = &genesysStandIn{standIns: far}
			at = strings.TrimPrefix(far.genesys.GWS.URL, "http://")
		}
		if network {
			p := newProxy(t, at)
			system, at = proxied{system, p, p.requests}, p.addr()
			if dependency == "cassandra" {
				system = proxied{system, p, driver.calls}
			}
		}
		r := newRig(t, func(c *config) {
			c.hooks, c.driver = guard.Hooks{BreakerChanged: w.hook}, driver.watch
			if dependency == "genesys" {
				c.genesys = "http://" + genesystest.Username + ":" + genesystest.Password + "@" + at
			} else {
				c.cassandra = at
			}
		})
		eventually(t, func() bool { return r.send(request{path: "/visits/" + nobody}).StatusCode == 404 }, "the schema is there")
		_, v := r.visited()
		c.faulty, c.unharmed = "/visits/"+v, "/agents?state=Ready"
		if dependency == "genesys" {
			c.faulty, c.unharmed = c.unharmed, c.faulty
		}
		f := measure(t, r, system, w, c)
		table.add(c, f)
		f.check(t, c)
	})
}

// A server that starts while Cassandra is down answers 502, and 200 as soon as
// Cassandra is there: the schema is made then.
func TestFaultFromTheStart(t *testing.T) {
	elsewhere, err := startStandIns(ptr(defaults()))
	require.NoError(t, err)
	t.Cleanup(elsewhere.close)
	node := elsewhere.cassandra
	node.Stop()

	r := newRig(t, func(c *config) { c.cassandra = node.Addr() })
	get := request{path: "/visits?identity=" + nobody}
	eventually(t, func() bool { return r.send(get).StatusCode == 502 })
	eventually(t, func() bool {
		a := r.send(get)
		require.Equal(t, 502, a.StatusCode, a.body)
		return a.Header.Get("Retry-After") != ""
	}, "the breaker opens")
	require.Equal(t, 200, r.send(request{path: "/agents?state=Ready"}).StatusCode)
	require.Equal(t, 404, r.send(request{method: "PUT", path: r.panel + "/faults/cassandra?kind=none"}).StatusCode, "it is not ours to break")

	require.NoError(t, node.Restart())
	mended := time.Now()
	eventually(t, func() bool { return r.send(get).StatusCode == 204 })
	t.Logf("first 204 %v after Cassandra was there", time.Since(mended).Round(time.Millisecond))
	r.visited()
}

func ptr[T any](x T) *T { return &x }
