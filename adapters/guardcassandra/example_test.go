package guardcassandra_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// exampleServer is a Cassandra for the examples, and a session for it.
func exampleServer() (*cassandratest.Server, *guardcassandra.Session) {
	server, err := cassandratest.Start()
	if err != nil {
		panic(err)
	}
	serve(server)
	cassandra, err := guardcassandra.Open(func() *gocql.ClusterConfig { return clusterOf(server) }, guardcassandra.Options{})
	if err != nil {
		panic(err)
	}
	return server, cassandra
}

// The server starts while Cassandra is down, and answers 502, until it is there.
func Example() {
	server, err := cassandratest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	serve(server) // visits by their ids, all but "none"
	server.Stop() // for now

	cassandra, err := guardcassandra.Open(func() *gocql.ClusterConfig {
		cluster := gocql.NewCluster(server.Addr())
		cluster.ProtoVersion = 4
		cluster.Timeout = 1900 * time.Millisecond
		cluster.ConnectTimeout = time.Second
		cluster.ReconnectInterval = 5 * time.Second
		cluster.Metadata.CacheMode = gocql.Disabled
		return cluster
	}, guardcassandra.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cassandra.Close()

	closed := make(chan struct{})
	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler), Hooks: guard.Hooks{
		BreakerChanged: func(_ context.Context, e guard.BreakerEvent) {
			if e.To == guard.StateClosed {
				close(closed)
			}
		},
	}})
	defer g.Close()
	reads, err := g.Dependency("cassandra", guard.DependencyConfig{
		Timeout:  2 * time.Second,
		OpenFor:  50 * time.Millisecond, // 5 s is more like it
		MinCalls: 3,
		Classify: cassandra.Classify,
		Check:    cassandra.Check,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	mux := http.NewServeMux()
	mux.Handle("GET /visits/{id}", g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		session, err := cassandra.Session(r.Context(), reads)
		if err != nil {
			return err
		}
		var name string
		query := session.Query("SELECT name FROM visit WHERE id = ?", r.PathValue("id"))
		err = guardcassandra.Scan(r.Context(), reads, query, &name)
		switch {
		case errors.Is(err, gocql.ErrNotFound):
			return guard.NotFound("There is no such visit.")
		case err != nil:
			return err
		}
		_, err = fmt.Fprint(w, name)
		return err
	}))
	get := func(path string) {
		w := httptest.NewRecorder()
		g.Mux(mux).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Printf("%s %d %q\n", path, w.Code, w.Header().Get("Retry-After"))
	}

	for range 4 {
		get("/visits/7")
	}
	_ = server.Restart()
	<-closed // the Check has connected
	get("/visits/7")
	get("/visits/none")
	// Output:
	// /visits/7 502 ""
	// /visits/7 502 ""
	// /visits/7 502 "1"
	// /visits/7 502 "1"
	// /visits/7 200 ""
	// /visits/none 404 ""
}

// Breakers for reads and for writes: if one opens, the other does not.
func ExampleSession_Session() {
	server, cassandra := exampleServer()
	defer server.Close()
	defer cassandra.Close()
	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	config := guard.DependencyConfig{MinCalls: 1, Classify: cassandra.Classify, Check: cassandra.Check}
	defer g.Close()
	reads, _ := g.Dependency("cassandra reads", config)
	writes, _ := g.Dependency("cassandra writes", config)

	ctx := context.Background()
	session, err := cassandra.Session(ctx, reads) // whichever comes first connects
	if err != nil {
		fmt.Println(err)
		return
	}
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeCDCWriteFailure}, "INSERT"))
	_ = guardcassandra.Exec(ctx, writes, session.Query("INSERT INTO visit (id, name) VALUES (?, ?)", "7", "pricing"))
	var name string
	_ = guardcassandra.Scan(ctx, reads, session.Query("SELECT name FROM visit WHERE id = ?", "7"), &name)
	fmt.Println(name, reads.State(), writes.State())
	// Output:
	// visit 7 closed open
}

// An iterator is one call, over all its pages.
func ExampleNewIter() {
	server, cassandra := exampleServer()
	defer server.Close()
	defer cassandra.Close()
	g, _ := guard.New(guard.Config{})
	// All pages and what is done with them may take any time; each page has the
	// driver's Timeout.
	reports, _ := g.Dependency("cassandra reports", guard.DependencyConfig{Timeout: guard.NoTimeout, Classify: cassandra.Classify})

	sum := func(ctx context.Context) (sum int, err error) {
		session, err := cassandra.Session(ctx, reports)
		if err != nil {
			return 0, err
		}
		it, err := guardcassandra.NewIter(ctx, reports, session.Query("SELECT n FROM numbers").PageSize(10))
		if err != nil {
			return 0, err // refused
		}
		for n := 0; it.Scan(&n); {
			sum += n
		}
		return sum, it.Close()
	}
	fmt.Println(sum(context.Background()))
	// Output:
	// 300 <nil>
}

// A conditional insert; that it was not applied is no failure.
func ExampleScanCAS() {
	server, cassandra := exampleServer()
	defer server.Close()
	defer cassandra.Close()
	g, _ := guard.New(guard.Config{})
	writes, _ := g.Dependency("cassandra writes", guard.DependencyConfig{Classify: cassandra.Classify})
	session, err := cassandra.Session(context.Background(), writes)
	if err != nil {
		fmt.Println(err)
		return
	}
	var id, name string
	query := session.Query("INSERT INTO visit (id, name) VALUES (?, ?) IF NOT EXISTS", "taken", "mine")
	applied, err := guardcassandra.ScanCAS(context.Background(), writes, query, &id, &name)
	fmt.Println(applied, name, err)
	// Output:
	// false somebody <nil>
}

// What the driver gets wrong, and what it gets back.
func ExampleClassify() {
	fmt.Println(guardcassandra.Classify(gocql.ErrNotFound))
	fmt.Println(guardcassandra.Classify(gocql.ErrNoConnections))
	fmt.Println(guardcassandra.Classify(fmt.Errorf("load the visit: %w", gocql.ErrTooManyStmts)))
	// Output:
	// succeeded
	// failed
	// ignored
}

// Retries stop when the breaker opens.
func ExampleRetryPolicy() {
	server, err := cassandratest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
	cassandra, err := guardcassandra.Open(func() *gocql.ClusterConfig {
		cluster := clusterOf(server)
		cluster.DefaultIdempotence = true
		cluster.RetryPolicy = guardcassandra.RetryPolicy(again{most: 2}) // yours, or one of the driver's
		return cluster
	}, guardcassandra.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cassandra.Close()
	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	reads, _ := g.Dependency("cassandra", guard.DependencyConfig{Classify: cassandra.Classify})
	session, err := cassandra.Session(context.Background(), reads)
	if err != nil {
		fmt.Println(err)
		return
	}
	before := server.Requests()
	_ = guardcassandra.Exec(context.Background(), reads, session.Query("SELECT name FROM visit"))
	fmt.Println(server.Requests()-before, "attempts")
	reads.Force(guard.ModeOpen)
	_ = guardcassandra.Exec(context.Background(), reads, session.Query("SELECT name FROM visit"))
	fmt.Println(server.Requests()-before, "attempts")
	// Output:
	// 3 attempts
	// 3 attempts
}
