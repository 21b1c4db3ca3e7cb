package benchmarks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func BenchmarkBreaker(b *testing.B) {
	fine := func() error { return nil }
	for _, mode := range []string{"serial", "parallel"} {
		for _, c := range breakers {
			call := c.build(b)
			run(b, mode, "closed/"+mode+"/"+c.name, func() { _ = call(fine) })
		}
	}
	for _, c := range breakers {
		b.Run("one-in-four/serial/"+c.name, func(b *testing.B) {
			call := c.build(b)
			b.ReportAllocs()
			n := 0
			flaky := func() error {
				if n++; n%4 == 0 {
					return errBroken
				}
				return nil
			}
			for b.Loop() {
				_ = call(flaky)
			}
		})
	}
	for _, mode := range []string{"serial", "parallel"} {
		for _, c := range breakers {
			call := c.build(b)
			if !trip(call) {
				b.Fatal(c.name, "does not open")
			}
			run(b, mode, "open/"+mode+"/"+c.name, func() { _ = call(fine) })
		}
	}
}

func BenchmarkClient(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for _, job := range []struct {
		name string
		ctx  context.Context
		ends time.Duration
		open bool
	}{
		{"closed", context.Background(), 0, false},
		{"closed-served", ctx, 0, false}, // for a request that is being served, whose client may go
		{"closed-timeout", context.Background(), callTimeout, false},
		{"open", context.Background(), 0, true},
	} {
		for _, mode := range []string{"serial", "parallel"} {
			for _, c := range clients {
				if job.open && c.name == "bare" {
					continue
				}
				next := &upstream{status: http.StatusOK}
				rt := c.build(b, next, job.ends)
				r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil).WithContext(job.ctx)
				if job.open && !next.fail(rt, r) {
					b.Fatal(c.name, "does not open")
				}
				run(b, mode, job.name+"/"+mode+"/"+c.name, func() {
					resp, err := rt.RoundTrip(r)
					if err == nil {
						_ = resp.Body.Close()
					}
					if (err != nil) != job.open {
						b.Error("open, or not open, when it should not be:", err)
					}
				})
			}
		}
	}
}
