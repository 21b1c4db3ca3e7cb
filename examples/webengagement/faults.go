package main

import (
	"time"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra/cassandratest"
	"example.com/guard/genesys/genesystest"
)

// standIns are the systems that run in this process in place of real ones; nil: it
// is a real one.
type standIns struct {
	cassandra *cassandratest.Server
	memory    *memory
	genesys   *genesystest.Server
	flap      flapper
}

// startStandIns starts those that are wanted.
func startStandIns(c *config) (*standIns, error) {
	s := &standIns{}
	var err error
	if c.cassandra == "" {
		if s.cassandra, err = cassandratest.Start(); err != nil {
			return nil, err
		}
		schema, err := newSchema(c.keyspace, c.replication)
		if err != nil {
			s.close()
			return nil, err
		}
		s.memory = &memory{}
		s.memory.serve(s.cassandra, schema)
	}
	if c.genesys == "" {
		if s.genesys, err = genesystest.Start(); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *standIns) close() {
	if s.cassandra != nil {
		_ = s.cassandra.Close()
	}
	if s.genesys != nil {
		s.flap.set(s.genesys.GWS.Inject, genesystest.Fault{}, 0, 0)
		_ = s.genesys.Close()
	}
}

// A fault is what a stand-in is told to do, by the parameters of a request.
type fault struct {
	kind     string
	delay    time.Duration // of slow
	code     int           // of errors
	down, up time.Duration // of flapping
}

// The kinds of faults.
const (
	faultNone     = "none"
	faultDown     = "down"     // it closes all connections
	faultHang     = "hang"     // it answers nothing
	faultSlow     = "slow"     // it answers after the delay
	faultErrors   = "errors"   // it answers with the code
	faultFlapping = "flapping" // down for a while, up for a while, and so on
)

// faultOf reads a fault. The code has a system's own values.
func faultOf(p *params, usual, least, most int) (fault, error) {
	p.need("kind")
	f := fault{
		kind:  p.oneOf("kind", faultNone, faultDown, faultHang, faultSlow, faultErrors, faultFlapping),
		delay: p.duration("delay", time.Second, 0, time.Hour),
		code:  p.integer("code", usual, least, most),
		down:  p.duration("down", time.Second, time.Millisecond, time.Hour),
		up:    p.duration("up", time.Second, time.Millisecond, time.Hour),
	}
	return f, p.end()
}

// failCassandra makes the stand-in misbehave.
func (s *standIns) failCassandra(f fault) error {
	if s.cassandra == nil {
		return guard.NotFound("Cassandra is a real one: it has no switches.")
	}
	switch f.kind {
	case faultDown:
		s.cassandra.SetFault(cassandratest.Down())
	case faultHang:
		s.cassandra.SetFault(cassandratest.Hang())
	case faultSlow:
		s.cassandra.SetFault(cassandratest.Slow(f.delay))
	case faultErrors:
		s.cassandra.SetFault(cassandratest.Errors(&cassandratest.Error{Code: f.code, Message: "by order"}, ""))
	case faultFlapping:
		s.cassandra.SetFault(cassandratest.Flapping(f.down, f.up))
	default:
		s.cassandra.SetFault(cassandratest.Fault{})
	}
	return nil
}
