package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"
)

const roleServer = "server"

// A serverSpec is what a server process is told.
type serverSpec struct {
	Bench     bench
	Contender string
	Capacity  float64 // requests per second, for who is told; 0: not known yet
}

// A greeting is what a server process says when it is ready.
type greeting struct{ Addr string }

// A serverResult is what a server process says in the end.
type serverResult struct {
	Goroutines int   // at the most
	Limits     []int // every sampleEvery, of who has one
}

const sampleEvery = 100 * time.Millisecond

// serve is the server process: it serves until there is no more to read.
func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec serverSpec
	dec := json.NewDecoder(in)
	if err := dec.Decode(&spec); err != nil {
		return fmt.Errorf("cannot read what to serve: %w", err)
	}
	c, err := build(spec.Contender, spec.Bench, spec.Capacity)
	if err != nil {
		return err
	}
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: c.handler, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if err := json.NewEncoder(out).Encode(greeting{l.Addr().String()}); err != nil {
		return errors.Join(err, server.Close(), <-served)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // whatever it is, it is the end
		close(ended)
	}()
	res := watch(c, ended)
	// Handlers may go on for long: they end with the process.
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return json.NewEncoder(out).Encode(res)
}

// watch looks at the server now and then, until it ends.
func watch(c control, ended <-chan struct{}) (res serverResult) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		res.Goroutines = max(res.Goroutines, runtime.NumGoroutine())
		if c.limit != nil {
			res.Limits = append(res.Limits, c.limit())
		}
		select {
		case <-ended:
			return res
		case <-tick.C:
		}
	}
}
