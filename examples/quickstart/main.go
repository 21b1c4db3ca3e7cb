// Quickstart is a guarded server to copy from. Run it with
// "go run ./examples/quickstart", and try the curl lines that it prints.
package main

import (
	"context"
	"errors"
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
	"example.com/guard/dashboard"
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
	reports, err1 := g.Route("reports", guard.RouteConfig{Cost: 10}) // as dear as ten other requests
	db, err2 := g.Dependency("database", guard.DependencyConfig{Timeout: 2 * time.Second})
	listener, err3 := net.Listen("tcp", addr)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /livez", g.Live())
	mux.Handle("GET /readyz", g.Ready())
	mux.Handle("GET /visits/{id}", g.HandlerFunc(visit(db)))
	mux.Handle("GET /reports/{id}", reports.HandlerFunc(visit(db)))
	server := &http.Server{Handler: dashboard.New(g).Mount("/debug/guard/", g.Mux(mux)), ReadHeaderTimeout: 5 * time.Second} // slow clients are the server's to bound
	fmt.Printf(usage, listener.Addr())
	stop, cancelStop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancelStop()
	drained := make(chan error, 1)
	context.AfterFunc(stop, func() {
		cancelStop() // a second Ctrl-C ends it at once
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		drained <- g.Shutdown(ctx, server)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

func visit(db *guard.Dependency) guard.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		page, err := guard.Call(r.Context(), db, func(context.Context) (string, error) { return load(r.PathValue("id")) })
		if err == nil {
			_, err = fmt.Fprintln(w, page)
		}
		return err // 502 if the database failed, and at once while it is known to be down
	}
}

// load stands for a query to a database where visit 13 is on a broken disk.
func load(id string) (page string, err error) {
	switch n, err := strconv.Atoi(id); {
	case err != nil:
		return "", guard.BadRequest("The id of a visit is a number.")
	case n == 13:
		return "", errors.New("the disk is broken")
	case n != 1:
		return "", guard.NotFound("There is no such visit; try 1.")
	}
	return "/pricing", nil
}

const usage = `Listening on http://%[1]s. Try:
  curl -i http://%[1]s/visits/1
  curl -i -H 'Accept: text/plain' http://%[1]s/visits/x
  for i in $(seq 11); do curl -s http://%[1]s/visits/13; echo; done; curl 'http://%[1]s/readyz?verbose'
  for i in $(seq 20); do curl -s -o /dev/null -w '%%{http_code} ' http://%[1]s/reports/1; done; echo
Watch it at http://%[1]s/debug/guard/, and stop it with Ctrl-C.
`
