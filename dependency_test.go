package guard_test

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// badDependencies are configurations that are wrong in one field.
var badDependencies = []struct {
	field, value string
	change       func(*guard.DependencyConfig)
}{
	{"Timeout", "-2ns", func(c *guard.DependencyConfig) { c.Timeout = -2 }},
	{"Timeout", "-1s", func(c *guard.DependencyConfig) { c.Timeout = -time.Second }},
	{"Timeout", "-2562047h47m16.854775808s", func(c *guard.DependencyConfig) { c.Timeout = math.MinInt64 }},
	{"Concurrency.Max", "-1", func(c *guard.DependencyConfig) { c.Concurrency.Max = -1 }},
	{"Window", "-1ns", func(c *guard.DependencyConfig) { c.Window = -1 }},
	{"Window", "10ns", func(c *guard.DependencyConfig) { c.Window = 10 }}, // meant to be seconds
	{"Window", "999.999µs", func(c *guard.DependencyConfig) { c.Window = time.Millisecond - 1 }},
	{"MinCalls", "-1", func(c *guard.DependencyConfig) { c.MinCalls = -1 }},
	{"MinCalls", strconv.Itoa(math.MinInt), func(c *guard.DependencyConfig) { c.MinCalls = math.MinInt }},
	{"FailureRate", "-0.1", func(c *guard.DependencyConfig) { c.FailureRate = -0.1 }},
	{"FailureRate", "1.0000000000000002", func(c *guard.DependencyConfig) { c.FailureRate = math.Nextafter(1, 2) }},
	{"FailureRate", "50", func(c *guard.DependencyConfig) { c.FailureRate = 50 }}, // meant to be percent
	{"FailureRate", "NaN", func(c *guard.DependencyConfig) { c.FailureRate = math.NaN() }},
	{"FailureRate", "+Inf", func(c *guard.DependencyConfig) { c.FailureRate = math.Inf(1) }},
	{"FailureRate", "-Inf", func(c *guard.DependencyConfig) { c.FailureRate = math.Inf(-1) }},
	{"SlowCall", "-1ns", func(c *guard.DependencyConfig) { c.SlowCall = -1 }},
	{"SlowRate", "-1", func(c *guard.DependencyConfig) { c.SlowRate = -1 }},
	{"SlowRate", "2", func(c *guard.DependencyConfig) { c.SlowRate = 2 }},
	{"SlowRate", "NaN", func(c *guard.DependencyConfig) { c.SlowRate = math.NaN() }},
	{"SlowRate", "+Inf", func(c *guard.DependencyConfig) { c.SlowRate = math.Inf(1) }},
	{"OpenFor", "-1ns", func(c *guard.DependencyConfig) { c.OpenFor = -1 }},
	{"OpenFor", "5ns", func(c *guard.DependencyConfig) { c.OpenFor = 5 }},
	{"MaxOpenFor", "-1ns", func(c *guard.DependencyConfig) { c.MaxOpenFor = -1 }},
	{"MaxOpenFor", "59s", func(c *guard.DependencyConfig) { c.OpenFor, c.MaxOpenFor = time.Minute, 59*time.Second }},
	{"MaxOpenFor", "4.999999999s", func(c *guard.DependencyConfig) { c.MaxOpenFor = 5*time.Second - 1 }}, // OpenFor has its default
	{"Probes", "-3", func(c *guard.DependencyConfig) { c.Probes = -3 }},
	{"ProbeTimeout", "-1ns", func(c *guard.DependencyConfig) { c.ProbeTimeout = -1 }},
	{"FairShare", "-1ns", func(c *guard.DependencyConfig) { c.FairShare = -1 }},
	{"CheckEvery", "-1ns", func(c *guard.DependencyConfig) { c.CheckEvery = -1 }},
	{"CheckEvery", "1µs", func(c *guard.DependencyConfig) { c.CheckEvery = time.Microsecond }},
}

// The error names the dependency, the field and its value, and nothing changes.
func TestDependencyErrorsNameFieldAndValue(t *testing.T) {
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{Timeout: time.Second, MinCalls: 3})
	_ = d.Do(t.Context(), comesTo(io.EOF))
	before, config := g.Snapshot().Dependencies, d.Config()
	for _, test := range badDependencies {
		var c guard.DependencyConfig
		test.change(&c)
		none, created := g.Dependency("new", c)
		require.Nil(t, none)
		tuned := d.Tune(func(c *guard.DependencyConfig) {
			c.Required, c.Probes, c.Timeout = true, 7, time.Minute
			test.change(c)
		})
		for name, err := range map[string]error{"new": created, "db": tuned} {
			require.ErrorContains(t, err, strconv.Quote(name), test.field)
			require.ErrorContains(t, err, test.field+" is "+test.value)
		}
		require.Equal(t, config, d.Config(), "%s was refused, and changes nothing", test.field)
	}
	after := g.Snapshot().Dependencies
	require.Equal(t, before, after)
	require.Len(t, g.Dependencies(), 1, "what is refused is not added")
}

func TestDependencyNames(t *testing.T) {
	g := newGuard(t, guard.Config{})
	none, err := g.Dependency("", guard.DependencyConfig{})
	require.ErrorContains(t, err, `name of a dependency is ""`)
	require.Nil(t, none)
	first, err := g.Dependency("db", guard.DependencyConfig{})
	require.NoError(t, err)
	none, err = g.Dependency("db", guard.DependencyConfig{Timeout: time.Second})
	require.ErrorContains(t, err, `"db"`)
	require.Nil(t, none)
	second, err := g.Dependency("DB", guard.DependencyConfig{})
	require.NoError(t, err, "it is another name")
	_, err = newGuard(t, guard.Config{}).Dependency("db", guard.DependencyConfig{})
	require.NoError(t, err, "it is another guard's")
	all := g.Dependencies()
	require.Equal(t, []*guard.Dependency{first, second}, all)
	all[0] = nil
	require.Equal(t, []*guard.Dependency{first, second}, g.Dependencies(), "the slice is a copy")
	require.Equal(t, "DB", second.Name())
}

func TestDependencyConfigIsAsGiven(t *testing.T) {
	for name, c := range map[string]guard.DependencyConfig{
		"zero": {},
		"all": {
			Timeout: guard.NoTimeout, Concurrency: guard.Concurrency{Max: 3}, Window: time.Minute, MinCalls: 2, FailureRate: 1,
			SlowCall: time.Second, SlowRate: math.SmallestNonzeroFloat64, OpenFor: time.Second, MaxOpenFor: time.Second, Probes: 4,
			ProbeTimeout: time.Hour, FairShare: time.Hour, PauseOn429: true, CheckEvery: time.Millisecond, Required: true,
		},
		"a negative zero": {FailureRate: math.Copysign(0, -1)},
	} {
		d := newDependency(t, c)
		assert.Equal(t, c, d.Config(), name)
		require.NoError(t, d.Tune(func(got *guard.DependencyConfig) {
			assert.Equal(t, c, *got, "Tune is given what was given, not the defaults")
			got.Probes = 9
		}))
		c.Probes = 9
		assert.Equal(t, c, d.Config(), name)
	}
	require.ErrorContains(t, newDependency(t, guard.DependencyConfig{}).Tune(nil), "nil")
}

// Durations and numbers that are as large as can be mean "never", and break nothing.
func TestDependencyWithHugeValues(t *testing.T) {
	const huge = time.Duration(math.MaxInt64)
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]guard.DependencyConfig{
			"Timeout": {Timeout: huge}, "Window": {Window: huge}, "OpenFor": {OpenFor: huge}, "MaxOpenFor": {MaxOpenFor: huge},
			"ProbeTimeout": {ProbeTimeout: huge}, "FairShare": {FairShare: huge}, "SlowCall": {SlowCall: huge},
			"Probes": {Probes: math.MaxInt}, "Concurrency": {Concurrency: guard.Concurrency{Max: math.MaxInt}},
			"both": {OpenFor: huge - 1, MaxOpenFor: huge},
			"all": {
				Timeout: huge, Window: huge, OpenFor: huge, MaxOpenFor: huge, ProbeTimeout: huge, FairShare: huge, SlowCall: huge,
				CheckEvery: huge, Probes: math.MaxInt, Concurrency: guard.Concurrency{Max: math.MaxInt},
			},
		} {
			for range 20 { // the open time is jittered
				g, d := guardedCalls(t, guard.Config{}, c)
				time.Sleep(time.Hour) // so that the sum of now and huge is too much
				for range 3 {
					require.NoError(t, d.Do(t.Context(), func(ctx context.Context) error { return ctx.Err() }), name)
				}
				require.Equal(t, guard.StateClosed, d.State())
				tripByFailures(d)
				time.Sleep(time.Second)
				err := d.Do(t.Context(), comesTo(nil))
				require.ErrorIs(t, err, guard.ErrOpen, name)
				var dependency *guard.DependencyError
				require.ErrorAs(t, err, &dependency)
				require.Positive(t, dependency.RetryAfter(), "%s: it ends, if late", name)
				require.Positive(t, g.Snapshot().Dependencies[0].NextProbe, name)
				require.Greater(t, dependency.RetryAfter(), min(d.Config().OpenFor, time.Hour), name)
				if c.OpenFor != 0 {
					require.Greater(t, dependency.RetryAfter(), huge/10*8, name)
					continue
				}
				time.Sleep(dependency.RetryAfter())
				require.NoError(t, d.Do(t.Context(), comesTo(nil)), name)
				requireIdle(t, g)
			}
		}
	})
}

// What has a name can be written and read back; what has none is no value.
func TestNamesOfValues(t *testing.T) {
	requireNames(t, map[guard.State]string{guard.StateClosed: "closed", guard.StateHalfOpen: "half-open", guard.StateOpen: "open"})
	requireNames(t, map[guard.Outcome]string{
		guard.OutcomeDefault: "default", guard.OutcomeSucceeded: "succeeded", guard.OutcomeFailed: "failed",
		guard.OutcomeAnswered: "answered", guard.OutcomeIgnored: "ignored",
	})
	requireNames(t, map[guard.RequestOutcome]string{
		guard.RequestServed: "served", guard.RequestRefused: "refused", guard.RequestFailed: "failed",
		guard.RequestPanicked: "panicked", guard.RequestAborted: "aborted", guard.RequestCanceled: "canceled",
		guard.RequestHijacked: "hijacked",
	})
	requireNames(t, map[guard.Mode]string{guard.ModeAuto: "auto", guard.ModeOpen: "open", guard.ModeClosed: "closed"})
	requireNames(t, map[guard.Health]string{guard.HealthPass: "pass", guard.HealthWarn: "warn", guard.HealthFail: "fail"})
	for o, want := range map[guard.Outcome]string{
		guard.OutcomeDefault: "default", guard.OutcomeSucceeded: "succeeded", guard.OutcomeFailed: "failed",
		guard.OutcomeAnswered: "answered", guard.OutcomeIgnored: "ignored", -1: "unknown -1", 5: "unknown 5",
	} {
		assert.Equal(t, want, o.String())
	}
}

func requireNames[T interface {
	~int
	fmt.Stringer
	encoding.TextMarshaler
}](t *testing.T, names map[T]string) {
	t.Helper()
	for v, name := range names {
		require.Equal(t, name, v.String())
		text, err := v.MarshalText()
		require.NoError(t, err)
		require.Equal(t, name, string(text))
		b, err := json.Marshal(map[T]T{v: v}) // as a key, too
		require.NoError(t, err)
		var back map[T]T
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, map[T]T{v: v}, back)
	}
	for _, bad := range []T{-1, T(len(names)), math.MaxInt32} {
		require.Equal(t, "unknown "+strconv.Itoa(int(bad)), bad.String())
	}
	var last T
	for v := range names {
		last = max(last, v)
	}
	for _, bad := range []string{"", "Closed", "closed ", "unknown 3", "-1", "1"} {
		v := last
		read, is := any(&v).(encoding.TextUnmarshaler)
		require.True(t, is)
		err := read.UnmarshalText([]byte(bad))
		require.ErrorContains(t, err, strconv.Quote(bad))
		require.Equal(t, last, v, "an error changes nothing")
	}
}

// A DependencyError that is nil, by itself or in an error, breaks nothing.
func TestNilDependencyError(t *testing.T) {
	var e *guard.DependencyError
	assert.Contains(t, e.Error(), "nil")
	require.NoError(t, e.Unwrap())
	assert.False(t, e.Is(guard.ErrOpen))
	assert.Empty(t, e.Dependency())
	assert.Negative(t, e.RetryAfter())
	require.NotErrorIs(t, error(e), guard.ErrOpen)
	g, d := guardedCalls(t, guard.Config{}, guard.DependencyConfig{})
	requireAnswer(t, g, newRequest(), e, http.StatusInternalServerError, "internal")
	requireAnswer(t, g, newRequest(), fmt.Errorf("wrapped: %w", e), http.StatusInternalServerError, "internal")
	for way, call := range waysToCall {
		var dependency *guard.DependencyError
		err := call(t.Context(), d, comesTo(e))
		require.ErrorAs(t, err, &dependency, way)
		require.NotNil(t, dependency)
		require.Equal(t, "db", dependency.Dependency())
		requireAnswer(t, g, newRequest(), err, http.StatusBadGateway, "dependency-failed")
	}
	assert.EqualValues(t, len(waysToCall), callsOf(g).Failed)
}

// The zero DependencyError is of no dependency: it says so, like a zero Error.
func TestZeroDependencyError(t *testing.T) {
	g := newGuard(t, guard.Config{})
	assert.NotPanics(t, func() {
		e := new(guard.DependencyError)
		assert.NotEmpty(t, e.Error())
		require.NoError(t, e.Unwrap())
		assert.Empty(t, e.Dependency())
		_ = e.RetryAfter()
		g.WriteError(minimal{}, newRequest(), e)
	})
}

// What an error of each kind matches, and says.
func TestDependencyErrorMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDependency(t, guard.DependencyConfig{Timeout: time.Second, Concurrency: guard.Concurrency{Max: 1}})
		failed := d.Do(t.Context(), comesTo(fmt.Errorf("query: %w", io.EOF)))
		late := d.Do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		_, permit, err := d.Acquire(t.Context())
		require.NoError(t, err)
		full := d.Do(t.Context(), comesTo(nil))
		permit.Done(nil)
		d.Force(guard.ModeOpen)
		open := d.Do(t.Context(), comesTo(nil))
		all := []error{io.EOF, context.DeadlineExceeded, guard.ErrTimeout, guard.ErrSaturated, guard.ErrOpen, guard.ErrThrottled, guard.ErrLimited}
		for _, test := range []struct {
			err     error
			matches []error
			text    string
		}{
			{failed, []error{io.EOF}, `guard: dependency "db": query: EOF`},
			{late, []error{context.DeadlineExceeded, guard.ErrTimeout}, `guard: timeout: dependency "db": context deadline exceeded`},
			{full, []error{guard.ErrSaturated}, `guard: dependency saturated: dependency "db"`},
			{open, []error{guard.ErrOpen}, `guard: circuit breaker open: dependency "db"`},
		} {
			var matches []error
			for _, target := range all {
				if errors.Is(fmt.Errorf("wrapped: %w", test.err), target) {
					matches = append(matches, target)
				}
			}
			assert.Equal(t, test.matches, matches, test.text)
			require.EqualError(t, test.err, test.text)
			var e *guard.DependencyError
			require.ErrorAs(t, test.err, &e)
			assert.Equal(t, "db", e.Dependency())
			assert.Negative(t, e.RetryAfter(), "none of them knows")
		}
	})
}
