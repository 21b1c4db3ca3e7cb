package browsertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// A browser has one page open, and notes what it complains of and asks for.
type browser struct {
	ctx      context.Context
	mu       sync.Mutex
	errors   []string
	failures []string // of requests
	requests []string
}

// open starts a browser, or skips the test where there is none.
func open(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	path := os.Getenv("GUARD_BROWSER")
	if path == "" {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if found, err := exec.LookPath(name); err == nil {
				path = found
				break
			}
		}
	}
	if path == "" {
		t.Skip("needs chromium, or GUARD_BROWSER to name a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, b.note))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := event.(type) {
	case *runtime.EventExceptionThrown:
		what := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			what += " " + e.Description
		}
		b.errors = append(b.errors, what)
	case *runtime.EventConsoleAPICalled:
		b.errors = append(b.errors, "console."+string(ev.Type))
	case *cdplog.EventEntryAdded:
		if ev.Entry.Source == cdplog.EntrySourceNetwork {
			b.failures = append(b.failures, ev.Entry.Text+" "+ev.Entry.URL)
		} else {
			b.errors = append(b.errors, ev.Entry.Text+" "+ev.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, ev.Request.URL)
	}
}

func (b *browser) visit(t *testing.T, url string) {
	t.Helper()
	require.NoError(t, chromedp.Do(b.ctx, chromedp.Navigate(url)))
}

// look sets how the page is seen.
func (b *browser) look(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500,
	})
	require.NoError(t, err)
	_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(t, err)
}

// eval returns what a JavaScript expression is in the page.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err, expression)
	return v
}

// until waits for a condition of the page, a JavaScript expression.
func (b *browser) until(t *testing.T, condition string) {
	t.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-look.C {
		if eval[bool](t, b, "Boolean("+condition+")") {
			return
		}
		require.True(t, time.Now().Before(deadline), "never came true: %s\n%s", condition, eval[string](t, b, "document.body.innerText"))
	}
}

// picture saves the whole page, to GUARD_SCREENSHOTS or a directory of the test.
func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("GUARD_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err)
	require.NotEmpty(t, png)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// quiet fails the test if the page has complained, or asked another host.
func (b *browser) quiet(t *testing.T, url string) {
	t.Helper()
	b.mu.Lock()
	failures := b.failures
	b.mu.Unlock()
	require.Empty(t, failures)
	b.calm(t, url)
}

// calm is quiet, but requests may have failed, as the browser notes by itself.
func (b *browser) calm(t *testing.T, url string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.errors)
	require.NotEmpty(t, b.requests)
	for _, r := range b.requests {
		require.True(t, strings.HasPrefix(r, url), r)
	}
}

// fits fails the test if the page is wider than the window.
func (b *browser) fits(t *testing.T) {
	t.Helper()
	over := eval[int](t, b, "document.documentElement.scrollWidth - document.documentElement.clientWidth")
	require.LessOrEqual(t, over, 0, "pixels that stick out")
}
