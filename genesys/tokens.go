package genesys

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"example.com/guard"
)

// TokenConfig says where tokens come from. Durations that are negative are
// errors.
type TokenConfig struct {
	// Fetch gets a new token. It is never called again before it has returned, so it
	// should return when its context ends: until it does, all who need a new token
	// fail. A panic of it is an error. Required; see [ClientCredentials].
	Fetch func(context.Context) (Token, error)
	// Base sends the requests. nil means http.DefaultTransport.
	Base http.RoundTripper
	// Timeout is how long a Fetch may take, and how long anybody waits for one at
	// most. 0 means 10 s.
	Timeout time.Duration
	// Backoff is the least time until the next Fetch after one that failed, and
	// after one that was in vain, since its token was refused, too. With each that
	// fails in a row it doubles. 0 means 1 s.
	Backoff time.Duration
	// MaxBackoff bounds what Backoff grows to. 0 means 10 s, or Backoff if that is
	// longer. The breaker grows patient by itself.
	MaxBackoff time.Duration
}

// NewTokenTransport returns a TokenTransport, which fetches its first token for
// its first request. The error names the field that is invalid, and its value.
func NewTokenTransport(c TokenConfig) (*TokenTransport, error) {
	if c.Fetch == nil {
		return nil, errors.New("genesys: TokenConfig.Fetch is nil, want a function")
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		none  time.Duration
	}{
		{"Timeout", &c.Timeout, 10 * time.Second},
		{"Backoff", &c.Backoff, time.Second},
		{"MaxBackoff", &c.MaxBackoff, 0},
	} {
		if *f.value < 0 {
			return nil, fmt.Errorf("genesys: TokenConfig.%s is %v, want >= 0", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.none
		}
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = max(10*time.Second, c.Backoff)
	}
	if c.MaxBackoff < c.Backoff {
		return nil, fmt.Errorf("genesys: TokenConfig.MaxBackoff is %v, less than the Backoff of %v", c.MaxBackoff, c.Backoff)
	}
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	return &TokenTransport{c.Base, &tokens{fetch: c.Fetch, timeout: c.Timeout, backoff: c.Backoff, maxBackoff: c.MaxBackoff}}, nil
}

// tokens keeps the token, and fetches it once for all who want it.
type tokens struct {
	fetch                        func(context.Context) (Token, error)
	timeout, backoff, maxBackoff time.Duration

	mu      sync.Mutex    // guards the fields below
	current *held         // nil: none yet
	flight  *flight       // that is under way; nil: none
	failure error         // of the last flight; nil: it has landed well
	wait    time.Duration // after it
	next    time.Time     // when the next may begin
	vain    time.Time     // until when none may that replaces a refused token
}

// held is a token that was fetched. It is immutable.
type held struct {
	header  string
	born    time.Time
	expires time.Time // zero: not known
}

// old reports whether it is time for a new one, before somebody has to wait.
func (h *held) old(now time.Time) bool {
	return !h.expires.IsZero() && now.After(h.expires.Add(-min(h.expires.Sub(h.born)/10, time.Minute)))
}

// young reports whether a token was fetched so lately that it is used even if it
// seems to have expired: clocks differ.
func (t *tokens) young(h *held, now time.Time) bool { return now.Before(h.born.Add(t.backoff)) }

// good reports whether a token can be used, as far as is known.
func (t *tokens) good(h *held, now time.Time) bool {
	return h != nil && (h.expires.IsZero() || now.Before(h.expires) || t.young(h, now))
}

// get returns the token to use. If there is none it waits for it, and reports
// that it is fresh.
func (t *tokens) get(ctx context.Context) (token *held, fresh bool, err error) {
	t.mu.Lock()
	now := time.Now()
	if h := t.current; t.good(h, now) {
		if h.old(now) && !t.young(h, now) {
			t.join(now)
		}
		t.mu.Unlock()
		return h, false, nil
	}
	f := t.join(now)
	t.mu.Unlock()
	token, err = f.wait(ctx)
	return token, true, err
}

// replace returns the flight that brings another token than one that was refused,
// or nil if the last one that was fetched for that was in vain.
func (t *tokens) replace(refused *held) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case t.current != refused && t.good(t.current, now): // somebody has replaced it already
		return landed(t.current, nil)
	case t.flight == nil && now.Before(t.vain):
		return nil
	}
	return t.join(now)
}

// inVain notes that a fresh token was refused, too. Whatever the reason is, the
// next one would be: without that, something that this account may not do would
// fetch a token with each request.
func (t *tokens) inVain(fresh *held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == fresh {
		t.vain = time.Now().Add(t.backoff)
	}
}

// join returns the flight that is under way, or else a new one, or during a
// back-off the last one's failure. The caller holds mu.
func (t *tokens) join(now time.Time) *flight {
	if t.flight != nil {
		return t.flight
	}
	if left := t.next.Sub(now); left > 0 {
		return landed(nil, fmt.Errorf("%w (next fetch in %v)", t.failure, left.Round(time.Millisecond)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	t.flight = &flight{done: make(chan struct{}), late: ctx.Done()}
	go t.fly(ctx, cancel, t.flight)
	return t.flight
}

// fly fetches the token that a flight brings.
func (t *tokens) fly(ctx context.Context, cancel context.CancelFunc, f *flight) {
	defer cancel() // last, so that nobody takes the end for a delay
	err := fmt.Errorf("%w: the Fetch has ended its goroutine", ErrToken)
	var token Token
	defer func() { // also if it panics, or ends the goroutine
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: the Fetch panicked: %v", ErrToken, p)
		}
		t.land(f, token, err)
	}()
	fetched, failure := t.fetch(ctx)
	if failure == nil {
		failure = fetched.check()
	}
	token, err = fetched, noToken(failure) // here, since the error is asked what it is: it may panic, or call back
}

// land ends a flight.
func (t *tokens) land(f *flight, token Token, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.flight = nil
	if err != nil {
		f.err, t.failure = err, err
		t.wait = min(max(2*t.wait, t.backoff), t.maxBackoff)
		t.next = now.Add(t.wait)
	} else {
		f.token = &held{header: token.scheme() + " " + token.Value, born: now, expires: token.Expires}
		t.current, t.failure, t.wait, t.next = f.token, nil, 0, time.Time{}
	}
	close(f.done)
}

// A flight is a fetch that is under way. token and err are set before done is
// closed.
type flight struct {
	done  chan struct{}
	late  <-chan struct{} // closed when it should have ended
	token *held
	err   error
}

// landed returns a flight for which nobody has to wait.
func landed(token *held, err error) *flight {
	f := &flight{done: make(chan struct{}), token: token, err: err}
	close(f.done)
	return f
}

// wait waits for the end of a flight, but not for longer than the fetch may take,
// which may not know of its context.
func (f *flight) wait(ctx context.Context) (*held, error) {
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.late:
	}
	select {
	case <-f.done:
		return f.token, f.err
	default:
		return nil, fmt.Errorf("%w: the Fetch has not returned in time", ErrToken)
	}
}

// noToken returns the error of a flight. That its context has ended says nothing
// of those of the callers, so it must not look like it. What a breaker in front
// of the token end-point says is kept: it knows when to come back.
func noToken(err error) error {
	if err == nil {
		return nil
	}
	var guarded *guard.DependencyError
	ofContext := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if ofContext && !errors.As(err, &guarded) {
		return fmt.Errorf("%w: %v", ErrToken, err) //nolint:errorlint // on purpose
	}
	return fmt.Errorf("%w: %w", ErrToken, err)
}
