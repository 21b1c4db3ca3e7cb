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
	// Fetch gets a new token. It is never called again before it has returned, and
	// must return when its context ends. A panic of it is an error. Required; see
	// [ClientCredentials].
	Fetch func(context.Context) (Token, error)
	// Base sends the requests. nil means http.DefaultTransport.
	Base http.RoundTripper
	// Timeout is how long a Fetch may take. 0 means 10 s.
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

// good reports whether a token can be used, as far as is known.
func (h *held) good(now time.Time) bool { return h.expires.IsZero() || now.Before(h.expires) }

// old reports whether it is time for a new one, before somebody has to wait.
func (h *held) old(now time.Time) bool {
	return !h.expires.IsZero() && now.After(h.expires.Add(-min(h.expires.Sub(h.born)/10, time.Minute)))
}

// A flight is a fetch that is under way. The fields are set before done is
// closed.
type flight struct {
	done  chan struct{}
	token *held
	err   error
}

// get returns the token to use. If there is none it waits for it, and reports
// that it is fresh.
func (t *tokens) get(ctx context.Context) (token *held, fresh bool, err error) {
	t.mu.Lock()
	now := time.Now()
	if h := t.current; h != nil && (h.good(now) || now.Before(h.born.Add(t.backoff))) {
		if h.old(now) && !now.Before(h.born.Add(t.backoff)) && t.mayStart(now) {
			t.start()
		}
		t.mu.Unlock()
		return h, false, nil
	}
	token, err = t.joined(ctx, now)
	return token, true, err
}

// replace returns another token than one that was refused, or nil if the last one
// that was fetched for that was in vain.
func (t *tokens) replace(ctx context.Context, refused *held) (*held, error) {
	t.mu.Lock()
	now := time.Now()
	switch {
	case t.current != refused && t.current.good(now): // somebody has replaced it already
		defer t.mu.Unlock()
		return t.current, nil
	case t.flight == nil && now.Before(t.vain):
		t.mu.Unlock()
		return nil, nil //nolint:nilnil // both are documented
	}
	return t.joined(ctx, now)
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

// renew has a token replaced that was refused, but does not wait.
func (t *tokens) renew(refused *held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.current == refused && !now.Before(t.vain) && t.mayStart(now) {
		t.start()
	}
}

// mayStart reports whether a flight may begin that nobody waits for. The caller
// holds mu.
func (t *tokens) mayStart(now time.Time) bool {
	return t.flight == nil && !now.Before(t.next)
}

// joined waits for the flight that is under way, or for a new one. The caller
// holds mu, and does so no longer when it returns.
func (t *tokens) joined(ctx context.Context, now time.Time) (*held, error) {
	f := t.flight
	if f == nil {
		if left := t.next.Sub(now); left > 0 {
			failure := t.failure
			t.mu.Unlock()
			return nil, fmt.Errorf("%w (next fetch in %v)", failure, left.Round(time.Millisecond))
		}
		f = t.start()
	}
	t.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start begins a flight. The caller holds mu, and there is none.
func (t *tokens) start() *flight {
	f := &flight{done: make(chan struct{})}
	t.flight = f
	go t.fly(f)
	return f
}

func (t *tokens) fly(f *flight) {
	var token Token
	err := errors.New("the Fetch has ended its goroutine")
	defer func() { // also if it panics, or ends the goroutine
		if p := recover(); p != nil {
			err = fmt.Errorf("the Fetch panicked: %v", p)
		}
		t.land(f, token, err)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	if token, err = t.fetch(ctx); err == nil {
		err = token.check()
	}
}

// land ends a flight.
func (t *tokens) land(f *flight, token Token, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.flight = nil
	if err != nil {
		f.err = noToken(err)
		t.failure = f.err
		t.wait = min(max(2*t.wait, t.backoff), t.maxBackoff)
		t.next = now.Add(t.wait)
	} else {
		f.token = &held{header: token.scheme() + " " + token.Value, born: now, expires: token.Expires}
		t.current, t.failure, t.wait, t.next = f.token, nil, 0, time.Time{}
	}
	close(f.done)
}

// noToken returns the error of a flight. That its context has ended says nothing
// of those of the callers, so it must not look like it. What a breaker in front
// of the token end-point says is kept: it knows when to come back.
func noToken(err error) error {
	var guarded *guard.DependencyError
	ofContext := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if ofContext && !errors.As(err, &guarded) {
		return fmt.Errorf("%w: %v", ErrToken, err) //nolint:errorlint // on purpose
	}
	return fmt.Errorf("%w: %w", ErrToken, err)
}
