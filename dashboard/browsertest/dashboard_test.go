package browsertest

import (
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// TestPictures is a session with the page: normal load, overload, an outage. It
// takes the pictures.
func TestPictures(t *testing.T) {
	long, _ := strconv.Atoi(os.Getenv("GUARD_SCREENSHOT_SECONDS")) // 40: five minutes in all, for the pictures in the docs
	stretch := func(part float64) { time.Sleep(time.Duration(part * float64(long) * float64(time.Second))) }
	w := newWorld(t)
	url, _ := w.serve(t)
	var wanted atomic.Int64
	wanted.Store(150)
	w.load(t, func() float64 { return float64(wanted.Load()) })
	b := open(t)
	b.look(t, 1440, 900, "light")
	b.visit(t, url)
	stretch(2.8)
	b.until(t, `document.body.dataset.link === "live" && document.querySelectorAll(".card").length === 4`)
	b.until(t, `parseFloat(document.querySelector(".legend .served dd").textContent) > 20`)
	b.until(t, `document.getElementById("verdict").dataset.level !== "none"`)
	b.picture(t, "normal-1440-light")
	b.fits(t)

	wanted.Store(760)
	b.until(t, `parseFloat(document.querySelector(".legend .overload dd").textContent) > 0`)
	b.until(t, `document.getElementById("verdict").dataset.level === "bad"`)
	stretch(1.2)
	b.picture(t, "overload-1440-light")
	b.look(t, 1440, 900, "dark")
	b.picture(t, "overload-1440-dark")
	b.look(t, 390, 844, "light")
	b.picture(t, "overload-390-light")
	b.fits(t)

	wanted.Store(150)
	b.look(t, 1440, 900, "light")
	stretch(1.5)
	w.broken.Store(true)
	b.until(t, `document.querySelector(".card").dataset.state === "open"`)
	b.until(t, `/^(Open|Half-open)$/.test(document.querySelector(".card .state b").textContent) && document.querySelector(".card h3").textContent === "cassandra"`)
	stretch(1)
	b.until(t, `document.querySelector(".card").dataset.state === "open"`)
	b.picture(t, "outage-1440-light")
	b.look(t, 1440, 900, "dark")
	b.picture(t, "outage-1440-dark")
	b.look(t, 390, 844, "dark")
	b.picture(t, "outage-390-dark")
	b.fits(t)
	w.broken.Store(false)
	b.until(t, `document.querySelector("#events .good")`)
	b.quiet(t, url)
}
