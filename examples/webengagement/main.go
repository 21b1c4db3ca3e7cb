// Webengagement is the reference server: a backend of a contact center that keeps
// identities, visits and events in Cassandra, asks Genesys for agents and queues,
// and answers by the whole contract of the guard. It runs without either of them:
//
//	go run -C examples/webengagement .
//
// It then prints curl lines that show each row of the contract.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		log.SetFlags(0)
		log.Fatal("webengagement: ", err)
	}
}

// run serves until ctx ends, or it is asked to drain.
func run(ctx context.Context, args []string, out io.Writer) error {
	c := defaults()
	flags := flag.NewFlagSet("webengagement", flag.ContinueOnError)
	flags.StringVar(&c.addr, "addr", c.addr, "`address` of the API; port 0 picks a free one")
	flags.StringVar(&c.admin, "admin", c.admin, "`address` of health, figures and fault switches: loopback")
	flags.StringVar(&c.cassandra, "cassandra", "", "`host:port` of Cassandra, or several with commas; none: one in this process")
	flags.StringVar(&c.genesys, "genesys", "", "`URL` of Genesys Web Services, with user:password@ in it; none: one in this process")
	flags.StringVar(&c.keyspace, "keyspace", c.keyspace, "`name` of the keyspace, made if it is not there")
	flags.StringVar(&c.replication, "replication", c.replication, "of a new keyspace: `replicas`, or dc1:3,dc2:3")
	flags.StringVar(&c.password, "password", "", "of the administrators; none: a new one each time")
	flags.DurationVar(&c.drain, "drain", c.drain, "how long to serve on, and then how long to refuse, before the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	if c.drain < 0 {
		return fmt.Errorf("-drain is %v, want >= 0", c.drain)
	}
	if c.password == "" {
		c.password = rand.Text()
	}
	c.otlp = os.Getenv(otlpEndpoint) != ""
	p, err := start(c)
	if err != nil {
		return err
	}
	printUsage(out, p)
	select {
	case <-ctx.Done():
	case <-p.draining:
	}
	_, _ = fmt.Fprintln(out, "draining")
	end, cancel := context.WithTimeout(context.Background(), 2*c.drain+20*time.Second)
	defer cancel()
	return p.stop(end)
}
