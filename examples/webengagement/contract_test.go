package main

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

const nobody = "00000000-0000-4000-8000-000000000000" // the id of none

// A row is one of the contract: what makes it, and what it must be.
type row struct {
	name    string
	request request
	status  int
	code    string // "" if the answer is no error
	detail  string // what its detail contains
}

// TestContract shows each row of the contract for what stays as it is.
func TestContract(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id, v := r.visited()
	post := func(path, body string) request {
		return request{method: http.MethodPost, path: path, body: body}
	}
	put := func(user, body string) request {
		return request{method: http.MethodPut, path: "/admin/limits", user: user, body: body}
	}
	rows := []row{
		{"identity", request{path: "/identities/" + id}, 200, "", ""},
		{"identities", request{path: "/identities?email=ann@example.com"}, 200, "", ""},
		{"identities, none", request{path: "/identities?email=bob@example.com"}, 204, "", ""},
		{"visit", request{path: "/visits/" + v}, 200, "", ""},
		{"visit, head", request{method: http.MethodHead, path: "/visits/" + v}, 200, "", ""},
		{"visits", request{path: "/visits?identity=" + id}, 200, "", ""},
		{"visits, none", request{path: "/visits?identity=" + nobody}, 204, "", ""},
		{"visits, none yet", request{path: "/visits?identity=" + id + "&from=2999-01-01T00:00:00Z"}, 204, "", ""},
		{"events, none", request{path: "/visits/" + v + "/events"}, 204, "", ""},
		{"event", post("/visits/"+v+"/events", `{"type": "search", "data": {"for": "prices"}}`), 200, "", ""},
		{"events", request{path: "/visits/" + v + "/events?since=2020-01-01T00:00:00%2B01:00&limit=1"}, 200, "", ""},
		{"agent", request{path: "/agents/" + r.standIns.genesys.Agents()[0].ID}, 200, "", ""},
		{"agents", request{path: "/agents?state=Ready"}, 200, "", ""},
		{"queue", request{path: "/queues/q-sales"}, 200, "", ""},
		{"queues", request{path: "/queues?waiting=1"}, 200, "", ""},
		{"queues, none", request{path: "/queues?waiting=1000"}, 204, "", ""},
		{"no engagement", request{path: "/engagements/" + v}, 404, "not-found", "engagement"},
		{"engagement", post("/engagements", `{"visit": "`+v+`", "queue": "q-sales"}`), 200, "", ""},
		{"engagement, again", post("/engagements", `{"visit": "`+v+`", "queue": "q-sales"}`), 409, "conflict", "already"},
		{"engagement, read", request{path: "/engagements/" + v}, 200, "", ""},
		{"engagement of no visit", post("/engagements", `{"visit": "`+nobody+`", "queue": "q-sales"}`), 400, "bad-request", "visit"},
		{"engagement in no queue", post("/engagements", `{"visit": "`+v+`", "queue": "q-none"}`), 400, "bad-request", "queue"},
		{"version", request{path: "/version"}, 200, "", ""},
		{"limits", request{path: "/admin/limits", user: "viewer"}, 200, "", ""},
		{"missing", request{path: "/identities"}, 400, "bad-request", "email"},
		{"mistyped", request{path: "/visits?identity=7"}, 400, "bad-request", "identity"},
		{"no credentials", request{path: "/admin/limits"}, 401, "unauthorized", "authentication"},
		{"wrong password", request{path: "/admin/limits", user: "admin", wrongPassword: true}, 401, "unauthorized", "wrong"},
		{"unknown user", request{path: "/admin/limits", user: "root"}, 401, "unauthorized", "wrong"},
		{"not for this user", request{path: "/admin/limits", user: "agent"}, 401, "unauthorized", "may not use"},
		{"no right", put("viewer", `{"rate": 1}`), 403, "forbidden", "not change"},
		{"no identity", request{path: "/identities/" + nobody}, 404, "not-found", "identity"},
		{"no visit", request{path: "/visits/" + nobody}, 404, "not-found", "visit"},
		{"events of no visit", request{path: "/visits/" + nobody + "/events"}, 404, "not-found", "visit"},
		{"event of no visit", post("/visits/"+nobody+"/events", `{"type": "clicked"}`), 404, "not-found", "visit"},
		{"no agent", request{path: "/agents/a-none"}, 404, "not-found", "agent"},
		{"no queue", request{path: "/queues/q-none"}, 404, "not-found", "queue"},
		{"no URI", request{path: "/nothing/here"}, 404, "not-found", "URI"},
		{"no method", request{method: http.MethodDelete, path: "/visits/" + v}, 405, "method-not-allowed", ""},
		{"bad limit", put("admin", `{"rate": -1}`), 400, "bad-request", "rate"},
		{"no dependency", request{method: http.MethodPut, path: "/admin/dependencies/oracle", user: "admin", body: `{"mode": "open"}`}, 404, "not-found", "dependency"},
		{"panic", request{path: "/demo/panic"}, 500, "internal", "customer care"},
		{"unexpected error", request{path: "/demo/error"}, 500, "internal", "customer care"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { r.check(t, row) })
	}
}

// check sends a request, in each format of an error if it is one.
func (r *rig) check(t *testing.T, row row) {
	t.Helper()
	if row.status < 400 {
		a := r.send(row.request)
		require.Equal(t, row.status, a.StatusCode, a.body)
		if row.status == http.StatusNoContent {
			assert.Empty(t, a.body)
			assert.Empty(t, a.Header.Get("Content-Type"))
		} else if row.request.method != http.MethodHead {
			assert.True(t, json.Valid([]byte(a.body)), a.body)
		}
		return
	}
	for _, f := range []struct{ accept, media string }{
		{"", "application/problem+json"},
		{"application/json", "application/problem+json"},
		{"application/xml", "application/problem+xml"},
		{"text/plain", "text/plain"},
	} {
		q := row.request
		q.header = q.header.Clone()
		if q.header == nil {
			q.header = http.Header{}
		}
		if f.accept != "" {
			q.header.Set("Accept", f.accept)
		}
		a := r.send(q)
		require.Equal(t, row.status, a.StatusCode, a.body)
		media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
		assert.Equal(t, f.media, media)
		p := parseProblem(t, media, a)
		assert.Equal(t, row.code, p.Code)
		assert.Contains(t, p.Detail, row.detail)
		assert.Equal(t, a.Header.Get("X-Request-Id"), p.RequestID)
		assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		if row.status == http.StatusUnauthorized {
			assert.Equal(t, `Basic realm="`+realm+`"`, a.Header.Get("WWW-Authenticate"))
		}
		if seconds := a.Header.Get("Retry-After"); seconds != "" {
			assert.Equal(t, seconds, strconv.Itoa(p.RetryAfter))
		}
	}
}

// A problem is the body of an error.
type problem struct {
	XMLName    xml.Name `json:"-" xml:"urn:ietf:rfc:7807 problem"`
	Status     int      `json:"status" xml:"status"`
	Code       string   `json:"code" xml:"code"`
	Detail     string   `json:"detail" xml:"detail"`
	RequestID  string   `json:"requestId" xml:"requestId"`
	RetryAfter int      `json:"retryAfter" xml:"retryAfter"`
}

func parseProblem(t *testing.T, media string, a answered) (p problem) {
	t.Helper()
	switch media {
	case "application/problem+json":
		require.NoError(t, json.Unmarshal([]byte(a.body), &p), a.body)
	case "application/problem+xml":
		require.NoError(t, xml.Unmarshal([]byte(a.body), &p), a.body)
	default: // the lines of a text are for people: the detail is one of them
		p.Detail, p.Status = a.body, a.StatusCode
		for line := range strings.Lines(a.body) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "code":
				p.Code = value
			case "request id":
				p.RequestID = value
			case "retry after":
				p.RetryAfter, _ = strconv.Atoi(strings.TrimSuffix(value, " s"))
			}
		}
	}
	assert.Equal(t, a.StatusCode, p.Status)
	return p
}

// What needs a system that is down is answered with 502, and what does not as ever.
func TestContractDependencies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault           string
		failing, served []string
	}{
		{"cassandra?kind=down", []string{"/visits/" + nobody, "/identities?email=a@b.example", "ENGAGE"}, []string{"/agents?state=Ready", "/version"}},
		{"cassandra?kind=errors&code=4096", []string{"/visits/" + nobody, "ENGAGE"}, []string{"/agents?state=Ready"}},
		{"cassandra?kind=errors&code=8704", []string{"/visits/" + nobody}, []string{"/agents?state=Ready"}}, // our statement is wrong
		{"genesys?kind=down", []string{"/agents?state=Ready", "/queues/q-sales", "ENGAGE"}, []string{"/visits/VISIT", "/version"}},
		{"genesys?kind=errors&code=500", []string{"/agents?state=Ready", "ENGAGE"}, []string{"/visits/VISIT"}},
		{"genesys?kind=errors&code=401", []string{"/agents?state=Ready"}, []string{"/visits/VISIT"}}, // our account, not the user's
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *config) { c.breaker.MinCalls = 1000 }) // it stays closed
			_, v := r.visited()
			r.fault(test.fault)
			for _, path := range test.failing {
				q := request{path: path}
				if path == "ENGAGE" {
					q = request{method: http.MethodPost, path: "/engagements", body: `{"visit": "` + v + `", "queue": "q-sales"}`}
				}
				r.check(t, row{"", q, http.StatusBadGateway, "dependency-failed", "A system that this server needs"})
			}
			for _, path := range test.served {
				r.check(t, row{"", request{path: strings.Replace(path, "VISIT", v, 1)}, http.StatusOK, "", ""})
			}
		})
	}
}

// An administrator holds a breaker open, and gives it back.
func TestContractForced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, v := r.visited()
	mode := func(word string) map[string]any {
		return r.get(request{method: http.MethodPut, path: "/admin/dependencies/cassandra", user: "admin", body: `{"mode": "` + word + `"}`})
	}
	assert.Equal(t, "open", mode("open")["state"])
	r.check(t, row{"", request{path: "/visits/" + v}, http.StatusBadGateway, "dependency-open", "unavailable"})
	assert.Equal(t, "closed", mode("auto")["state"])
	r.check(t, row{"", request{path: "/visits/" + v}, http.StatusOK, "", ""})
}

// The three refusals for too many requests, and limits that change at run time.
func TestContractLimits(t *testing.T) {
	t.Parallel()
	const slow = 1.0 / 3600 // nothing comes back while the test runs
	version := request{path: "/version"}
	refused := row{"", version, http.StatusServiceUnavailable, "rate-limited", "The server"}

	r := newRig(t, func(c *config) { c.client = guard.Limit{Rate: slow, Burst: 2} })
	r.send(version)
	r.send(version)
	client := refused
	client.detail = "This client"
	r.check(t, client)

	r = newRig(t)
	before := r.get(request{path: "/admin/limits", user: "admin"})
	after := r.get(request{method: http.MethodPut, path: "/admin/limits", user: "admin", body: `{"rate": 0.000277, "burst": 1}`})
	assert.Equal(t, 1.0, after["burst"])
	assert.Equal(t, before["clientRate"], after["clientRate"], "what is not named stays")
	r.send(version)
	r.check(t, refused)

	for _, bad := range []string{"rate", "burst", "clientRate", "clientBurst", "concurrency"} {
		r := newRig(t)
		before := r.get(request{path: "/admin/limits", user: "admin"})
		for _, value := range []string{"0", "-1", "1e99", `"5"`, "true", "[]", "1e400"} {
			body := `{"burst": 7, "` + bad + `": ` + value + `}`
			if bad == "burst" {
				body = `{"clientBurst": 7, "burst": ` + value + `}`
			}
			r.check(t, row{"", request{method: http.MethodPut, path: "/admin/limits", user: "admin", body: body}, http.StatusBadRequest, "bad-request", bad})
		}
		assert.Equal(t, before, r.get(request{path: "/admin/limits", user: "admin"}), "nothing has changed")
	}
}

// While the server drains it serves on, then refuses, then is gone.
func TestContractDraining(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *config) { c.drain = 300 * time.Millisecond })
	assert.Equal(t, http.StatusOK, r.send(request{path: r.panel + "/readyz"}).StatusCode)
	go func() {
		<-r.draining
		_ = r.server.guard.Shutdown(t.Context(), refusing{r.program.api, time.Hour}) // until the test ends
	}()
	assert.Equal(t, http.StatusOK, r.send(request{method: http.MethodPost, path: r.panel + "/drain"}).StatusCode)
	eventually(t, func() bool {
		return r.send(request{path: r.panel + "/readyz"}).StatusCode == http.StatusServiceUnavailable
	})
	eventually(t, func() bool { return r.send(request{path: "/version"}).StatusCode == http.StatusServiceUnavailable })
	r.check(t, row{"", request{path: "/version"}, http.StatusServiceUnavailable, "draining", "shutting down"})
	assert.Equal(t, "1", r.send(request{path: "/version"}).Header.Get("Retry-After"))
	assert.Equal(t, http.StatusOK, r.send(request{path: r.panel + "/livez"}).StatusCode)
}
