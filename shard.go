package guard

import (
	"math"
	"sync"
	"sync/atomic"
)

// A shard holds some of the keys of a Keyed, in a hash table with linear probing:
// with many keys, waiting for memory is most of what a lookup costs, and this waits
// for one place in it, where Go's map waits for three. Its heap has the keys in the
// order in which their buckets become full (see level.go). Take only lowers marks
// and does not touch the heap; an entry's place is mended when it comes to the top.
type shard[K comparable] struct {
	mu    sync.Mutex    // guards the fields below, but for top
	slots []slot[K]     // as many as 0 or a power of two, of which at least an eighth is empty
	heap  []entry       // as many as there are keys
	top   atomic.Uint64 // Float64bits of heap[0].mark, -Inf if empty: readable without the lock

	_ [64]byte // so that shards do not share a cache line
}

type slot[K comparable] struct {
	key   K
	mark  sum
	tag   uint32 // of the key's hash
	entry int32  // where in the heap, plus 1; 0: the slot is empty
}

// An entry's mark is at least that of its slot.
type entry struct {
	mark float64
	slot int32
}

// tagOf returns what is kept of a hash, whose lowest bits have chosen the shard.
func tagOf(h uint64) uint32 { return uint32(h >> 32) }

// first returns where to look for a tag. After it come (at + 1) & mask, and so on
// to an empty slot.
func (s *shard[K]) first(tag uint32) (at, mask int) {
	mask = len(s.slots) - 1
	return int(tag) & mask, mask
}

// find returns the slot of a key, or nil. The caller holds mu.
func (s *shard[K]) find(h uint64, key K) *slot[K] {
	if len(s.heap) == 0 {
		return nil
	}
	tag := tagOf(h)
	for at, mask := s.first(tag); ; at = (at + 1) & mask {
		switch found := &s.slots[at]; {
		case found.entry == 0:
			return nil
		case found.tag == tag && found.key == key:
			return found
		}
	}
}

// insert keeps a new key. The caller holds mu.
func (s *shard[K]) insert(h uint64, key K, mark sum) {
	n := len(s.heap) + 1
	if 8*n > 7*len(s.slots) {
		s.grow()
	}
	at := s.put(slot[K]{key: key, mark: mark, tag: tagOf(h), entry: int32(n)}) //nolint:gosec // a table of 2³¹ keys does not fit into memory
	s.heap = append(s.heap, entry{mark: mark.hi, slot: at})
	s.up(n - 1)
	s.publish()
}

// put fills the first empty slot for a key, and returns which that is.
func (s *shard[K]) put(it slot[K]) int32 {
	at, mask := s.first(it.tag)
	for s.slots[at].entry != 0 {
		at = (at + 1) & mask
	}
	s.slots[at] = it
	return int32(at) //nolint:gosec // see insert
}

func (s *shard[K]) grow() {
	old := s.slots
	s.slots = make([]slot[K], max(8, 2*len(old)))
	for i := range old {
		if e := old[i].entry; e != 0 {
			s.heap[e-1].slot = s.put(old[i])
		}
	}
}

// raised mends the heap after the mark of a slot has grown. The caller holds mu.
func (s *shard[K]) raised(it *slot[K]) {
	if at := it.entry - 1; it.mark.hi > s.heap[at].mark {
		s.heap[at].mark = it.mark.hi
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
		mark := s.slots[s.heap[0].slot].mark
		if !mark.less(brim) {
			s.forget()
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

// forget removes the key at the top of the heap. The caller holds mu.
//
// What comes after its slot is moved up, so that no search meets an empty one too
// early (D. E. Knuth, The Art of Computer Programming, 6.4, Algorithm R).
func (s *shard[K]) forget() {
	hole, last := int(s.heap[0].slot), len(s.heap)-1
	s.swap(0, last)
	s.heap = s.heap[:last]
	s.down(0)
	mask := len(s.slots) - 1
	for at := (hole + 1) & mask; s.slots[at].entry != 0; at = (at + 1) & mask {
		if home, _ := s.first(s.slots[at].tag); (at-home)&mask >= (at-hole)&mask {
			s.slots[hole] = s.slots[at]
			s.heap[s.slots[hole].entry-1].slot = int32(hole) //nolint:gosec // see insert
			hole = at
		}
	}
	s.slots[hole] = slot[K]{}
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
	s.slots[s.heap[i].slot].entry = int32(i) + 1 //nolint:gosec // see insert
	s.slots[s.heap[j].slot].entry = int32(j) + 1 //nolint:gosec // see insert
}
