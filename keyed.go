package guard

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxKeys is how many keys a [Keyed] keeps where 0 is given.
const DefaultMaxKeys = 65536

const mostMaxKeys = 1 << 26 // some 7 GB

// A Keyed holds a token bucket per key, in bounded memory. For each key it keeps
// the bound of [Limiter]: Burst + Rate·(t + 1 ns) over any interval.
//
// A key is forgotten only when its bucket is full again, so that forgetting it
// loses nothing, and only when its place is needed. When there are maxKeys keys
// and none can be forgotten, a new key draws from one of maxKeys/64 (at least
// one) overflow buckets, chosen by a seeded hash. So inventing keys buys nothing,
// refills nobody's bucket, and does not lock all that is new into one bucket. A
// key that may have drawn from an overflow bucket that is not full again begins
// with what that holds when it gets a bucket of its own.
//
// Make one with [NewKeyed]; the zero Keyed is not usable. No method blocks, and
// all are safe for concurrent use. String keys are copied when kept, so that
// they do not hold on to a larger string. A key that does not equal itself
// (NaN) draws from any of the overflow buckets.
type Keyed[K comparable] struct {
	start    time.Time
	seed     maphash.Seed
	max      int64
	count    atomic.Int64 // keys that are kept, or for which a place is reserved
	era      atomic.Pointer[era]
	shards   [64]shard[K]
	overflow []overflow
}

// overflow is a bucket for keys that have none of their own.
type overflow struct {
	mu    sync.Mutex // guards the fields below
	mark  sum
	drawn uint64 // a Bloom filter, one bit a key, of who drew since it was full
}

func (o *overflow) take(h uint64, e *era, now int64, n int) (wait time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.isFull(o.mark, now) {
		o.drawn = 0
	}
	if wait, ok = e.take(&o.mark, now, n); ok {
		o.drawn |= 1 << (h >> 58)
	}
	return wait, ok
}

// markFor returns the mark with which a key begins that has no bucket yet, where
// there is room for one of its own, and where there is not.
func (o *overflow) markFor(h uint64, e *era, now int64, room bool) sum {
	o.mu.Lock()
	defer o.mu.Unlock()
	if room && o.drawn&(1<<(h>>58)) == 0 {
		return e.brim(now)
	}
	return o.mark
}

func (o *overflow) giveBack(h uint64, e *era, now int64, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.drawn&(1<<(h>>58)) != 0 {
		e.giveBack(&o.mark, now, n)
	}
}

// NewKeyed returns a Keyed for at most maxKeys keys (0 means DefaultMaxKeys, and
// 2²⁶ is the most), each with a full bucket to start with. The error names what
// is invalid, and its value.
func NewKeyed[K comparable](l Limit, maxKeys int) (*Keyed[K], error) {
	l, err := l.resolve("Limit")
	if err != nil {
		return nil, err
	}
	if err := checkMaxKeys("maxKeys", maxKeys); err != nil {
		return nil, err
	}
	return newKeyed[K](time.Now(), l, maxKeys), nil
}

// newKeyed is NewKeyed for what has been checked, with instants that count from
// start.
func newKeyed[K comparable](start time.Time, l Limit, maxKeys int) *Keyed[K] {
	if maxKeys == 0 {
		maxKeys = DefaultMaxKeys
	}
	k := &Keyed[K]{
		start:    start,
		seed:     maphash.MakeSeed(),
		max:      int64(maxKeys),
		overflow: make([]overflow, max(1, maxKeys/64)),
	}
	e := newEra(l)
	k.era.Store(e)
	for i := range k.overflow {
		k.overflow[i].mark = sum{hi: e.full}
	}
	for i := range k.shards {
		k.shards[i].publish()
	}
	return k
}

// Take takes n tokens from the key's bucket if they are there, and reports
// whether they were. If not, nothing was taken, and wait is how long until n
// tokens can be had by a caller who is alone; it is negative if that is never:
// n is negative or above the Burst, or buckets do not refill. Take(key, 0)
// always succeeds.
func (k *Keyed[K]) Take(key K, n int) (wait time.Duration, ok bool) {
	return k.takeAt(int64(time.Since(k.start)), key, n)
}

// takeAt is Take for who has looked at the clock. For a key that has a bucket that
// may be a while ago: the take counts at that instant, which lies within the call, or
// the request, and the earlier of two instants finds less in the bucket.
func (k *Keyed[K]) takeAt(now int64, key K, n int) (wait time.Duration, ok bool) {
	e := k.era.Load()
	switch {
	case n < 0 || e.limit.exceededBy(n):
		return never, false
	case n == 0 || e.boundless():
		return 0, true
	}
	h := maphash.Comparable(k.seed, key)
	s := &k.shards[h%uint64(len(k.shards))]
	s.mu.Lock()
	if found := s.find(h, key); found != nil {
		wait, ok = e.take(&found.mark, now, n)
		s.mu.Unlock()
		return wait, ok
	}
	s.mu.Unlock()
	return k.takeNew(key, h, n)
}

// takeNew is Take for a key that had no bucket.
func (k *Keyed[K]) takeNew(key K, h uint64, n int) (wait time.Duration, ok bool) {
	reserved := key == key && k.reserve(h) //nolint:gocritic // NaN is not equal to itself
	s := &k.shards[h%uint64(len(k.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, now := k.now() // again: since it was read, the key may have come and gone
	found := s.find(h, key)
	if found == nil && reserved {
		mark := k.overflowOf(h).markFor(h, e, now, true)
		if wait, ok = e.take(&mark, now, n); ok {
			s.insert(h, ownString(key), mark)
			return 0, true
		}
	}
	if reserved {
		k.count.Add(-1)
	}
	switch {
	case found != nil: // somebody was faster
		return e.take(&found.mark, now, n)
	case reserved:
		return wait, false
	}
	return k.overflowOf(h).take(h, e, now, n)
}

// ownString returns key, with a copy of its text if it is a string.
func ownString[K comparable](key K) K {
	if v := reflect.ValueOf(&key).Elem(); v.Kind() == reflect.String {
		v.SetString(strings.Clone(v.String()))
	}
	return key
}

// Return gives back n tokens that the key took for work that did not happen. A
// bucket never holds more than it would had nobody drawn from it. It ignores an
// n that is not positive.
func (k *Keyed[K]) Return(key K, n int) {
	e, now := k.now()
	if n <= 0 || e.boundless() {
		return
	}
	h := maphash.Comparable(k.seed, key)
	s := &k.shards[h%uint64(len(k.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.find(h, key); found != nil {
		e.giveBack(&found.mark, now, n)
		s.raised(found)
		return
	}
	k.overflowOf(h).giveBack(h, e, now, n)
}

// waitFor returns how long until n tokens can be had for the key, without taking
// any: 0 for at once, negative for never.
func (k *Keyed[K]) waitFor(key K, n int) time.Duration {
	e, now := k.now()
	switch {
	case e.limit.exceededBy(n):
		return never
	case e.boundless():
		return 0
	}
	h := maphash.Comparable(k.seed, key)
	s := &k.shards[h%uint64(len(k.shards))]
	s.mu.Lock()
	found := s.find(h, key)
	var mark sum
	if found != nil {
		mark = found.mark
	}
	s.mu.Unlock()
	if found == nil {
		mark = k.overflowOf(h).markFor(h, e, now, k.room(e.brim(now)))
	}
	wait, _ := e.take(&mark, now, n)
	return wait
}

// SetLimit changes the limit of all keys in one step whose cost does not depend
// on their number. Buckets keep their tokens, up to the new Burst (and are full
// if there was no limit before). On an error, which names the invalid field and
// its value, nothing changes.
func (k *Keyed[K]) SetLimit(l Limit) error {
	l, err := l.resolve("Limit")
	if err != nil {
		return err
	}
	for {
		e := k.era.Load()
		if k.era.CompareAndSwap(e, e.next(l, int64(time.Since(k.start)))) {
			return nil
		}
	}
}

// Limit returns the limit in effect, its Burst resolved.
func (k *Keyed[K]) Limit() Limit { return k.era.Load().limit }

// Len returns the number of keys that are kept. It is at most maxKeys.
func (k *Keyed[K]) Len() int { return int(k.count.Load()) }

// now returns the era and the time.
func (k *Keyed[K]) now() (*era, int64) {
	now := int64(time.Since(k.start)) // first: an era must not be stretched beyond its end
	return k.era.Load(), now
}

// reserve finds a place for one more key: a free one, or that of a key whose
// bucket is full. It looks in the shard of the hash first.
func (k *Keyed[K]) reserve(h uint64) bool {
	for n := k.count.Load(); n < k.max; n = k.count.Load() {
		if k.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
	e, now := k.now()
	brim := e.brim(now)
	for i := range uint64(len(k.shards)) {
		if k.shards[(h+i)%uint64(len(k.shards))].forgetOne(brim) {
			return true
		}
	}
	return false
}

// room estimates, without a lock, whether there is a place for one more key. brim
// is the mark of a full bucket.
func (k *Keyed[K]) room(brim sum) bool {
	if k.count.Load() < k.max {
		return true
	}
	for i := range k.shards {
		if k.shards[i].mayForget(brim) {
			return true
		}
	}
	return false
}

func checkMaxKeys(field string, n int) error {
	if n < 0 || n > mostMaxKeys {
		return fmt.Errorf("guard: %s is %d, want 0 to %d", field, n, mostMaxKeys)
	}
	return nil
}

func (k *Keyed[K]) overflowOf(h uint64) *overflow {
	return &k.overflow[h/uint64(len(k.shards))%uint64(len(k.overflow))]
}
