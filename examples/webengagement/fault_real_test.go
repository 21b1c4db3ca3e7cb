//go:build unix

package main

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	nodes "example.com/guard/adapters/guardcassandra/cassandra"
)

// The kinds of faults of a process, beside faultRefused.
const (
	faultKilled  = "kill -9 and restart"
	faultStopped = "SIGSTOP, SIGCONT"
	faultForLong = "SIGSTOP for long, SIGCONT" // so that the driver drops its connections, after six heartbeats that fail
)

// A realNode is a real Cassandra.
type realNode struct {
	*nodes.Node

	t      *testing.T
	driver *driverWatch
	kind   string
}

func (n *realNode) Fault(kind string) error {
	switch n.kind = kind; kind {
	case faultKilled:
		n.Kill()
	case faultStopped, faultForLong:
		return n.Signal(syscall.SIGSTOP)
	}
	return nil
}

func (n *realNode) Heal() error {
	switch n.kind {
	case faultRefused, faultKilled:
		if err := n.Start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(n.t.Context(), 3*time.Minute)
		defer cancel()
		return n.Await(ctx)
	case faultStopped, faultForLong:
		return n.Signal(syscall.SIGCONT)
	}
	return nil
}

func (n *realNode) Calls() int { return n.driver.calls() }

// TestRealFault measures what happens to a real Cassandra and to the network to it,
// and prints a line for each. The first start is the end of the first fault.
func TestRealFault(t *testing.T) {
	script := os.Getenv("GUARD_CASSANDRA")
	if script == "" {
		t.Skip("this starts a real Cassandra, with bash, Java 17 and Maven: run make cassandra at the repository's root")
	}
	log, err := os.CreateTemp(t.TempDir(), "cassandra-*.log")
	require.NoError(t, err)
	node, err := nodes.New(script, t.TempDir(), log)
	require.NoError(t, err)
	t.Cleanup(func() {
		node.Kill()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the node's log:\n%s", text[max(0, len(text)-4096):])
		}
	})
	table := &faultTable{}
	defer table.print()
	for _, c := range []faultCase{
		{kind: faultRefused, atOnce: true, good: http.StatusNoContent},
		{kind: faultStopped, lasts: 3 * time.Second},
		{kind: faultForLong, lasts: 45 * time.Second},
		{kind: faultSlow, system: "network", partly: true},
		{kind: faultResets, system: "network"},
		{kind: faultHalfOpen, system: "network"},
		{kind: faultKilled},
	} {
		ok := t.Run(c.kind, func(t *testing.T) { testRealFault(t, table, node, c) })
		require.True(t, ok, "what follows needs a node that is well")
	}
}

func testRealFault(t *testing.T, table *faultTable, node *nodes.Node, c faultCase) {
	t.Helper()
	w, driver := &breakerWatch{dependency: "cassandra"}, &driverWatch{addr: node.Addr()}
	var system faultySystem = &realNode{Node: node, t: t, driver: driver}
	if c.system == "network" {
		p := newProxy(t, node.Addr())
		system, driver.addr = proxied{system, p, driver.calls}, p.addr()
	}
	r := newRig(t, func(c *config) {
		c.hooks, c.driver, c.cassandra = guard.Hooks{BreakerChanged: w.hook}, driver.watch, node.Addr()
	})
	c.dependency, c.unharmed = "cassandra", "/agents?state=Ready"
	c.faulty = "/visits?identity=" + nobody
	if !c.atOnce {
		eventually(t, func() bool { return r.send(request{path: "/visits/" + nobody}).StatusCode == http.StatusNotFound }, "the schema is there")
		_, v := r.visited()
		for _, year := range []string{"1970", strconv.Itoa(lastYear)} {
			a := r.send(request{path: "/visits/" + v + "/events?since=" + year + "-01-01T00:00:00Z"})
			require.Equal(t, http.StatusNoContent, a.StatusCode, a.body)
		}
		c.faulty = "/visits/" + v
	}
	if c.system != "" {
		c.system = ", " + c.system
	}
	c.system = "Cassandra 5" + c.system
	f := measure(t, r, system, w, c)
	table.add(c, f)
	f.check(t, c)
}
