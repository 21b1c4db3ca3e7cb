package main

import (
	"context"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// launched runs the program until the test ends, and returns what it prints first.
func launched(t *testing.T, args ...string) (usage string, ended <-chan error) {
	t.Helper()
	read, write := io.Pipe()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		err := run(ctx, args, write)
		_ = write.Close()
		done <- err
	}()
	buf := make([]byte, 64<<10)
	n, err := read.Read(buf) // the usage is one write
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, read) }()
	return string(buf[:n]), done
}

// TestRun runs what the program prints, as it is printed: each block of curl lines
// has the status that stands above it. The last of them ends the program.
func TestRun(t *testing.T) {
	t.Parallel()
	bash, err1 := exec.LookPath("bash")
	_, err2 := exec.LookPath("curl")
	if err1 != nil || err2 != nil {
		t.Skip("needs bash and curl")
	}
	usage, ended := launched(t, "-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-password", `it's "$HOME" \ all`)

	heads := regexp.MustCompile(`(?m)^# ([2-5]\d\d): .*\n`)
	codes := heads.FindAllStringSubmatch(usage, -1)
	script := heads.ReplaceAllString(usage, "${0}echo; echo '=== block'\n")
	out, err := exec.CommandContext(t.Context(), bash, "-c", script).Output()
	require.NoError(t, err)
	blocks := strings.Split(string(out), "=== block\n")[1:]
	require.Len(t, blocks, len(codes))
	assert.Len(t, codes, 11)
	status := regexp.MustCompile(`HTTP/1\.1 (\d+)`)
	for i, block := range blocks {
		code := codes[i][1]
		assert.Regexp(t, `(HTTP/1\.1 |(^|\n) *\d+ )`+code, block)
		if code != "503" { // which take some that are well, too
			for _, m := range status.FindAllStringSubmatch(block, -1) {
				assert.Equal(t, code, m[1], block)
			}
		}
	}
	require.NoError(t, <-ended)
}

// TestRunRefuses has flags that are wrong: the error names them, and nothing runs.
func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"-admin":       {"-admin", "0.0.0.0:0"},
		"-keyspace":    {"-keyspace", "k; DROP"},
		"-replication": {"-replication", "dc1:3'}"},
		"-genesys":     {"-genesys", "localhost"},
		"-drain":       {"-drain", "-1s"},
		"extra":        {"extra"},
		"listen":       {"-addr", "127.0.0.1:99999"},
	} {
		all := append([]string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0"}, args...)
		assert.ErrorContains(t, run(t.Context(), all, io.Discard), name)
	}
}

// What the keyspace and its replication may be, since both become CQL.
func TestSchema(t *testing.T) {
	t.Parallel()
	for replication, want := range map[string]string{
		"1":           "{'class': 'SimpleStrategy', 'replication_factor': 1}",
		"dc1:3":       "{'class': 'NetworkTopologyStrategy', 'dc1': 3}",
		"dc1:3,dc2:2": "{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}",
		"":            "", "0": "", "100": "", "-1": "", "dc1": "", "dc1:": "", "dc1:0": "", "dc1:3,": "", "dc'1:3": "", "dc1:3:4": "",
	} {
		s, err := newSchema("k", replication)
		if want == "" {
			require.ErrorContains(t, err, "-replication", replication)
			continue
		}
		require.NoError(t, err, replication)
		assert.Equal(t, "CREATE KEYSPACE IF NOT EXISTS k WITH replication = "+want, s.create[0])
		assert.Equal(t, "SELECT id, identity, started, page FROM k.visit WHERE id = ?", s.visit)
	}
	for _, keyspace := range []string{"", "K", "1k", "k-1", "k;", strings.Repeat("k", 49)} {
		_, err := newSchema(keyspace, "1")
		assert.ErrorContains(t, err, "-keyspace", keyspace)
	}
}
