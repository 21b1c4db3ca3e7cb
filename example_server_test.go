package guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"example.com/guard"
)

// A visitService is what an application brings: handlers that return errors.
type visitService struct{ pages map[string]string }

func (s visitService) read(w http.ResponseWriter, r *http.Request) error {
	page, ok := s.pages[r.PathValue("id")]
	if !ok {
		return guard.NotFound("There is no such visit.")
	}
	_, err := io.WriteString(w, page)
	return err
}

// A whole server: it limits, answers by the contract, and stops in good order.
func Example() {
	g, err := guard.New(guard.Config{
		Limit:       guard.Limit{Rate: 1000, Burst: 200},
		Clients:     []guard.ClientLimit{{Limit: guard.Limit{Rate: 50, Burst: 100}}},
		Concurrency: guard.Concurrency{Max: 500},
		Support:     "care@example.com",
	})
	if err != nil {
		log.Fatal(err)
	}
	visits := visitService{pages: map[string]string{"1": "/pricing"}}
	mux := http.NewServeMux()
	mux.Handle("GET /livez", g.Live())
	mux.Handle("GET /readyz", g.Ready())
	mux.Handle("GET /visits/{id}", g.HandlerFunc(visits.read))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: g.Mux(mux), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	for _, path := range []string{"/visits/1", "/visits/2", "/readyz"} {
		resp, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(path, resp.StatusCode)
		_ = resp.Body.Close()
	}

	if err := g.Shutdown(context.Background(), server); err != nil {
		log.Fatal(err)
	}
	fmt.Println("stopped:", errors.Is(<-served, http.ErrServerClosed))
	// Output:
	// /visits/1 200
	// /visits/2 404
	// /readyz 200
	// stopped: true
}
