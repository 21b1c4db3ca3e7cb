package guardprom_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardprom"
)

// Whatever the clients send, the labels are these and their values the program's.
func TestCollectorLabelsAreBounded(t *testing.T) {
	f := newFull(t)
	reg := register(t, f.Guard, guardprom.Options{})
	f.exercise(t)
	before := len(values(t, reg))
	for _, key := range []string{"secret-1", "secret-2", "secret-3"} {
		f.get("/pages?"+key, key)
		f.get("/visits/"+key, key)
	}
	after := values(t, reg)
	require.Len(t, after, before, "clients have made series")
	name := regexp.MustCompile(`(\w+)="`)
	allowed := []string{"route", "dependency", "reason", "outcome", "state", "mode", "priority", "limit", "code", "le"}
	for s := range after {
		require.NotContains(t, s, "secret")
		require.NotContains(t, s, "alice")
		for _, l := range name.FindAllStringSubmatch(s, -1) {
			require.Contains(t, allowed, l[1], s)
		}
	}
}

// Names are the program's, and may be anything.
func TestCollectorNames(t *testing.T) {
	g := newGuard(t, guard.Config{Clients: []guard.ClientLimit{{Name: "\xff limit", Limit: guard.Limit{Rate: 1}}}})
	for _, name := range []string{"\xff", `"\xff"`, "\xfe", "a\"b\\c\nd", "é", "{}", strings.Repeat("x", 5000)} {
		_, err := g.Route(name, guard.RouteConfig{})
		require.NoError(t, err)
		_, err = g.Dependency(name, guard.DependencyConfig{})
		require.NoError(t, err)
	}
	got := values(t, register(t, g, guardprom.Options{}))
	require.Contains(t, got, `guard_route_requests_in_flight{route="\"\\xff\""}`)
	require.Contains(t, got, `guard_route_requests_in_flight{route="\"\\\"\\\\xff\\\"\""}`, "the name that looks like the former quoted")
	require.Contains(t, got, `guard_dependency_calls_in_flight{dependency="\"\\xfe\""}`)
	require.Contains(t, got, `guard_client_limit_keys{limit="\"\\xff limit\""}`)
}

// Limits per client may have the names of others, or none.
func TestCollectorClientNames(t *testing.T) {
	limit := guard.Limit{Rate: 1}
	g := newGuard(t, guard.Config{Clients: []guard.ClientLimit{
		{Name: "key", Limit: limit}, {Limit: limit}, {Name: "key 2", Limit: limit}, {Name: "key", Limit: limit}, {Name: "client2", Limit: limit},
	}})
	_, err := g.Route("visits", guard.RouteConfig{Clients: []guard.ClientLimit{{Limit: limit}, {Name: "client", Limit: limit}}})
	require.NoError(t, err)
	got := values(t, register(t, g, guardprom.Options{}))
	for _, name := range []string{"key", "client2", "key 2", "key 3", "client2 2"} {
		require.Contains(t, got, `guard_client_limit_keys{limit="`+name+`"}`)
	}
	require.Contains(t, got, `guard_route_client_limit_keys{limit="client",route="visits"}`)
	require.Contains(t, got, `guard_route_client_limit_keys{limit="client 2",route="visits"}`)
}
