package guard_test

import (
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"example.com/guard"
)

func prefixes(ps ...string) (out []netip.Prefix) {
	for _, p := range ps {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// badConfigs are changes to a Config each of which makes it invalid.
var badConfigs = []struct {
	change func(*guard.Config)
	want   []string
}{
	{func(c *guard.Config) { c.Limit.Rate = -1 }, []string{"Limit.Rate", "-1"}},
	{func(c *guard.Config) { c.Limit.Rate = rate.Limit(math.NaN()) }, []string{"Limit.Rate", "NaN"}},
	{func(c *guard.Config) { c.Limit.Burst = -1 }, []string{"Limit.Burst", "-1"}},
	{func(c *guard.Config) { c.Clients[0].Limit.Rate = -2 }, []string{"Clients[0].Limit.Rate", "-2"}},
	{func(c *guard.Config) { c.Clients[0].Limit.Burst = -3 }, []string{"Clients[0].Limit.Burst", "-3"}},
	{func(c *guard.Config) { c.Clients[0].IPv6Prefix = 129 }, []string{"Clients[0].IPv6Prefix", "129"}},
	{func(c *guard.Config) { c.Clients[0].IPv6Prefix = -1 }, []string{"Clients[0].IPv6Prefix", "-1"}},
	{func(c *guard.Config) { c.Clients[0].MaxKeys = -1 }, []string{"Clients[0].MaxKeys", "-1"}},
	{func(c *guard.Config) { c.Concurrency.Max = -1 }, []string{"Concurrency.Max", "-1"}},
	{func(c *guard.Config) { c.TrustedProxies = prefixes("10.0.0.0/8", "0.0.0.0/0") }, []string{"TrustedProxies[1]", "0.0.0.0/0"}},
	{func(c *guard.Config) { c.TrustedProxies = prefixes("::/0") }, []string{"TrustedProxies[0]", "::/0"}},
	{func(c *guard.Config) { c.TrustedProxies = []netip.Prefix{{}} }, []string{"TrustedProxies[0]", "invalid"}},
	{func(c *guard.Config) { c.ForwardedHeader = "X Forwarded" }, []string{"ForwardedHeader", "X Forwarded"}},
	{func(c *guard.Config) { c.Status.Limited = 200 }, []string{"Status.Limited", "200"}},
	{func(c *guard.Config) { c.Status.Client = 600 }, []string{"Status.Client", "600"}},
	{func(c *guard.Config) { c.Status.Overloaded = -1 }, []string{"Status.Overloaded", "-1"}},
	{func(c *guard.Config) { c.DrainDelay = -time.Second }, []string{"DrainDelay", "-1s"}},
}

func goodConfig() guard.Config {
	return guard.Config{
		Limit: tokens(9), Clients: []guard.ClientLimit{{Limit: tokens(9), Key: byHeader}},
		Logger: slog.New(slog.DiscardHandler),
	}
}

func TestConfigErrorsNameFieldAndValue(t *testing.T) {
	for _, bad := range badConfigs {
		c := goodConfig()
		bad.change(&c)
		g, err := guard.New(c)
		assert.Nil(t, g)
		for _, want := range bad.want {
			require.ErrorContains(t, err, want)
		}
	}
}

// Guarantee 7: on an error nothing changes, be the rest of the change valid.
func TestGuarantee7ErrorsChangeNothing(t *testing.T) {
	bad := slices.Concat(badConfigs, []struct {
		change func(*guard.Config)
		want   []string
	}{
		{func(c *guard.Config) { c.Logger = slog.Default() }, []string{"Logger"}},
		{func(c *guard.Config) { c.Clients = nil }, []string{"Clients", "1", "0"}},
		{func(c *guard.Config) { c.Clients = append(c.Clients, guard.ClientLimit{}) }, []string{"Clients", "1", "2"}},
		{func(c *guard.Config) { c.Clients[0].Key = nil }, []string{"Clients[0].Key"}},
		{func(c *guard.Config) { c.Clients[0].Key = byNamedHeader("Client") }, []string{"Clients[0].Key"}},
		{func(c *guard.Config) { c.Clients[0].MaxKeys = 7 }, []string{"Clients[0].MaxKeys", "7"}},
		{func(c *guard.Config) { c.Limit.Burst = 2 }, []string{`"dear"`, "Cost", "3", "Limit.Burst", "2"}},
		{func(c *guard.Config) { c.Clients[0].Limit.Burst = 2 }, []string{`"dear"`, "Cost", "3", "Clients[0].Limit.Burst", "2"}},
	})
	for _, bad := range bad {
		g := newGuard(t, goodConfig())
		newRoute(t, g, "dear", guard.RouteConfig{Cost: 3})
		h := g.Handler(ok)
		before := g.Config()
		err := g.Tune(func(c *guard.Config) {
			c.Limit, c.Clients[0].Limit, c.Concurrency.Max, c.Support = tokens(5), tokens(4), 7, "changed"
			bad.change(c)
		})
		for _, want := range bad.want {
			require.ErrorContains(t, err, want)
		}
		after := g.Config()
		before.Clients[0].Key, after.Clients[0].Key = nil, nil // functions are not comparable
		assert.Equal(t, before, after)
		assert.Equal(t, 9, admitted(h, "a", 20))
	}
}

func byNamedHeader(name string) func(*http.Request) string {
	return func(r *http.Request) string { return r.Header.Get(name) }
}

// Two closures of one function are different keys.
func TestTuneTellsClosuresApart(t *testing.T) {
	c := goodConfig()
	c.Clients[0].Key = byNamedHeader("A")
	g := newGuard(t, c)
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Clients[0].IPv6Prefix = 56 }))
	require.ErrorContains(t, g.Tune(func(c *guard.Config) { c.Clients[0].Key = byNamedHeader("B") }), "Clients[0].Key")
}

// Guarantee 7: a change applies to what exists and takes no tokens.
func TestGuarantee7TuneKeepsTokens(t *testing.T) {
	g := newGuard(t, goodConfig())
	route := newRoute(t, g, "r", guard.RouteConfig{Limit: tokens(20), Clients: []guard.ClientLimit{{Limit: tokens(20), Key: byHeader}}})
	h := g.Handler(route.Handler(ok))
	require.Equal(t, 4, admitted(h, "a", 4))
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit, c.Clients[0].Limit = tokens(100), tokens(50) }))
	require.NoError(t, route.Tune(func(c *guard.RouteConfig) { c.Limit, c.Clients[0].Limit = tokens(30), tokens(3) }))
	assert.Equal(t, tokens(100), g.Config().Limit)
	assert.Equal(t, tokens(30), route.Config().Limit)
	assert.Equal(t, 3, admitted(h, "a", 50), "client a of the route is cut to 3")
	assert.Equal(t, 2, admitted(h, "b", 50), "two left of the 9 for all")

	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit = guard.Limit{} }))
	assert.Equal(t, 1, admitted(h, "b", 50), "no limit for all; b had used 2 of the 3 the route now gives")
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Limit = tokens(1) }))
	require.NoError(t, route.Tune(func(c *guard.RouteConfig) { c.Clients[0].Limit = guard.Unlimited() }))
	assert.Equal(t, 1, admitted(h, "c", 50))
}

func TestTuneOfEverythingElse(t *testing.T) {
	g := newGuard(t, goodConfig())
	require.Equal(t, 9, admitted(g.Handler(ok), "a", 20))
	require.NoError(t, g.Tune(func(c *guard.Config) {
		c.Status = guard.Statuses{Client: 429}
		c.Exempt = func(r *http.Request) bool { return r.URL.Path == "/free" }
	}))
	assert.Equal(t, 429, ask(g.Handler(ok), "a").Code)
	assert.Equal(t, 204, status(g.Handler(ok), "GET", "/free"))
	require.NoError(t, g.Tune(func(c *guard.Config) { c.Shadow = true }))
	assert.Equal(t, 204, ask(g.Handler(ok), "a").Code)
	require.Error(t, g.Tune(nil))
}

func TestRouteTuneErrorsChangeNothing(t *testing.T) {
	g := newGuard(t, goodConfig())
	route := newRoute(t, g, "r", guard.RouteConfig{Limit: tokens(3)})
	for _, bad := range []struct {
		change func(*guard.RouteConfig)
		want   []string
	}{
		{func(c *guard.RouteConfig) { c.Cost = 10 }, []string{`"r"`, "Cost", "10"}},
		{func(c *guard.RouteConfig) { c.Cost = -1 }, []string{"Cost", "-1"}},
		{func(c *guard.RouteConfig) { c.Limit.Burst = -1 }, []string{"Limit.Burst", "-1"}},
		{func(c *guard.RouteConfig) { c.Concurrency.Max = -1 }, []string{"Concurrency.Max", "-1"}},
		{func(c *guard.RouteConfig) { c.Clients = make([]guard.ClientLimit, 2) }, []string{"Clients", "0", "2"}},
	} {
		err := route.Tune(func(c *guard.RouteConfig) {
			c.Limit = tokens(8)
			bad.change(c)
		})
		for _, want := range bad.want {
			require.ErrorContains(t, err, want)
		}
		assert.Equal(t, guard.RouteConfig{Limit: tokens(3)}, route.Config())
	}
	require.Error(t, route.Tune(nil))
	assert.Equal(t, 3, admitted(route.Handler(ok), "a", 20))
}

// Guarantee 7: changes that race are serialised; none is lost, none is half done.
func TestGuarantee7ConcurrentTunes(t *testing.T) {
	g := newGuard(t, guard.Config{Limit: guard.Limit{Rate: 1, Burst: 1}})
	route := newRoute(t, g, "r", guard.RouteConfig{Limit: guard.Limit{Rate: 1, Burst: 1}})
	h := g.Handler(route.Handler(ok))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				assert.NoError(t, g.Tune(func(c *guard.Config) { c.Limit.Burst++; c.Limit.Rate++ }))
				assert.NoError(t, route.Tune(func(c *guard.RouteConfig) { c.Limit.Burst++; runtime.Gosched(); c.Concurrency.Max++ }))
				ask(h, "a")
				c := g.Config()
				assert.EqualValues(t, c.Limit.Burst, c.Limit.Rate)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, guard.Limit{Rate: 801, Burst: 801}, g.Config().Limit)
	assert.Equal(t, 801, route.Config().Limit.Burst)
	assert.Equal(t, 800, route.Config().Concurrency.Max)
}

// Guarantee 10: no lock is held while a change runs, so it may call back.
func TestGuarantee10TuneMayCallBack(t *testing.T) {
	g := newGuard(t, goodConfig())
	first := true
	require.NoError(t, g.Tune(func(c *guard.Config) {
		c.Support = g.Config().Support + "x"
		if first {
			first = false
			newRoute(t, g, "made inside", guard.RouteConfig{})
			assert.NoError(t, g.Tune(func(c *guard.Config) { c.Concurrency.Max = 3 }))
		}
	}))
	assert.Equal(t, "x", g.Config().Support)
	assert.Equal(t, 3, g.Config().Concurrency.Max)
	assert.Panics(t, func() { _ = g.Tune(func(*guard.Config) { panic("mine") }) })
	require.NoError(t, g.Tune(func(*guard.Config) {}))
}

// Guarantee 7: who waits for the limiter of a guard's user keeps his place.
func TestGuarantee7WaitersKeepTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lim := newLimiter(t, 0.001, 1)
		requireTaken(t, lim, 1)
		var order []int
		var mu sync.Mutex
		for i := range 3 {
			go func() {
				assert.NoError(t, lim.Wait(t.Context(), 1))
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			}()
			synctest.Wait()
		}
		require.NoError(t, lim.SetLimit(guard.Limit{Rate: 1, Burst: 1}))
		requireRefused(t, lim, 1, 4*time.Second)
		for i := range 3 {
			time.Sleep(time.Second)
			synctest.Wait()
			mu.Lock()
			assert.Len(t, order, i+1)
			mu.Unlock()
		}
		assert.Equal(t, []int{0, 1, 2}, order)
	})
}
