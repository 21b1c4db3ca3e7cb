package genesys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/guard"
	"example.com/guard/genesys"
	"example.com/guard/genesys/genesystest"
)

// A server that asks Genesys Cloud for its agents. What Genesys says of an error
// is for the log; the user gets a 502, or a 404 where that is what it means.
func Example() {
	fake, err := genesystest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fake.Close()

	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	defer g.Close()
	tokens, err := genesys.NewTokenTransport(genesys.TokenConfig{
		Fetch: genesys.ClientCredentials{URL: fake.Login.URL + "/oauth/token", ID: "client", Secret: "secret"}.Fetch,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	cloud, _ := g.Dependency("genesys-cloud", genesys.Cloud.Config(guard.DependencyConfig{Timeout: 2 * time.Second}))
	client := &http.Client{Transport: cloud.Transport(tokens)} // the token inside, the breaker outside

	mux := http.NewServeMux()
	mux.Handle("GET /agents/{id}", g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, fake.Cloud.URL+"/api/v2/users/"+r.PathValue("id"), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(ask)
		if err != nil {
			return err // 502, at once while the breaker is open
		}
		defer resp.Body.Close()
		if err := genesys.Cloud.CheckResponse(cloud, resp); err != nil {
			var answer *genesys.Error
			if errors.As(err, &answer) && answer.NotFound() {
				return guard.NotFound("There is no such agent.")
			}
			return err // 502
		}
		var agent struct{ Name string }
		if err := json.NewDecoder(resp.Body).Decode(&agent); err != nil {
			return err
		}
		_, err = fmt.Fprint(w, agent.Name)
		return err
	}))

	show := func(path string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", "text/plain")
		g.Mux(mux).ServeHTTP(w, r)
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		fmt.Println(w.Code, lines[0])
	}
	show("/agents/a-1")
	show("/agents/nobody")
	fake.ExpireTokens() // is no trouble
	show("/agents/a-2")
	fake.Cloud.Inject(genesystest.Status(http.StatusServiceUnavailable))
	show("/agents/a-1")
	// Output:
	// 200 Ada Marsh
	// 404 404 Not Found
	// 200 Ben Okoro
	// 502 502 Bad Gateway
}

// Mobile Services answer 200 and mean that they failed. The breaker opens all the
// same, and what closes it is the node's own word.
func ExampleProduct_Config() {
	fake, err := genesystest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fake.Close()

	online, err := genesys.GMS.Check(genesys.Probe{
		URL: fake.GMS.URL + genesys.GMSStatusPath, Username: "default", Password: "password",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("at the start:", online(context.Background()))

	g, _ := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	defer g.Close()
	gms, _ := g.Dependency("gms", genesys.GMS.Config(guard.DependencyConfig{MinCalls: 3, Check: online}))
	client := &http.Client{Transport: gms.Transport(nil)}

	fake.GMS.Inject(genesystest.Failure(1))
	for range 3 {
		resp, err := client.Post(fake.GMS.URL+"/genesys/2/chat/request-chat", "application/x-www-form-urlencoded", strings.NewReader("nickname=Jo"))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode, gms.State())
	}
	// Output:
	// at the start: <nil>
	// 200 closed
	// 200 closed
	// 200 open
}

func ExampleProduct_Check() {
	fake, err := genesystest.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fake.Close()

	check, err := genesys.UCS.Check(genesys.Probe{URL: fake.UCS.URL + genesys.UCSStatusPath})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(check(context.Background()))
	fake.UCS.SetHealth("maintenance")
	fmt.Println(check(context.Background()))
	// Output:
	// <nil>
	// genesys: UCS: the mode is "maintenance", want "production"
}

func ExampleParseRateLimit() {
	h := http.Header{}
	h.Set("inin-ratelimit-count", "298")
	h.Set("inin-ratelimit-allowed", "300")
	h.Set("inin-ratelimit-reset", "41")
	if l, ok := genesys.ParseRateLimit(h); ok {
		fmt.Println(l.Allowed-l.Count, "more within", l.Reset)
	}
	// Output:
	// 2 more within 41s
}
