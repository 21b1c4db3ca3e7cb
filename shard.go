package guard

import (
	"math"
	"sync"
	"sync/atomic"
)

// A shard holds some of the keys of a Keyed. Its heap has the keys in the order
// in which their buckets become full (see level.go). Take only lowers marks and
// does not touch the heap; an entry's place is mended when it comes to the top.
type shard[K comparable] struct {
	top atomic.Uint64 // Float64bits of heap[0].mark, -Inf if empty: readable without the lock

	mu    sync.Mutex // guards the fields below
	index map[K]int32
	slots []slot[K]
	heap  []entry

	_ [56]byte // up to 128 bytes, so that shards do not share a cache line
}

type slot[K comparable] struct {
	key   K
	mark  sum
	entry int32 // where in the heap
}

// An entry's mark is at least that of its slot.
type entry struct {
	mark float64
	slot int32
}

// insert keeps a new key. The caller holds mu.
func (s *shard[K]) insert(key K, mark sum) {
	i := int32(len(s.slots)) //nolint:gosec // a table of 2³¹ keys does not fit into memory
	s.index[key] = i
	s.slots = append(s.slots, slot[K]{key: key, mark: mark, entry: i})
	s.heap = append(s.heap, entry{mark: mark.hi, slot: i})
	s.up(int(i))
	s.publish()
}

// raised mends the heap after the mark of a slot has grown. The caller holds mu.
func (s *shard[K]) raised(i int32) {
	at := s.slots[i].entry
	if hi := s.slots[i].mark.hi; hi > s.heap[at].mark {
		s.heap[at].mark = hi
		s.up(int(at))
		s.publish()
	}
}

// forgetOne forgets a key whose bucket is full, if there is one. brim is the
// mark of a full bucket.
func (s *shard[K]) forgetOne(brim sum) bool {
	if !s.mayForget(brim) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	for len(s.heap) > 0 && s.heap[0].mark >= brim.hi {
		i := s.heap[0].slot
		mark := s.slots[i].mark
		if !mark.less(brim) {
			s.forget(i)
			return true
		}
		if mark.hi == s.heap[0].mark {
			return false
		}
		s.heap[0].mark = mark.hi
		s.down(0)
	}
	return false
}

// mayForget reports whether a bucket may be full, without the lock.
func (s *shard[K]) mayForget(brim sum) bool {
	return math.Float64frombits(s.top.Load()) >= brim.hi
}

// forget removes the slot at the top of the heap. The caller holds mu.
func (s *shard[K]) forget(i int32) {
	last := int32(len(s.slots) - 1) //nolint:gosec // see insert
	s.swap(0, int(last))
	s.heap = s.heap[:last]
	s.down(0)
	delete(s.index, s.slots[i].key)
	if i != last {
		s.slots[i] = s.slots[last]
		s.index[s.slots[i].key] = i
		s.heap[s.slots[i].entry].slot = i
	}
	s.slots[last] = slot[K]{}
	s.slots = s.slots[:last]
}

// publish lets others see the top of the heap. The caller holds mu.
func (s *shard[K]) publish() {
	top := math.Inf(-1)
	if len(s.heap) > 0 {
		top = s.heap[0].mark
	}
	s.top.Store(math.Float64bits(top))
}

func (s *shard[K]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.heap[parent].mark >= s.heap[i].mark {
			return
		}
		s.swap(i, parent)
		i = parent
	}
}

func (s *shard[K]) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if right := child + 1; right < len(s.heap) && s.heap[right].mark > s.heap[child].mark {
			child = right
		}
		if s.heap[i].mark >= s.heap[child].mark {
			return
		}
		s.swap(i, child)
		i = child
	}
}

func (s *shard[K]) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.slots[s.heap[i].slot].entry = int32(i) //nolint:gosec // see insert
	s.slots[s.heap[j].slot].entry = int32(j) //nolint:gosec // see insert
}
