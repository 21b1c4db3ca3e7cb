package guard

import (
	"sync/atomic"
	"unsafe"
)

// cells is how many places a number is spread over that many take from at the same
// time: processors that write to the same place wait for each other.
const cells = 8

// A cell is one of these places. It has its cache line alone, and the next one,
// which is fetched along with it.
type cell struct {
	n atomic.Int64
	_ [120]byte
}

// cellHere returns the number of a cell. Goroutines that run at the same time have,
// as a rule, different ones, since their stacks are at different places.
func cellHere() uint8 {
	var here byte
	return spread(uintptr(unsafe.Pointer(&here)) >> 11) //nolint:gosec // the address is but a number
}

func spread(n uintptr) uint8 { return uint8(uint32(n) * 0x9e3779b9 >> 29) } //nolint:gosec // 2³²/φ, and the first three bits of what comes of it
