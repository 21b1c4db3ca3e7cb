// Command rig runs overload controls around real HTTP servers, with the load in
// another process, and prints what became of the requests as tables in Markdown:
//
//	go run ./rig
//
// It is what the model of the simulator is held against. All of it stays on the
// loopback interface. A run takes about eight seconds, and all of them a quarter
// of an hour; -server, -contender and -rounds choose fewer. Nothing else should
// be busy on the machine: the load and the server already share its processors.
//
// # What is run
//
// Each run has a server process of its own, so that nothing is left of the run
// before, and a load process. The load is open: requests come by a Poisson
// process, whether or not the ones before have been answered, each on a
// connection of its own if none is idle. Their time counts from when they were
// due, not from when they were sent, so that a load that is late does not flatter
// the server (G. Tene: coordinated omission). After a second, a client hangs up.
//
// In each round, the capacity is measured first, with as many connections as the
// best bound has places, each of which sends a request when it has the answer to
// the one before. Then each contender has its run. What is compared was so run
// within minutes, whatever else the machine did.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// roleVar is the environment variable that makes the program a server or a load.
const roleVar = "GUARD_RIG_ROLE"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Getenv(roleVar), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
}

// run does what the role is: that of the server or the load of one run, or, by
// default, to start those.
func run(ctx context.Context, role string, args []string, in io.Reader, out, progress io.Writer) error {
	switch role {
	case roleServer:
		return serve(ctx, in, out)
	case roleLoad:
		return load(ctx, in, out)
	}
	p, err := parse(args, progress)
	if err != nil {
		return err
	}
	e := &experiment{plan: p, log: log.New(progress, "", 0)}
	if err := e.run(ctx); err != nil {
		return err
	}
	return e.report(out)
}

// A plan is what to run.
type plan struct {
	Servers    []bench
	Contenders []string
	Rounds     int
	Warmup     time.Duration // the load before what is counted
	Length     time.Duration // of what is counted
	Timeout    time.Duration // after which a client hangs up
	Factor     float64       // the load, as a multiple of the capacity
	Trace      bool          // print the limits over time
	Raw        string        // file for each result, as JSON; "" means none
}

func parse(args []string, help io.Writer) (plan, error) {
	fs := flag.NewFlagSet("rig", flag.ContinueOnError)
	fs.SetOutput(help)
	var p plan
	servers := fs.String("server", "", "servers, by name: "+strings.Join(names(benches(), bench.name), ", ")+" (all)")
	chosen := fs.String("contender", "", "contenders, by name: "+strings.Join(contenderNames(), ", ")+" (all)")
	fs.IntVar(&p.Rounds, "rounds", 3, "rounds, in each of which every contender has a run")
	fs.DurationVar(&p.Warmup, "warmup", 2*time.Second, "load before what is counted")
	fs.DurationVar(&p.Length, "length", 5*time.Second, "time that is counted")
	fs.DurationVar(&p.Timeout, "timeout", time.Second, "time after which a client hangs up")
	fs.Float64Var(&p.Factor, "load", 5, "load, as a multiple of the capacity")
	fs.BoolVar(&p.Trace, "trace", false, "print each limit over time")
	fs.StringVar(&p.Raw, "raw", "", "file to append each result to, as JSON")
	if err := fs.Parse(args); err != nil {
		return p, err
	}
	switch {
	case fs.NArg() > 0:
		return p, fmt.Errorf("unknown argument %q", fs.Arg(0))
	case p.Rounds < 1:
		return p, fmt.Errorf("-rounds is %d, want >= 1", p.Rounds)
	case p.Warmup < 0 || p.Length <= 0:
		return p, fmt.Errorf("-warmup is %v and -length %v, want >= 0 and > 0", p.Warmup, p.Length)
	case p.Timeout <= 0:
		return p, fmt.Errorf("-timeout is %v, want > 0", p.Timeout)
	case !(p.Factor > 0) || p.Factor > 1000:
		return p, fmt.Errorf("-load is %v, want > 0 and <= 1000", p.Factor)
	}
	var err error
	if p.Servers, err = choose(*servers, benches(), bench.name); err != nil {
		return p, err
	}
	p.Contenders, err = choose(*chosen, contenderNames(), func(s string) string { return s })
	return p, err
}

// choose returns those whose names are listed, by commas; all if none is.
func choose[T any](list string, all []T, name func(T) string) (chosen []T, err error) {
	if list == "" {
		return all, nil
	}
	for one := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == one })
		if i < 0 {
			return nil, fmt.Errorf("%q is none of %s", one, strings.Join(names(all, name), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func names[T any](all []T, name func(T) string) (list []string) {
	for _, t := range all {
		list = append(list, name(t))
	}
	return list
}

// appendRaw appends a value to a file, as a line of JSON.
func appendRaw(file string, v any) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(f).Encode(v); err != nil {
		_ = f.Close() // the first error says more
		return err
	}
	return f.Close()
}
