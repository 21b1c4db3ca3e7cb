package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// NoTimeout is the Timeout of a dependency whose calls may take any time.
const NoTimeout time.Duration = -1

// DependencyConfig says how the calls to a dependency are guarded. The zero
// value is a good start. Negative values are errors, and so is less than 1 ms for
// Window, OpenFor and CheckEvery.
type DependencyConfig struct {
	// Timeout is how long one call may take; for a Transport: until the header of
	// the response. 0 means 10 s, NoTimeout none. It counts as a failure, unless
	// the function takes no notice and succeeds late: SlowCall catches that.
	Timeout time.Duration
	// Concurrency bounds the calls at once (a bulkhead). What is above it is
	// refused with ErrSaturated. Where calls wait for a place, the Timeout begins
	// when they have it; calls of a half-open breaker never wait.
	Concurrency Concurrency
	// Window is the time over which outcomes are counted, moving on in steps of a
	// tenth of it. 0 means 10 s. A change takes effect with the next change of state.
	Window time.Duration
	// MinCalls is how many calls in the window it takes to trip the breaker by a
	// rate; as many failures in a row always do, however far apart, so that a
	// dependency that is rarely called is found dead, too. 0 means 10.
	MinCalls int
	// FailureRate is the share of failures, above 0 and up to 1, at which the
	// breaker trips, when a call fails. 0 means 0.5.
	FailureRate float64
	// SlowCall is how long a call takes that counts as slow. 0 means that none does.
	SlowCall time.Duration
	// SlowRate is the share of slow calls, above 0 and up to 1, at which the
	// breaker trips, when a call is slow. 0 means 0.8.
	SlowRate float64
	// OpenFor is how long the breaker stays open when it has tripped, jittered by
	// up to 10 %, once. 0 means 5 s. It doubles with each failed probe.
	OpenFor time.Duration
	// MaxOpenFor bounds what OpenFor grows to. 0 means 1 min, or OpenFor if that
	// is longer. A whole Window closed takes it back to OpenFor.
	MaxOpenFor time.Duration
	// Probes is how many calls a half-open breaker lets through, and how many
	// successes close it. 0 means 1. A change takes effect with the next change
	// of state.
	Probes int
	// ProbeTimeout is how long a probe may take: one that is not back by then has
	// failed at that instant. 0 means the longer of OpenFor and Timeout. With a
	// Transport it lasts until the end of the response's body.
	ProbeTimeout time.Duration
	// FairShare is how much time a caller's deadline must leave a call for a miss
	// to count as a failure. 0 means half of Timeout, at most 1 s.
	FairShare time.Duration
	// PauseOn429 makes a Transport pause calls after a response of 429 until its
	// Retry-After, at most for MaxOpenFor. They are refused with ErrThrottled.
	PauseOn429 bool
	// Classify says what the error of a call means. nil, and OutcomeDefault
	// returned, mean the rules of [Dependency.Do]. It is not asked about a nil
	// error, nor about errors of contexts that have ended, which have rules of
	// their own (guarantee 6 of the README).
	Classify func(error) Outcome
	// ClassifyResponse says what a response means to a Transport, before its body
	// is read. nil, and OutcomeDefault returned, mean the rules of
	// [Dependency.Transport]. It must not read the body.
	ClassifyResponse func(*http.Response) Outcome
	// ClassifyBody is ClassifyResponse for an API whose failures are told in the
	// body. It is asked where ClassifyResponse does not say, with the first 64 KiB
	// of the body, which are read before the response is handed on, within the
	// Timeout. It is not asked about event streams and upgrades.
	ClassifyBody func(*http.Response, []byte) Outcome
	// Check is a health check. While the breaker is not closed it runs every
	// CheckEvery, in a goroutine of its own and once at a time, with a context
	// that ends with ProbeTimeout. It does the half-open probing, so that no
	// user's request is the guinea pig; should it hang, calls do. One that takes as
	// long as a slow call has failed.
	Check func(context.Context) error
	// CheckEvery is how often Check runs. 0 means 5 s.
	CheckEvery time.Duration
	// Required makes readiness fail while the breaker is open. The default is
	// that it warns, since all replicas share the dependency.
	Required bool
}

// Outcome is what the result of a call says about the dependency.
type Outcome int

// The outcomes of a call.
const (
	// OutcomeDefault leaves it to the rules.
	OutcomeDefault Outcome = iota
	// OutcomeSucceeded means that the dependency did what it was asked.
	OutcomeSucceeded
	// OutcomeFailed means that it did not, and counts against it.
	OutcomeFailed
	// OutcomeAnswered means that it is alive but refused this request: it counts
	// for nothing while closed, and as a success while half-open.
	OutcomeAnswered
	// OutcomeIgnored means that the call tells nothing about it.
	OutcomeIgnored

	outcomes // how many
)

// String returns the name in lower case: "succeeded", for instance.
func (o Outcome) String() string {
	return nameOf(int(o), "default", "succeeded", "failed", "answered", "ignored")
}

// MarshalText implements [encoding.TextMarshaler].
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *Outcome) UnmarshalText(text []byte) error { return unmarshalName(o, text, outcomes-1) }

func nameOf(i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return "unknown " + strconv.Itoa(i)
	}
	return names[i]
}

// Dependency adds a dependency of the server. The name stands in errors, logs
// and health reports, and must be unique in the guard. The error names what is
// invalid, and its value.
func (g *Guard) Dependency(name string, c DependencyConfig) (*Dependency, error) {
	t, err := compileDependency(name, c)
	if err != nil {
		return nil, err
	}
	d := newDependency(g, name, t)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dependency(name) != nil {
		return nil, fmt.Errorf("guard: there is already a dependency %q", name)
	}
	all := append([]*Dependency(nil), g.Dependencies()...)
	all = append(all, d)
	g.dependencies.Store(&all)
	return d, nil
}

// Dependencies returns the dependencies of the guard, in the order in which
// they were added.
func (g *Guard) Dependencies() []*Dependency {
	if all := g.dependencies.Load(); all != nil {
		return append([]*Dependency(nil), *all...)
	}
	return nil
}

func (g *Guard) dependency(name string) *Dependency {
	for _, d := range g.Dependencies() {
		if d.name == name {
			return d
		}
	}
	return nil
}

// Name returns the name of the dependency.
func (d *Dependency) Name() string { return d.name }

// Config returns a copy of the configuration, as it was given or tuned last.
func (d *Dependency) Config() DependencyConfig { return d.tuned.Load().given }

// Tune changes the configuration while the server runs, just as [Guard.Tune]
// does the guard's: in one validated step, in which the counts and the state of
// the breaker are kept. Calls that have begun keep their Timeout and what
// classifies them.
func (d *Dependency) Tune(f func(*DependencyConfig)) error {
	if f == nil {
		return errors.New("guard: Tune(nil)")
	}
	for {
		old := d.tuned.Load()
		c := old.given
		f(&c)
		t, err := compileDependency(d.name, c)
		if err != nil {
			return err
		}
		if d.tuned.CompareAndSwap(old, t) {
			d.mu.Lock()
			d.watchOver()
			d.bound.configure(d.tuned.Load().Concurrency)
			d.mu.Unlock()
			d.guard.log.tunedDependency(d.name, t)
			d.guard.tunedEvent(TuneEvent{Dependency: d.name})
			d.guard.healthChanged(context.Background()) // Required may be what has changed
			return nil
		}
	}
}

// tunedDependency is a DependencyConfig in effect: as it was given, and with
// its defaults filled in. It is immutable.
type tunedDependency struct {
	given DependencyConfig
	DependencyConfig
}

// compileDependency checks a configuration and fills in its defaults.
func compileDependency(name string, given DependencyConfig) (*tunedDependency, error) {
	if name == "" {
		return nil, errors.New(`guard: the name of a dependency is "", want one`)
	}
	prefix := fmt.Sprintf("guard: dependency %q: ", name)
	t := &tunedDependency{given: given, DependencyConfig: given}
	c := &t.DependencyConfig
	switch {
	case c.Timeout == 0:
		c.Timeout = 10 * time.Second
	case c.Timeout == NoTimeout:
		c.Timeout = 0
	case c.Timeout < 0:
		return nil, fmt.Errorf("%sTimeout is %v, want > 0, 0 or NoTimeout", prefix, c.Timeout)
	}
	if err := c.Concurrency.check(prefix + "Concurrency"); err != nil {
		return nil, err
	}
	fair := time.Second
	if c.Timeout > 0 {
		fair = min(c.Timeout/2, fair)
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		none  time.Duration // instead of 0
		least time.Duration
	}{
		{"Window", &c.Window, 10 * time.Second, time.Millisecond},
		{"SlowCall", &c.SlowCall, 0, 0},
		{"OpenFor", &c.OpenFor, 5 * time.Second, time.Millisecond},
		{"MaxOpenFor", &c.MaxOpenFor, 0, 0},
		{"ProbeTimeout", &c.ProbeTimeout, 0, 0},
		{"FairShare", &c.FairShare, fair, 0},
		{"CheckEvery", &c.CheckEvery, 5 * time.Second, time.Millisecond},
	} {
		if *f.value == 0 {
			*f.value = f.none
		}
		if *f.value < f.least {
			return nil, fmt.Errorf("%s%s is %v, want at least %v, or 0", prefix, f.name, *f.value, f.least)
		}
	}
	for _, f := range []struct {
		name  string
		value *int
		none  int
	}{{"MinCalls", &c.MinCalls, 10}, {"Probes", &c.Probes, 1}} {
		if *f.value == 0 {
			*f.value = f.none
		}
		if *f.value < 0 {
			return nil, fmt.Errorf("%s%s is %d, want >= 0", prefix, f.name, *f.value)
		}
	}
	for _, f := range []struct {
		name  string
		value *float64
		none  float64
	}{{"FailureRate", &c.FailureRate, 0.5}, {"SlowRate", &c.SlowRate, 0.8}} {
		if *f.value == 0 {
			*f.value = f.none
		}
		if !(*f.value > 0 && *f.value <= 1) { // so that NaN is out, too
			return nil, fmt.Errorf("%s%s is %v, want above 0 and up to 1, or 0", prefix, f.name, *f.value)
		}
	}
	if c.MaxOpenFor == 0 {
		c.MaxOpenFor = max(time.Minute, c.OpenFor)
	}
	if c.MaxOpenFor < c.OpenFor {
		return nil, fmt.Errorf("%sMaxOpenFor is %v, less than the OpenFor of %v", prefix, c.MaxOpenFor, c.OpenFor)
	}
	if c.ProbeTimeout == 0 {
		c.ProbeTimeout = max(c.OpenFor, c.Timeout)
	}
	return t, nil
}
