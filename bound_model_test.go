package guard

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// order is how two standbys are served, who came earlier being a.
func order(a, b *standby) int {
	if a.rank != b.rank {
		return a.rank - b.rank
	}
	return a.level - b.level
}

// The queue against a list that is sorted anew each time.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x80, 0x81, 4, 5, 0xff})
	f.Add([]byte{0x2f, 0x1f, 0x0f, 0x2f, 0x82, 0x80, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var q queue
		var list []*standby // in the order of arrival
		for _, step := range steps {
			if step < 0x80 {
				w := &standby{rank: int(step>>4) % int(priorities), level: int(step) % levels}
				q.push(w)
				list = append(list, w)
			} else if len(list) > 0 { // from anywhere
				k := int(step) % len(list)
				q.remove(list[k])
				require.False(t, list[k].queued)
				list = slices.Delete(list, k, k+1)
			}
			require.Equal(t, len(list), q.n)
			sorted := slices.Clone(list)
			slices.SortStableFunc(sorted, order)
			if len(sorted) == 0 {
				require.Nil(t, q.first())
				require.Nil(t, q.last())
			} else {
				require.Same(t, sorted[0], q.first())
				require.Same(t, sorted[len(sorted)-1], q.last())
			}
			for rank := range int(priorities) {
				for level := range levels {
					ahead := 0
					for _, w := range list {
						if order(w, &standby{rank: rank, level: level}) <= 0 {
							ahead++
						}
					}
					require.Equal(t, ahead, q.ahead(rank, level))
				}
			}
		}
		for range list { // all come out in order
			w := q.first()
			q.remove(w)
			if q.n > 0 {
				require.LessOrEqual(t, order(w, q.first()), 0)
			}
		}
		require.Equal(t, 0, q.n)
	})
}

// Whatever comes and goes, by whatever clock, a self-tuned limit is a number
// within its bounds, what is taken is what was let in, and nobody waits while
// there is a place.
func FuzzBound(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 1, 1, 1})
	f.Add([]byte("\x00\x00\x40\x01\x03\x01\x41\x01\x02\x02\x02\x7f\x01\xff\x01\x06\x01\x05\x01"))
	var many []byte
	for i := range 60 {
		many = append(many, 0, 2, byte(i*7), 1, 6)
	}
	f.Add(many)
	configs := []Concurrency{
		{SelfTuned: true},
		{SelfTuned: true, Ceiling: 3},
		{SelfTuned: true, Floor: 5},
		{SelfTuned: true, Floor: 4, Ceiling: 4},
		{},
		{Max: 2},
		{Max: 2, MaxWait: time.Second},
		{SelfTuned: true, MaxWait: time.Nanosecond},
	}
	clock := []int64{0, 1, -1, 1e3, -1e6, 1e6, 50e6, -1e9, 1e9, 3600e9, 1 << 60}
	f.Fuzz(func(t *testing.T, steps []byte) {
		b := newBound(time.Now(), false, func(OverloadEvent) {})
		b.reporting = true // by nobody: time is not that of the clock
		c := configs[0]
		b.configure(c)
		now := b.now()
		var inside []int64
		waiting := map[*standby]bool{}
		for _, step := range steps {
			arg := int(step >> 3)
			switch step & 7 {
			case 0, 4:
				if b.enter(now) {
					inside = append(inside, now)
				} else if w := (&standby{rank: arg % 3, level: arg % levels, until: math.MaxInt64, ready: make(chan bool, 1)}); len(waiting) < 20 {
					b.waiting.push(w)
					waiting[w] = true
				}
			case 1, 5:
				if len(inside) > 0 {
					k := arg % len(inside)
					b.leave(now, inside[k], kind{end: ending(arg % 5)})
					inside = slices.Delete(inside, k, k+1)
				}
			case 2, 3:
				if d := clock[arg%len(clock)]; now < math.MaxInt64/4 && now+d >= 0 {
					now += d
				}
			case 6:
				for range 40 { // a whole span of them
					if b.enter(now) {
						b.leave(now+int64(arg), now, kind{})
					}
				}
			case 7:
				c = configs[arg%len(configs)]
				b.configure(c)
			}
			for w := range waiting {
				select {
				case ok := <-w.ready:
					delete(waiting, w)
					if ok {
						inside = append(inside, now)
					}
				default:
				}
			}
			if len(inside) != b.taken || len(waiting) != b.waiting.n || b.waiting.n > 0 && b.taken < b.places {
				t.Fatalf("%d of %d are taken by %d, and %d of %d wait", b.taken, b.places, len(inside), b.waiting.n, len(waiting))
			}
			for i, v := range []float64{b.law.limit, b.law.plain, b.law.work, b.took, b.measure.stretch} {
				if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
					t.Fatalf("number %d is %v", i, v)
				}
			}
			if c.SelfTuned && (b.places < max(1, c.Floor) || c.Ceiling > 0 && b.places > c.Ceiling) {
				t.Fatalf("%d places by %+v", b.places, c)
			}
		}
	})
}

// A goroutine reads the clock before it has the lock, so that another may have
// been faster: the span that it ends must not look as if it had taken no time.
func TestBoundStaleClock(t *testing.T) {
	b := newBound(time.Now(), false, func(OverloadEvent) {})
	b.configure(Concurrency{SelfTuned: true})
	at := func(i int) int64 { return int64(time.Hour) + int64(i)*int64(10*time.Microsecond) }
	for i := 1; i <= 1000; i++ { // four at a time, of 40 µs each, by a clock that is late by up to 1 ms
		require.True(t, b.enter(at(i)))
		if i > 4 {
			late := min(i*7%101, i-5)
			b.leave(at(i-late), at(i-late-4), kind{})
		}
	}
	require.LessOrEqual(t, b.places, 10, "four places are enough")
}

// Handlers of no time at all, as a coarse clock has them, must not keep the law
// from learning of those that take some.
func TestBoundLearnsAfterZeroDurations(t *testing.T) {
	b := newBound(time.Now(), false, func(OverloadEvent) {})
	b.configure(Concurrency{SelfTuned: true})
	now := b.now()
	for range 1000 {
		require.True(t, b.enter(now))
		b.leave(now, now, kind{})
		now += int64(time.Millisecond)
	}
	for range 1000 {
		require.True(t, b.enter(now))
		since := now
		now += int64(10 * time.Millisecond)
		b.leave(now, since, kind{})
	}
	s, _ := b.look()
	require.InDelta(t, 10*time.Millisecond, s.NoQueue, float64(5*time.Millisecond))
}

// What a client has had is forgotten with time, not only with what others have.
func TestUsageIsForgotten(t *testing.T) {
	heavy, light := clientKey{hi: 1}, clientKey{hi: 2}
	var u usage
	for range 1000 {
		u.add(heavy, 0)
	}
	require.Greater(t, u.level(heavy, 0), u.level(light, 0))
	require.Equal(t, u.level(light, int64(time.Hour)), u.level(heavy, int64(time.Hour)), "an hour later")
	for range 10 { // it is halved each second, whoever asks
		u.add(light, int64(time.Hour))
	}
	require.Less(t, u.level(heavy, int64(time.Hour)), u.level(light, int64(time.Hour)))

	for range 1000 { // calls are nobody's, and are served as they come, also when a second is over
		u.add(clientKey{}, int64(time.Hour))
	}
	require.Zero(t, u.level(clientKey{}, int64(time.Hour)))
}
