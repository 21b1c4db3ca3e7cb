package simulator_test

import (
	"net/http"
	"sync/atomic"
	"time"
	_ "unsafe" // for linkname

	"github.com/zeromicro/go-zero/core/load"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stat"
)

// What go-zero's shedder takes for the use of the CPU, which is that of the
// machine. It is a variable of its own for its own tests.
//
//go:linkname goZeroOverloaded github.com/zeromicro/go-zero/core/load.systemOverloadChecker
var goZeroOverloaded func(threshold int64) bool

//go:linkname goZeroUsage github.com/zeromicro/go-zero/core/stat.cpuUsage
var goZeroUsage atomic.Int64

// goZero is go-zero's adaptive shedder, used as its handler does. It asks how
// busy the CPU is: cpuBound has it that the workers are the CPU; else they wait
// for something else, and the CPU has nothing to do.
func goZero(cpuBound bool) Contender {
	name := "go-zero, I/O-bound"
	if cpuBound {
		name = "go-zero, CPU-bound"
	}
	return Contender{Name: name, Holds: true, Build: func(env *Env, next http.Handler) http.Handler {
		logx.Disable()
		stat.SetReporter(nil)
		usage := &usage{}
		if cpuBound {
			go usage.follow(env)
		}
		before := goZeroOverloaded
		env.Cleanup(func() { goZeroOverloaded = before })
		goZeroOverloaded = func(threshold int64) bool {
			cpu := usage.thousandths.Load()
			goZeroUsage.Store(cpu) // a goroutine of go-zero's writes the machine's there, four times a second
			return cpu >= threshold
		}
		shedder := load.NewAdaptiveShedder()
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			promise, err := shedder.Allow()
			if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			defer promise.Pass()
			next.ServeHTTP(w, r)
		})
	}}
}

// usage is the use of the CPU in thousandths, as go-zero reckons it from that of
// each quarter of a second.
type usage struct{ thousandths atomic.Int64 }

func (u *usage) follow(env *Env) {
	const every, beta = 250 * time.Millisecond, 0.95
	c, before, ema := env.server.clock, 0.0, 0.0
	for c.now() < int64(env.end()) {
		time.Sleep(every)
		worked := env.server.worked(c.now())
		ema = ema*beta + (1-beta)*1000*(worked-before)/float64(every)/float64(env.Shape.Workers)
		u.thousandths.Store(int64(ema))
		before = worked
	}
}
