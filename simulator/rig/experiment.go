package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"
)

// An experiment carries out a plan.
type experiment struct {
	plan    plan
	log     *log.Logger // for what goes on
	results []result
}

// A result is that of one run.
type result struct {
	Bench     string
	Contender string
	Round     int
	Capacity  float64 // in this round, requests per second
	Spare     float64 // share of the machine that others had not, meanwhile
	outcome
}

// An outcome is what came of one pair of processes.
type outcome struct {
	Load   loadResult
	Server serverResult
	Others float64 // share of the machine that was not ours; 0 if it is not known
}

// goodput is what was answered in time, in percent of the capacity.
func (r *result) goodput(length time.Duration) float64 {
	return 100 * float64(r.Load.OK) / length.Seconds() / r.Capacity
}

// used is what share of the time that there was went into answers that came in
// time, in percent: of the workers' time, or of the CPU time that others left. So
// it can be compared between runs, however busy the machine is, unlike what is in
// percent of a capacity that was measured at another time.
func (r *result) used(b bench, length time.Duration) float64 {
	need := float64(r.Load.OK) * b.Work.Seconds()
	all := float64(b.parallel()) * length.Seconds()
	if b.Workers == 0 {
		all *= 1 - r.Others
	}
	return 100 * need / all
}

func (e *experiment) run(ctx context.Context) error {
	for i := range e.plan.Servers {
		if b := &e.plan.Servers[i]; b.Workers == 0 {
			b.Rounds = calibrate(b.Work)
		}
	}
	for round := range e.plan.Rounds {
		for _, b := range e.plan.Servers {
			if err := e.round(ctx, b, round); err != nil {
				return fmt.Errorf("%s: %w", b.name(), err)
			}
		}
	}
	return nil
}

// round has each contender guard a server once. Who begins is another one in each
// round.
func (e *experiment) round(ctx context.Context, b bench, round int) error {
	capacity, others, err := e.capacity(ctx, b)
	if err != nil {
		return err
	}
	e.log.Printf("%s, round %d: %.0f requests per second, others had %2.0f %% of the machine",
		b.name(), round+1, capacity, 100*others)
	for i := range e.plan.Contenders {
		name := e.plan.Contenders[(i+round)%len(e.plan.Contenders)]
		r := result{Bench: b.name(), Contender: name, Round: round, Capacity: capacity, Spare: 1 - others}
		spec := loadSpec{
			Rate: e.plan.Factor * capacity, Warmup: e.plan.Warmup, Length: e.plan.Length, Timeout: e.plan.Timeout,
			Seed: uint64(round) + 1, // the same for all
		}
		if r.outcome, err = pair(ctx, serverSpec{b, name, capacity}, spec); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		e.results = append(e.results, r)
		e.log.Printf("  %-10s %3.0f %% in time, %3.0f %% of the time there was, others had %2.0f %% of the machine",
			name, r.goodput(e.plan.Length), r.used(b, e.plan.Length), 100*r.Others)
		if e.plan.Trace && len(r.Server.Limits) > 0 {
			e.log.Printf("             limit each %v %v", sampleEvery, r.Server.Limits)
		}
		if e.plan.Raw != "" {
			if err := appendRaw(e.plan.Raw, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// capacity returns how many requests a second a server can answer without a
// guard, to as many clients as its best bound has places, and what share of the
// machine others had meanwhile.
func (e *experiment) capacity(ctx context.Context, b bench) (perSecond, others float64, err error) {
	length := e.plan.Length / 2
	o, err := pair(ctx, serverSpec{Bench: b, Contender: "nothing"}, loadSpec{
		Clients: 2 * b.parallel(), Warmup: min(length/2, e.plan.Warmup), Length: length, Timeout: time.Minute,
	})
	switch {
	case err != nil:
		return 0, 0, err
	case o.Load.OK == 0:
		return 0, 0, fmt.Errorf("it answers nothing in %v", length)
	}
	return float64(o.Load.OK) / length.Seconds(), o.Others, nil
}

// pair runs a server and a load for it.
func pair(ctx context.Context, ss serverSpec, ls loadSpec) (o outcome, err error) {
	since := clock()
	server, err := start(ctx, roleServer, ss)
	if err != nil {
		return o, err
	}
	var hello greeting
	if err := server.read(&hello); err != nil {
		return o, err
	}
	ls.Addr = hello.Addr
	loader, err := start(ctx, roleLoad, ls)
	if err != nil {
		return o, errors.Join(err, server.kill())
	}
	if err := loader.end(&o.Load); err != nil {
		return o, errors.Join(err, server.kill())
	}
	if err := server.end(&o.Server); err != nil {
		return o, err
	}
	o.Others = since.others(server.used() + loader.used())
	return o, nil
}
