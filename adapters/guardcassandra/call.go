package guardcassandra

import (
	"context"
	"errors"
	"fmt"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// Do is [guard.Dependency.Do], and lets the [RetryPolicy] know whose breaker to
// look at. It is for whatever the other functions do not cover; fn must pass the
// context that it gets to the driver. A nil dep is an error.
func Do(ctx context.Context, dep *guard.Dependency, fn func(context.Context) error) error {
	if dep == nil {
		return errNoDependency
	}
	if fn == nil {
		return errors.New("guardcassandra: Do was given a nil function")
	}
	return dep.Do(ctx, func(ctx context.Context) error { return fn(callOf(ctx, dep)) })
}

// Exec executes a query, or a batch of them, that returns no rows.
//
// Like all functions here, it is a call to the dependency, made with a context
// that ends with ctx and with the dependency's Timeout; a context that the
// statement has been given before does not matter. It returns nil, or what
// [guard.Dependency.Do] makes of the error. A statement that is nil is an error
// that counts for nothing.
func Exec(ctx context.Context, dep *guard.Dependency, stmt gocql.Statement) error {
	if isNil(stmt) {
		return nilStatement("Exec")
	}
	return Do(ctx, dep, stmt.ExecContext)
}

// Scan executes a query and copies the columns of its first row into dest. If
// there is none, the error matches [gocql.ErrNotFound], and the call has
// succeeded.
func Scan(ctx context.Context, dep *guard.Dependency, query *gocql.Query, dest ...any) error {
	if query == nil {
		return nilStatement("Scan")
	}
	return Do(ctx, dep, func(ctx context.Context) error { return query.ScanContext(ctx, dest...) })
}

// MapScan is [Scan] into a map by the names of the columns, which must not be nil.
func MapScan(ctx context.Context, dep *guard.Dependency, query *gocql.Query, dest map[string]any) error {
	if query == nil {
		return nilStatement("MapScan")
	}
	if dest == nil {
		return nilMap("MapScan")
	}
	return Do(ctx, dep, func(ctx context.Context) error { return query.MapScanContext(ctx, dest) })
}

// ScanCAS executes a conditional query (a lightweight transaction) and reports
// whether it was applied. If it was not, the present values are in dest. Both
// are successes. As the driver does, it sets NoSkipMetadata on the query.
func ScanCAS(ctx context.Context, dep *guard.Dependency, query *gocql.Query, dest ...any) (applied bool, err error) {
	if query == nil {
		return false, nilStatement("ScanCAS")
	}
	err = Do(ctx, dep, func(ctx context.Context) (err error) {
		applied, err = query.ScanCASContext(ctx, dest...)
		return err
	})
	return applied, err
}

// MapScanCAS is [ScanCAS] into a map by the names of the columns, which must not
// be nil.
func MapScanCAS(ctx context.Context, dep *guard.Dependency, query *gocql.Query, dest map[string]any) (applied bool, err error) {
	if query == nil {
		return false, nilStatement("MapScanCAS")
	}
	if dest == nil {
		return false, nilMap("MapScanCAS")
	}
	err = Do(ctx, dep, func(ctx context.Context) (err error) {
		applied, err = query.MapScanCASContext(ctx, dest)
		return err
	})
	return applied, err
}

// ExecCAS executes a batch of conditional statements and reports whether it was
// applied. The first row is in dest; the iterator has the others, each with the
// column [applied] before the rest. They are in memory, so that the call is over
// when ExecCAS returns. With an error, the iterator may be nil.
func ExecCAS(ctx context.Context, dep *guard.Dependency, batch *gocql.Batch, dest ...any) (applied bool, rest *gocql.Iter, err error) {
	if batch == nil {
		return false, nil, nilStatement("ExecCAS")
	}
	err = Do(ctx, dep, func(ctx context.Context) (err error) {
		applied, rest, err = batch.ExecCASContext(ctx, dest...)
		return err
	})
	return applied, rest, err
}

// MapExecCAS is [ExecCAS] into a map by the names of the columns, which must not
// be nil.
func MapExecCAS(ctx context.Context, dep *guard.Dependency, batch *gocql.Batch, dest map[string]any) (applied bool, rest *gocql.Iter, err error) {
	if batch == nil {
		return false, nil, nilStatement("MapExecCAS")
	}
	if dest == nil {
		return false, nil, nilMap("MapExecCAS")
	}
	err = Do(ctx, dep, func(ctx context.Context) (err error) {
		applied, rest, err = batch.MapExecCASContext(ctx, dest)
		return err
	})
	return applied, rest, err
}

// isNil also finds the nil pointers that an interface hides.
func isNil(stmt gocql.Statement) bool {
	switch s := stmt.(type) {
	case nil:
		return true
	case *gocql.Query:
		return s == nil
	case *gocql.Batch:
		return s == nil
	}
	return false
}

func nilStatement(name string) error {
	return fmt.Errorf("guardcassandra: %s was given a nil statement", name)
}

func nilMap(name string) error {
	return fmt.Errorf("guardcassandra: %s was given a nil map", name)
}

// depKey is the key of contexts for the dependency that a call is to.
type depKey struct{}

func callOf(ctx context.Context, dep *guard.Dependency) context.Context {
	return context.WithValue(ctx, depKey{}, dep)
}
