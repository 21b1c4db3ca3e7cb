package guard_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
)

// newDependency returns a dependency "db" of a guard of its own.
func newDependency(tb testing.TB, c guard.DependencyConfig) *guard.Dependency {
	tb.Helper()
	d, err := newGuard(tb, guard.Config{}).Dependency("db", c)
	require.NoError(tb, err)
	return d
}
