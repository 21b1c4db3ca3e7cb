package guard

import (
	"container/list"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A Limiter is one token bucket, which any number of goroutines may share.
//
// Over any interval of length t it admits, net of what is returned, at most
// Burst + Rate·(t + 1 ns) tokens, for any interleaving of calls. It keeps that
// bound where [rate.Limiter] alone does not, because its clock is read inside
// the critical section (see https://go.dev/issue/65508).
//
// The price of admitting without a lock is that, of a bucket that is nearly
// full, up to min(Rate·1 ms, Burst/8) + 1 tokens may come later than they would
// from an exact bucket; they are never early.
//
// Make one with [NewLimiter]; the zero Limiter is not usable. No method blocks
// but Wait, and all are safe for concurrent use.
type Limiter struct {
	start time.Time // instants below are nanoseconds since start, by the monotonic clock
	// Before this instant no single token can be had; always: the limit is off.
	next atomic.Int64
	// A block of tokens has been checked out of the bucket, to be spent without
	// the lock: until this instant (0: there is none) as many as are left.
	until atomic.Int64
	_     [64]byte // everybody reads the above and writes the below
	left  [cells]cell

	mu       sync.Mutex    // guards the fields below
	bucket   *rate.Limiter // the bucket of record
	limit    Limit
	far      float64 // how many tokens take as long as a Duration can hold
	life     int64   // of a block, in nanoseconds
	out      int     // tokens in the block at check-out; 0: no block is out
	lastTake int64   // when tokens were last taken under the lock
	waiters  list.List
	queued   float64 // tokens that the waiters are to get
}

const (
	blockLife  = int64(time.Millisecond)
	blockShort = int64(10 * time.Microsecond) // not worth the trouble

	always  = math.MinInt64
	never   = time.Duration(-1)
	longest = time.Duration(math.MaxInt64)
)

// NewLimiter returns a Limiter with a full bucket. The error names the field
// of l that is invalid, and its value.
func NewLimiter(l Limit) (*Limiter, error) {
	l, err := l.resolve("Limit")
	if err != nil {
		return nil, err
	}
	return newLimiter(time.Now(), l), nil
}

// newLimiter is NewLimiter for a limit that is resolved, with instants that count
// from start.
func newLimiter(start time.Time, l Limit) *Limiter {
	lim := &Limiter{start: start, lastTake: -blockLife}
	lim.mu.Lock()
	defer lim.mu.Unlock()
	lim.adopt(l, 0)
	lim.reopen(0)
	return lim
}

// Take takes n tokens if they are there, and reports whether they were. If not,
// nothing was taken, and wait is how long until a caller who is alone can have
// n tokens, after those in Wait have theirs; it is negative if that is never: n
// is negative or above the Burst, or the bucket does not refill. Take(0) always
// succeeds.
func (l *Limiter) Take(n int) (wait time.Duration, ok bool) { return l.takeAt(unread, n) }

// unread is the instant of who has not looked at the clock.
const unread = -1

// takeAt is Take for who has looked at the clock within his call, or has not.
func (l *Limiter) takeAt(now int64, n int) (wait time.Duration, ok bool) {
	switch {
	case n == 0:
		return 0, true
	case n < 0:
		return never, false
	}
	next := l.next.Load()
	if next == always {
		return 0, true
	}
	if expiry := l.until.Load(); n == 1 && (next != 0 || expiry != 0) {
		if now == unread {
			now = l.now()
		}
		if now < next {
			return until(now, next), false
		}
		if now < expiry && l.spend() {
			return 0, true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, busy := l.settle() // which looks anew
	l.grant(now)
	if l.waiters.Len() == 0 && l.allow(now, n) {
		if busy || now-l.lastTake < l.life { // a lone call does without a block
			l.checkOut(now)
		}
		l.lastTake = now
		return 0, true
	}
	wait = l.wait(now, n, l.queued)
	if n == 1 {
		l.next.Store(after(now, wait))
	}
	return wait, false
}

// spend takes a token from the block, if one is left.
func (l *Limiter) spend() bool {
	own := cellHere()
	if l.left[own].n.Add(-1) >= 0 {
		return true
	}
	for i := range l.left {
		if left := &l.left[i].n; left.Load() > 0 && left.Add(-1) >= 0 {
			return true
		}
	}
	return false
}

// Return gives back n tokens that were taken for work that did not happen. The
// bucket never holds more than its Burst. It ignores an n that is not positive.
func (l *Limiter) Return(n int) {
	if n <= 0 || l.next.Load() == always {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, _ := l.settle()
	l.bucket.AllowN(l.at(now), -n)
	l.reopen(now)
}

// Tokens returns how many tokens the bucket holds: at least 0, and +Inf if there
// is no limit. While somebody is in Wait, Take cannot have them.
func (l *Limiter) Tokens() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit.Rate == rate.Inf {
		return math.Inf(1)
	}
	now, _ := l.settle()
	return max(l.bucket.TokensAt(l.at(now)), 0)
}

// Limit returns the limit in effect, its Burst resolved.
func (l *Limiter) Limit() Limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// SetLimit changes the limit in one step. The bucket keeps its tokens, up to
// the new Burst (and is full if there was no limit before). Who is in Wait
// keeps his place, but is refused if he asked for more than the new Burst. On
// an error, which names the invalid field and its value, nothing changes.
func (l *Limiter) SetLimit(limit Limit) error {
	limit, err := limit.resolve("Limit")
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, _ := l.settle()
	l.adopt(limit, now)
	l.dismiss()
	l.reopen(now)
	return nil
}

// adopt puts a limit in effect. The caller holds mu and has settled.
func (l *Limiter) adopt(limit Limit, now int64) {
	switch t := l.at(now); {
	case l.bucket == nil || l.limit.Rate == rate.Inf:
		l.bucket = rate.NewLimiter(limit.Rate, limit.Burst)
	case l.bucket.TokensAt(t) < 0: // up to 1 ns's worth, which a lower rate could not pay back soon
		l.bucket = rate.NewLimiter(limit.Rate, limit.Burst)
		l.bucket.AllowN(t, limit.Burst)
	default:
		l.bucket.SetLimitAt(t, limit.Rate)
		l.bucket.SetBurstAt(t, limit.Burst)
	}
	l.limit = limit
	l.far = float64(limit.Rate) * longest.Seconds()
	l.life = int64(min(float64(blockLife), float64(limit.Burst)/(8*float64(limit.Rate))*1e9))
}

// reopen lets in who was refused or waits, now that there may be more tokens
// than was reckoned with. The caller holds mu and has settled.
func (l *Limiter) reopen(now int64) {
	l.next.Store(0)
	if l.limit.Rate == rate.Inf {
		l.next.Store(always)
	}
	l.grant(now)
	l.nudge()
}

// settle brings the bucket of record up to date and returns the present, and
// whether anything was spent from the block. What was spent without the lock is
// debited at the latest instant at which that can have happened: now, or the
// block's expiry. So the bucket never holds more than an exact one would. The
// caller holds mu.
func (l *Limiter) settle() (now int64, busy bool) {
	if l.out == 0 {
		return l.now(), false
	}
	expiry := l.until.Swap(0)
	spent := l.out
	for i := range l.left {
		spent -= int(max(l.left[i].n.Swap(0), 0)) // below 0, so many found nothing left
	}
	now = l.now() // not before the swaps: until then others may have spent
	t := l.at(min(now, expiry))
	l.bucket.AllowN(t, -l.out)
	l.bucket.AllowN(t, spent)
	l.out = 0
	return now, spent > 0
}

// checkOut moves what the bucket holds into a block, to be spent without the
// lock. The caller holds mu and has settled.
//
// Who has read the clock before one block expired may spend from the next: that
// counts as spent when the block was checked out, which lies within his call.
func (l *Limiter) checkOut(now int64) {
	if l.life < blockShort {
		return
	}
	n := int(min(l.bucket.TokensAt(l.at(now)), math.MaxInt32))
	if n < 1 || !l.bucket.AllowN(l.at(now), n) {
		return
	}
	l.out = n
	l.deal(n)
	l.until.Store(now + l.life)
}

// deal spreads the tokens of a block.
func (l *Limiter) deal(n int) {
	for i := range l.left {
		l.left[i].n.Store((int64(n) + int64(i)) / cells) // which makes n in all
	}
}

// allow takes n tokens from the bucket of record. The caller holds mu and has
// settled.
func (l *Limiter) allow(now int64, n int) bool {
	// Where n tokens take as long as a Duration can hold, rate.Limiter's own
	// reckoning overflows at the very edge, and it admits.
	if float64(n) >= l.far && l.bucket.TokensAt(l.at(now)) < float64(n) {
		return false
	}
	if !l.bucket.AllowN(l.at(now), n) {
		return false
	}
	if next := l.next.Load(); next != 0 && next != always {
		l.next.Store(0) // it was reckoned with what has now been taken
	}
	return true
}

// wait returns how long until n tokens can be had by someone before whom others
// get the number of tokens that is named. The caller holds mu and has settled.
func (l *Limiter) wait(now int64, n int, before float64) time.Duration {
	if n > l.limit.Burst || l.limit.Rate == 0 {
		return never
	}
	wait := l.limit.timeFor(before + float64(n) - l.bucket.TokensAt(l.at(now)))
	for step := time.Duration(1); before == 0 && wait < longest/2; step *= 2 {
		if l.limit.timeFor(float64(n)-l.bucket.TokensAt(l.at(after(now, wait)))) <= 0 {
			break
		}
		wait += step // floating point has left it a nanosecond short, or more if far away
	}
	return max(wait, 1)
}

// waitFor returns how long until n tokens can be had, without taking any: 0 for
// at once, negative for never.
func (l *Limiter) waitFor(n int) time.Duration {
	next := l.next.Load()
	if next == always {
		return 0
	}
	if now := l.now(); n == 1 && now < next {
		return until(now, next)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, _ := l.settle()
	l.grant(now)
	if l.waiters.Len() == 0 && !l.limit.exceededBy(n) && l.limit.timeFor(float64(n)-l.bucket.TokensAt(l.at(now))) <= 0 {
		return 0
	}
	return l.wait(now, n, l.queued)
}

func (l *Limiter) now() int64 { return int64(time.Since(l.start)) }

func (l *Limiter) at(now int64) time.Time { return l.start.Add(time.Duration(now)) }

// after returns the instant that lies wait after now: the end of time for never,
// just before it for what is further away than an instant can tell.
func after(now int64, wait time.Duration) int64 {
	switch {
	case wait < 0:
		return math.MaxInt64
	case now >= math.MaxInt64-int64(wait):
		return math.MaxInt64 - 1
	}
	return now + int64(wait)
}

// until returns how long it is from now to an instant that after returned.
func until(now, instant int64) time.Duration {
	if instant == math.MaxInt64 {
		return never
	}
	return time.Duration(instant - now)
}
