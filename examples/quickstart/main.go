// Quickstart is a guarded server to copy from. Run it with
// "go run ./examples/quickstart", and try the curl lines that it prints.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"example.com/guard"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on; port 0 picks a free one")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

func run(addr string) error {
	g, err := guard.New(guard.Config{
		Limit:       guard.Limit{Rate: 100, Burst: 50},                              // all requests together
		Clients:     []guard.ClientLimit{{Limit: guard.Limit{Rate: 50, Burst: 20}}}, // each address
		Concurrency: guard.Concurrency{Max: 200},
		Support:     "care@example.com",
		DrainDelay:  time.Second, // time for a load balancer to notice; more in production
	})
	if err != nil {
		return err
	}
	reports, err := g.Route("reports", guard.RouteConfig{Cost: 10}) // as dear as ten other requests
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /livez", g.Live())
	mux.Handle("GET /readyz", g.Ready())
	mux.Handle("GET /visits/{id}", g.HandlerFunc(visit))
	mux.Handle("GET /reports", reports.HandlerFunc(report))
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: g.Mux(mux), ReadHeaderTimeout: 5 * time.Second} // slow clients are the server's to bound
	usage(listener.Addr())

	stop, cancelStop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancelStop()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		cancelStop() // a second Ctrl-C ends it at once
	}
	fmt.Println("draining")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return g.Shutdown(ctx, server)
}

func visit(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return guard.BadRequest("The id of a visit is a number.")
	}
	if id != 1 {
		return guard.NotFound(fmt.Sprintf("There is no visit %d; try 1.", id))
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"id": id, "page": "/pricing"})
}

func report(w http.ResponseWriter, _ *http.Request) error {
	_, err := fmt.Fprintln(w, "1 visit")
	return err
}

func usage(addr net.Addr) {
	fmt.Printf("Listening on http://%s. Try:\n\n", addr)
	fmt.Printf("  curl -i http://%s/visits/1\n", addr)
	fmt.Printf("  curl -i http://%s/visits/x\n", addr)
	fmt.Printf("  curl -i -H 'Accept: text/plain' http://%s/nowhere\n", addr)
	fmt.Printf("  for i in $(seq 20); do curl -s -o /dev/null -w '%%{http_code} ' http://%s/reports; done; echo\n", addr)
	fmt.Println("\nStop it with Ctrl-C.")
}
