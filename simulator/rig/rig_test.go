package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain makes the binary of the tests a server or a load, if it is started as
// one.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestEveryContenderRunsAtEveryServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs real servers, for a fraction of a second each")
	}
	var out bytes.Buffer
	raw := filepath.Join(t.TempDir(), "raw")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{"-rounds", "1", "-warmup", "50ms", "-length", "150ms", "-timeout", "100ms", "-load", "1", "-trace", "-raw", raw}
	require.NoError(t, run(ctx, "", args, nil, &out, t.Output()))

	table := out.String()
	for _, c := range contenders() {
		require.Equal(t, len(benches()), strings.Count(table, "\n| "+c.title+" | "), table)
	}
	require.Contains(t, table, " 0 failed in another way", table)
	b, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Equal(t, len(benches())*len(contenders()), bytes.Count(b, []byte("\n")))
	require.NotContains(t, string(b), `"Sent":0`)
}

func TestNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-rounds", "0"},
		{"-length", "0s"},
		{"-warmup", "-1s"},
		{"-timeout", "0s"},
		{"-load", "0"},
		{"-load", "NaN"},
		{"-server", "none"},
		{"-contender", "nothing,none"},
		{"more"},
		{"-unknown"},
	} {
		_, err := parse(args, io.Discard)
		require.Error(t, err, args)
	}
}

func TestChosenOnesAreRun(t *testing.T) {
	t.Parallel()
	p, err := parse([]string{"-server", "pool-8x20ms", "-contender", "self-tuned,bound"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"self-tuned", "bound"}, p.Contenders)
	require.Len(t, p.Servers, 1)
	require.Equal(t, 8, p.Servers[0].Workers)
}

func TestSpreadTellsTheMedian(t *testing.T) {
	t.Parallel()
	require.Empty(t, spread(nil))
	require.Equal(t, "7", spread([]float64{7}))
	require.Equal(t, "2 [1..9]", spread([]float64{9, 1, 2}))
	require.Equal(t, "3 [1..9]", spread([]float64{9, 1, 2, 4}))
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	require.Zero(t, quantile(nil, 0.5))
	all := []time.Duration{4, 1, 3, 2}
	require.Equal(t, time.Duration(3), quantile(all, 0.5))
	require.Equal(t, time.Duration(4), quantile(all, 1))
}
