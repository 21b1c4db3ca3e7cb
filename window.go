package guard

import (
	"sync"
	"sync/atomic"
)

// windowSlots is how many slots a window has. It moves on by one at a time, so
// it spans its length, less up to one slot.
const windowSlots = 10

// A window counts the outcomes of the last while. Adding takes no lock: each
// slot of time has counters of its own, and who comes late for a slot that is
// out of the window counts in it all the same, where nobody looks any more.
type window struct {
	slot int64 // length of a slot in nanoseconds

	current atomic.Pointer[windowSlot]
	mu      sync.Mutex // guards ring
	ring    [windowSlots]*windowSlot
}

// A windowSlot counts the calls that ended within it.
type windowSlot struct {
	index  int64 // it spans the time from index·length to end
	end    int64
	_      [64]byte     // everybody reads the above and writes the below
	fine   atomic.Int64 // calls that succeeded
	failed atomic.Int64
	slow   atomic.Int64 // of both
}

// tally is what a window holds.
type tally struct{ calls, failed, slow int64 }

// at returns the slot to count in.
func (w *window) at(now int64) *windowSlot {
	if s := w.current.Load(); s != nil && now < s.end {
		return s
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.current.Load()
	if index := now / w.slot; s == nil || index > s.index {
		s = &windowSlot{index: index, end: (index + 1) * w.slot}
		w.ring[index%windowSlots] = s
		w.current.Store(s)
	}
	return s
}

// sum counts what lies within the window.
func (w *window) sum(now int64) (t tally) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := now/w.slot - windowSlots + 1
	for _, s := range w.ring {
		if s != nil && s.index >= oldest {
			failed := s.failed.Load()
			t.calls += s.fine.Load() + failed
			t.failed += failed
			t.slow += s.slow.Load()
		}
	}
	return t
}
