//go:build unix

package benchmarks_test

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used of the CPU, in user and kernel.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
