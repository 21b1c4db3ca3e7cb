package browsertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/dashboard"
)

const live = `document.body.dataset.link === "live" && document.body.dataset.seq > 1`

// serve serves a dashboard of g until the test ends.
func serve(t *testing.T, g *guard.Guard, around func(http.Handler) http.Handler) (url string, d *dashboard.Dashboard) {
	t.Helper()
	d = dashboard.New(g)
	h := http.Handler(d)
	if around != nil {
		h = around(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		require.NoError(t, d.Close())
		s.Close()
	})
	return s.URL + "/", d
}

func newGuard(t *testing.T) *guard.Guard {
	t.Helper()
	g, err := guard.New(guard.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return g
}

// The page finds a server again that was away, be it another process.
func TestReconnect(t *testing.T) {
	w := newWorld(t)
	url, stop := w.serve(t)
	b := open(t)
	b.look(t, 1440, 900, "light")
	b.visit(t, url)
	b.until(t, live)
	stop()
	b.until(t, `document.body.dataset.link === "lost" && !document.getElementById("banner").hidden`)
	require.Contains(t, eval[string](t, b, `document.getElementById("link").textContent`), "Disconnected")
	require.Contains(t, eval[string](t, b, "document.title"), "Disconnected")
	b.picture(t, "disconnected-1440-light")
	_, stop = w.serve(t)
	b.until(t, `document.body.dataset.link === "live" && document.getElementById("banner").hidden`)
	b.until(t, `store.times.length > 5`)
	require.False(t, eval[bool](t, b, `store.times.some((t, i) => i && t - store.times[i - 1] > 3000)`), "it misses nothing of what the server has seen")
	stop()
	b.until(t, `document.body.dataset.link === "lost"`)
	before := eval[string](t, b, "store.boot")

	other := newWorld(t)
	other.addr = w.addr
	other.serve(t)
	b.until(t, `document.body.dataset.link === "live" && store.boot !== "`+before+`"`)
	require.Less(t, eval[int](t, b, "store.times.length"), 60)
	b.calm(t, url)
}

func TestPause(t *testing.T) {
	w := newWorld(t)
	url, _ := w.serve(t)
	b := open(t)
	b.look(t, 1440, 900, "dark")
	b.visit(t, url)
	b.until(t, live)
	require.NoError(t, chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS("#pause"))))
	b.until(t, `document.body.classList.contains("paused") && document.getElementById("link").textContent === "Paused"`)
	require.Equal(t, "true", eval[string](t, b, `document.getElementById("pause").getAttribute("aria-pressed")`))
	require.Contains(t, eval[string](t, b, `document.getElementById("banner").innerText`), "Paused at ")
	shown, seq := eval[string](t, b, "document.querySelector('main').innerText"), eval[int](t, b, "store.seq")
	b.until(t, fmt.Sprintf("store.seq > %d", seq+2))
	require.Equal(t, shown, eval[string](t, b, "document.querySelector('main').innerText"), "what is shown stands still")
	b.picture(t, "paused-1440-dark")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS("#pause"))))
	b.until(t, `!document.body.classList.contains("paused") && document.getElementById("banner").hidden`)
	require.NotEqual(t, shown, eval[string](t, b, "document.querySelector('main').innerText"), "and then catches up")
	b.quiet(t, url)
}

// A breaker that opens turns its card, in word and colour, and puts it first.
func TestBreakerTurnsCard(t *testing.T) {
	g := newGuard(t)
	_, err := g.Dependency("first", guard.DependencyConfig{})
	require.NoError(t, err)
	d, err := g.Dependency("second", guard.DependencyConfig{MinCalls: 1})
	require.NoError(t, err)
	url, _ := serve(t, g, nil)
	b := open(t)
	b.look(t, 1440, 900, "light")
	b.visit(t, url)
	const card = `document.querySelector(".card")`
	b.until(t, card+`?.querySelector("h3").textContent === "first"`)
	colour := eval[string](t, b, `getComputedStyle(document.querySelectorAll(".card .state")[1]).color`)
	_ = d.Do(t.Context(), func(context.Context) error { return errors.New("secret") })
	b.until(t, card+`.querySelector("h3").textContent === "second"`)
	b.until(t, card+`.dataset.state === "open" && `+card+`.querySelector(".state b").textContent === "Open"`)
	require.NotEqual(t, colour, eval[string](t, b, `getComputedStyle(document.querySelector(".card .state")).color`))
	b.until(t, `/next probe in/.test(`+card+`.innerText)`)
	b.until(t, `document.getElementById("headline").textContent.startsWith("second is open")`)
	b.until(t, `/second opened/.test(document.getElementById("events").textContent)`)
	require.NotContains(t, eval[string](t, b, "document.documentElement.outerHTML"), "secret")
	d.Force(guard.ModeClosed)
	b.until(t, card+`.querySelector(".state b").textContent === "Forced closed"`)
	b.quiet(t, url)
}

// Names are text, whatever they look like, and break nothing.
func TestHostileNames(t *testing.T) {
	g := newGuard(t)
	for i, name := range []string{
		`<img src=x onerror="document.title='owned'">`, `</script><script>document.title='owned'</script>`, "\u202eevil\u0000\n\r", "__proto__", "constructor",
		strings.Repeat("long", 200), strings.Repeat("wide ", 100), `"'&lt;`, "日本語のサービス",
	} {
		_, err := g.Dependency(name, guard.DependencyConfig{})
		require.NoError(t, err, i)
		_, err = g.Route(name, guard.RouteConfig{})
		require.NoError(t, err, i)
	}
	g.Dependencies()[5].Force(guard.ModeOpen)
	url, _ := serve(t, g, nil)
	b := open(t)
	for _, width := range []int64{1440, 390} {
		b.look(t, width, 844, "light")
		b.visit(t, url)
		b.until(t, live+` && document.querySelectorAll(".card").length === 9 && document.querySelectorAll("#routes tr").length === 9`)
		require.Zero(t, eval[int](t, b, `document.querySelectorAll("img, .card script").length`))
		b.fits(t)
	}
	require.NotContains(t, eval[string](t, b, "document.title"), "owned")
	b.quiet(t, url)
}

// A hundred routes and fifty dependencies are read as well as four.
func TestMany(t *testing.T) {
	g := newGuard(t)
	for i := range 100 {
		_, err := g.Route(fmt.Sprintf("GET /collection-%d/{id}", i), guard.RouteConfig{})
		require.NoError(t, err)
		if i < 50 {
			_, err := g.Dependency(fmt.Sprintf("service-%d", i), guard.DependencyConfig{})
			require.NoError(t, err)
		}
	}
	g.Dependencies()[37].Force(guard.ModeOpen)
	url, _ := serve(t, g, nil)
	b := open(t)
	for _, width := range []int64{390, 1440} {
		b.look(t, width, 900, "light")
		b.visit(t, url)
		b.until(t, live+` && document.querySelectorAll(".card").length === 50 && document.querySelectorAll("#routes tr").length === 100`)
		require.Equal(t, "service-37", eval[string](t, b, `document.querySelector(".card h3").textContent`))
		b.fits(t)
	}
	b.picture(t, "many-1440-light")
	t.Logf("one rendering takes %.1f ms", eval[float64](t, b, `(() => { const began = performance.now(); for (let i = 0; i < 5; i++) render(); return (performance.now() - began) / 5; })()`))
	require.NoError(t, chromedp.Do(b.ctx, chromedp.SendKeys(chromedp.CSS("#filter"), "-42")))
	b.until(t, `document.querySelectorAll(".card").length === 1 && document.querySelectorAll("#routes tr").length === 1`)
	b.quiet(t, url)
}

// Where there is no streaming the page polls.
func TestPolling(t *testing.T) {
	url, _ := serve(t, newGuard(t), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // which hides Flush
		})
	})
	b := open(t)
	b.visit(t, url)
	b.until(t, `document.body.dataset.link === "polling" && store.seq > 4`)
	b.calm(t, url)
}

// A server that answers but has stopped looking is no news, not good news.
func TestStale(t *testing.T) {
	url, d := serve(t, newGuard(t), nil)
	b := open(t)
	b.visit(t, url)
	b.until(t, live)
	require.NoError(t, d.Close())
	b.until(t, `document.body.dataset.link === "stale" && /sends nothing/.test(document.getElementById("banner").textContent)`)
	b.calm(t, url)
}

func TestKeyboard(t *testing.T) {
	w := newWorld(t)
	url, _ := w.serve(t)
	b := open(t)
	b.look(t, 1440, 900, "light")
	b.visit(t, url)
	b.until(t, live+" && store.times.length > 3")
	require.NoError(t, chromedp.Do(b.ctx, chromedp.Focus(chromedp.CSS("#moment")), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft)))
	b.until(t, `!document.getElementById("cross").hidden && /admitted and .* refused per second/.test(document.getElementById("moment").getAttribute("aria-valuetext"))`)
	require.NoError(t, chromedp.Do(b.ctx, chromedp.KeyEvent(kb.Escape)))
	b.until(t, `document.getElementById("cross").hidden`)
	require.Equal(t, "H1,H2,H2", eval[string](t, b, `[...document.querySelectorAll("h1,h2")].slice(0, 3).map((h) => h.tagName).join()`))
	require.Zero(t, eval[int](t, b, `[...document.querySelectorAll("button, input")].filter((e) => !(e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length`), "controls without a name")
	b.quiet(t, url)
}

// Text can be read in both schemes: 4.5 to 1, as WCAG asks.
func TestContrast(t *testing.T) {
	url, _ := serve(t, newGuard(t), nil)
	b := open(t)
	for _, scheme := range []string{"light", "dark"} {
		b.look(t, 1440, 900, scheme)
		b.visit(t, url)
		b.until(t, live)
		low := eval[string](t, b, `(() => {
			const style = getComputedStyle(document.documentElement);
			const light = (name) => {
				const probe = document.createElement("i");
				probe.style.color = style.getPropertyValue("--" + name);
				document.body.append(probe);
				const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
				probe.remove();
				return 0.2126 * r + 0.7152 * g + 0.0722 * b;
			};
			const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
			const pairs = ["ink", "soft", "faint", "bad", "ok", "warn", "accent", "info"].flatMap((c) => [[c, "panel"], [c, "page"]]).concat([["ok", "ok-back"], ["warn", "warn-back"], ["bad", "bad-back"]]);
			return pairs.filter(([a, b]) => ratio(a, b) < 4.5).map(([a, b]) => a + " on " + b + " " + ratio(a, b).toFixed(2)).join(", ");
		})()`)
		require.Empty(t, low, scheme)
	}
	b.quiet(t, url)
}
