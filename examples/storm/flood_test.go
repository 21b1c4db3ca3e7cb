package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// good is a contest as it should go.
func good() contest {
	return contest{
		plain: tally{inTime: 60, gaveUp: 2900, worked: 600, waiting: 2400},
		tuned: tally{inTime: 540, refused: 2440, gaveUp: 10, worked: 540, waiting: 8, limit: 6},
	}
}

func TestContestVerdict(t *testing.T) {
	require.NoError(t, good().verdict())
	for _, tt := range []struct {
		name string
		bad  func(c *contest)
		want string
	}{
		{"half of what it can do is not delivered", func(c *contest) { c.tuned.inTime = 299 }, "workers did 600 requests, 60 were answered in time without a limit, and 299 with"},
		{"hardly better than without", func(c *contest) { c.plain.inTime = 270 }, "270 were answered in time without a limit, and 540 with"},
		{"nothing at all", func(c *contest) { c.plain, c.tuned = tally{}, tally{} }, "workers did 0 requests"},
		{"clients wait in vain", func(c *contest) { c.tuned.gaveUp = 2440 }, "refused 2440 requests of the flood, and 2440 clients gave up"},
		{"a refusal that says nothing", func(c *contest) { c.tuned.other = 1 }, "1 requests of the flood got another answer"},
		{"another answer without a guard", func(c *contest) { c.plain.other = 1 }, "1 requests of the flood got another answer"},
	} {
		c := good()
		tt.bad(&c)
		require.ErrorContains(t, c.verdict(), tt.want, tt.name)
		c.late = 0.1
		require.ErrorContains(t, c.verdict(), tt.want, "%s: a little late", tt.name)
		c.late = 0.11
		if other := c.plain.other + c.tuned.other; other > 0 {
			require.ErrorContains(t, c.verdict(), tt.want, "%s: no machine is too busy for this", tt.name)
		} else {
			require.NoError(t, c.verdict(), "%s: the machine is too busy", tt.name)
		}
	}
}

// A machine that is so slow that nobody got anything has a story, too.
func TestContestTell(t *testing.T) {
	var out bytes.Buffer
	c := good()
	c.plain.latency = []time.Duration{3 * time.Millisecond}
	c.tell(&table{out: &out})
	assert.NotContains(t, out.String(), "This says little")
	contest{late: 0.25}.tell(&table{out: &out})
	text := strings.Join(strings.Fields(out.String()), " ")
	assert.Contains(t, text, "10 % of what the server can do was answered in time, 99 in 100 of that within 3ms, and 2400 requests waited")
	assert.Contains(t, text, "about 6 requests at once are enough, and tries now and then whether fewer are: 90 % of what the server can do")
	assert.Contains(t, text, "2440 requests got 503, and 10 clients gave up")
	assert.Contains(t, text, "for 25 % of the time, the machine was busy")
	assert.NotContains(t, text, "%!")
}

func TestP99(t *testing.T) {
	var some []time.Duration
	for i := 200; i > 0; i-- {
		some = append(some, time.Duration(i))
	}
	assert.Zero(t, tally{}.p99())
	assert.Equal(t, time.Duration(7), tally{latency: []time.Duration{7}}.p99())
	assert.Equal(t, time.Duration(99), tally{latency: some[100:]}.p99())
	assert.Equal(t, time.Duration(198), tally{latency: some}.p99())
}
