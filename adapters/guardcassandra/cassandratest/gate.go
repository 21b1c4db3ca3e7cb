package cassandratest

import "sync"

// What a connection's unanswered statements may be: as many as it has streams.
const (
	maxPending      = 1 << 15
	maxPendingBytes = 64 << 20
)

// A gate bounds how many are inside at once, and their sizes together.
type gate struct {
	maxCount, maxSize int

	mu          sync.Mutex // guards the fields below
	changed     sync.Cond  // count or size fell, or closed is set
	count, size int
	closed      bool
}

func newGate(maxCount, maxSize int) *gate {
	g := &gate{maxCount: maxCount, maxSize: maxSize}
	g.changed.L = &g.mu
	return g
}

// enter waits until one of the size fits in. It returns false if the gate was
// closed meanwhile.
func (g *gate) enter(size int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.closed && (g.count >= g.maxCount || g.count > 0 && g.size+size > g.maxSize) {
		g.changed.Wait()
	}
	if g.closed {
		return false
	}
	g.count++
	g.size += size
	return true
}

// leave gives back what enter took.
func (g *gate) leave(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	g.size -= size
	g.changed.Signal()
}

// close lets nobody in any more, and who waits go.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.changed.Broadcast()
}
