package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
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

func (s *cassandraStandIn) Calls() (int, bool) { return s.cassandra.Requests(), true }

// A genesysStandIn is the one in this process.
type genesysStandIn struct{ *standIns }

func (s genesysStandIn) Fault(kind string) error {
	f := switched(kind)
	f.code = 503
	return s.failGenesys(f)
}

func (s genesysStandIn) Heal() error { return s.failGenesys(fault{}) }

// Calls leaves out the probes, which ask for the queues.
func (s genesysStandIn) Calls() (int, bool) { return s.genesys.GWS.Requests(agentsPath), true }

// TestFault measures each fault of each stand-in, and prints a line for each.
func TestFault(t *testing.T) {
	if os.Getenv("GUARD_FAULTS") == "" {
		t.Skip("a minute of load and faults, for a machine with nothing else to do: set GUARD_FAULTS=1")
	}
	var table faultTable
	for _, system := range []struct {
		name, dependency string
		kinds            []string
		of               func(*rig) faultySystem
	}{
		{
			"Cassandra", "cassandra",
			[]string{faultRefused, faultDown, faultHang, faultSlow, faultErrors, faultFlapping},
			func(r *rig) faultySystem { return &cassandraStandIn{standIns: r.standIns} },
		},
		{
			"Genesys", "genesys",
			[]string{faultDown, faultHang, faultSlow, faultErrors, faultFlapping},
			func(r *rig) faultySystem { return genesysStandIn{r.standIns} },
		},
	} {
		for _, kind := range system.kinds {
			t.Run(system.name+"/"+kind, func(t *testing.T) {
				w := &breakerWatch{dependency: system.dependency}
				r := newRig(t, func(c *config) { c.hooks = guard.Hooks{BreakerChanged: w.hook} })
				_, v := r.visited()
				c := faultCase{
					system: system.name + ", stand-in", kind: kind, dependency: system.dependency,
					faulty: "/visits/" + v, unharmed: "/agents?state=Ready", partly: kind == faultSlow || kind == faultFlapping,
				}
				if system.dependency == "genesys" {
					c.faulty, c.unharmed = c.unharmed, c.faulty
				}
				f := measure(t, r, system.of(r), w, c)
				table.add(c, f)
				f.check(t, c)
			})
		}
	}
	table.print()
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
