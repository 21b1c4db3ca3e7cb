package guard

import (
	"math/bits"
	"time"
)

// A standby waits for a place in a bound.
type standby struct {
	rank, level int
	who         clientKey
	until       int64     // it waits no longer
	ready       chan bool // is told once, whether there is a place
	queued      bool
	prev, next  *standby
}

// levels is how many levels of use are told apart: each is twice the one before.
const levels = 16

// A queue holds who waits, by rank, then by level, then by time. Each step costs
// the same, however many wait.
type queue struct {
	n      int
	ranks  [priorities]rank
	easyAt int64 // when somebody last found a place without waiting
}

// A rank is the part of a queue that is of one priority.
type rank struct {
	n      int
	some   uint16 // bit i is set if level i has some
	levels [levels]line

	// CoDel's test for a queue that does not go away (K. Nichols, V. Jacobson:
	// "Controlling Queue Delay", ACM Queue 10, 2012; RFC 8289): the shortest one of
	// an interval was too long. It goes by the length, since who comes first is not
	// who waits the longest.
	since    int64         // the interval began
	least    time.Duration // the shortest queue in it, in time
	any      bool          // somebody got in
	standing bool          // so it was in the last one
}

// A line is a list of standbys, the longest waiting first.
type line struct {
	head, tail *standby
	n          int
}

func (q *queue) push(w *standby) {
	r := &q.ranks[w.rank]
	l := &r.levels[w.level]
	w.prev, w.queued = l.tail, true
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
	l.n++
	r.n++
	q.n++
	r.some |= 1 << w.level
}

func (q *queue) remove(w *standby) {
	r := &q.ranks[w.rank]
	l := &r.levels[w.level]
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	l.n--
	r.n--
	q.n--
	if l.n == 0 {
		r.some &^= 1 << w.level
	}
}

// first returns who is served next. There must be one.
func (q *queue) first() *standby {
	for i := range q.ranks {
		if r := &q.ranks[i]; r.n > 0 {
			return r.levels[bits.TrailingZeros16(r.some)].head
		}
	}
	return nil
}

// last returns who is refused first. There must be one.
func (q *queue) last() *standby {
	for i := len(q.ranks) - 1; i >= 0; i-- {
		if r := &q.ranks[i]; r.n > 0 {
			return r.levels[bits.Len16(r.some)-1].tail
		}
	}
	return nil
}

// ahead returns how many are served before one who would come now.
func (q *queue) ahead(rank, level int) (n int) {
	for i := range rank {
		n += q.ranks[i].n
	}
	for i := range level + 1 {
		n += q.ranks[rank].levels[i].n
	}
	return n
}

// heavier reports whether somebody of the rank waits who has had more.
func (q *queue) heavier(rank, level int) bool { return q.ranks[rank].some>>(level+1) != 0 }

// left notes what is left in the queue as somebody leaves it, each of whom takes
// so many nanoseconds.
func (q *queue) left(each float64) {
	ahead := 0
	for i := range q.ranks {
		r := &q.ranks[i]
		ahead += r.n
		if wait := time.Duration(float64(ahead) * each); !r.any || wait < r.least {
			r.any, r.least = true, wait
		}
	}
}

// standing reports whether a rank has a queue that does not go away: in the last
// interval, there was always one of more than an eighth of what a request takes.
func (q *queue) standing(rank int, now int64, took time.Duration) bool {
	r := &q.ranks[rank]
	if now-r.since > int64(max(100*time.Millisecond, 2*took)) {
		switch {
		case q.easyAt >= r.since:
			r.standing = false
		case r.any:
			r.standing = r.least > max(time.Millisecond, took/8)
		}
		r.since, r.any = now, false
	}
	return r.standing
}

// usage tells roughly who has had how much lately: a count-min sketch (G. Cormode,
// S. Muthukrishnan, 2005), halved each second. A client can be taken for a heavier
// one if it shares both its cells with such, but never for a lighter one.
type usage struct {
	cells  [2][usageCells]uint32
	halved int64
}

const usageCells = 1024

func (u *usage) of(who clientKey) (a, b *uint32) {
	const mix = 0x9e3779b97f4a7c15 // 2⁶⁴/φ: addresses differ in a few bits only
	h := (who.hi ^ bits.RotateLeft64(who.lo, 32)) * mix
	g := (who.lo ^ h) * mix
	return &u.cells[0][h>>54], &u.cells[1][g>>54]
}

func (u *usage) level(who clientKey, now int64) int {
	if who == (clientKey{}) {
		return 0 // nobody: first come, first served
	}
	u.age(now)
	a, b := u.of(who)
	return min(bits.Len32(min(*a, *b)), levels-1)
}

func (u *usage) add(who clientKey, now int64) {
	u.age(now)
	a, b := u.of(who)
	*a++
	*b++
}

// age halves what there is for each second that has gone by.
func (u *usage) age(now int64) {
	seconds := (now - u.halved) / int64(time.Second)
	if seconds < 1 {
		return
	}
	u.halved += seconds * int64(time.Second)
	for i := range u.cells {
		for j := range u.cells[i] {
			u.cells[i][j] >>= seconds
		}
	}
}
