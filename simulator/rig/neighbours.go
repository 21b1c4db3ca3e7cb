package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// A clocking is how much of the machine has been used, until some time.
type clocking struct {
	at   time.Time
	busy time.Duration // by all processes, on all processors; 0: it is not known
}

// clock reads how much of the machine has been used since it was started. Only
// Linux tells.
func clock() clocking {
	c := clocking{at: time.Now()}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var user, nice, system, idle, iowait, irq, softirq, steal int64 // see proc_stat(5)
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return c
	}
	const tick = time.Second / 100 // for programs, whatever the kernel's own is
	c.busy = time.Duration(user+nice+system+irq+softirq+steal) * tick
	return c
}

// others returns what share of the machine others have used from c until now,
// given what our own processes have used; 0 if it is not known.
func (c clocking) others(own time.Duration) float64 {
	now := clock()
	if c.busy == 0 || now.busy == 0 {
		return 0
	}
	all := now.at.Sub(c.at) * time.Duration(runtime.NumCPU())
	return min(max(float64(now.busy-c.busy-own)/float64(max(all, 1)), 0), 0.99)
}
