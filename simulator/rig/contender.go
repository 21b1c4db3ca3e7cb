package main

import (
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"golang.org/x/time/rate"

	"example.com/guard"
)

// A control is an overload control around a handler.
type control struct {
	handler http.Handler
	limit   func() int // on what is in flight; nil: there is none
}

// A contender builds a control for a server that works on so many requests at
// once, and so many a second. Only who is told these numbers can use them.
type contender struct {
	name  string
	title string
	build func(next http.Handler, parallel int, capacity float64) (control, error)
}

const (
	bestBound = "bound" // against which the others are held
	selfTuned = "self-tuned"
)

func contenders() []contender {
	return []contender{
		{"nothing", "nothing", func(next http.Handler, _ int, _ float64) (control, error) {
			return control{handler: next}, nil
		}},
		{bestBound, "guard: bound, twice what it can work on", func(next http.Handler, parallel int, _ float64) (control, error) {
			return guarded(next, guard.Config{Concurrency: guard.Concurrency{Max: 2 * parallel}})
		}},
		{"high-bound", "guard: bound, four times as high", func(next http.Handler, parallel int, _ float64) (control, error) {
			return guarded(next, guard.Config{Concurrency: guard.Concurrency{Max: 8 * parallel}})
		}},
		{"bucket", "guard: bucket of 120 %", func(next http.Handler, _ int, capacity float64) (control, error) {
			limit := 1.2 * capacity
			return guarded(next, guard.Config{Limit: guard.Limit{Rate: rate.Limit(limit), Burst: int(math.Ceil(limit / 10))}})
		}},
		{selfTuned, "guard: self-tuned bound", func(next http.Handler, _ int, _ float64) (control, error) {
			return guarded(next, guard.Config{Concurrency: guard.Concurrency{SelfTuned: true}})
		}},
		{"failsafe", "failsafe-go, adaptive", func(next http.Handler, _ int, _ float64) (control, error) {
			limiter := adaptivelimiter.NewBuilder[*http.Response]().Build() //nolint:bodyclose // there is no response
			return control{handler: failsafehttp.NewHandler(next, limiter), limit: limiter.Limit}, nil
		}},
	}
}

func contenderNames() []string {
	return names(contenders(), func(c contender) string { return c.name })
}

// build returns the control of the contender of that name.
func build(name string, b bench, capacity float64) (control, error) {
	chosen, err := choose(name, contenders(), func(c contender) string { return c.name })
	if err != nil {
		return control{}, err
	}
	return chosen[0].build(b.handler(), b.parallel(), capacity)
}

func guarded(next http.Handler, c guard.Config) (control, error) {
	c.Logger = slog.New(slog.DiscardHandler)
	g, err := guard.New(c)
	if err != nil {
		return control{}, fmt.Errorf("cannot make a guard: %w", err)
	}
	k := control{handler: g.Handler(next)}
	if c.Concurrency.SelfTuned {
		k.limit = func() int { return g.Snapshot().Requests.Bound.Limit }
	}
	return k, nil
}
