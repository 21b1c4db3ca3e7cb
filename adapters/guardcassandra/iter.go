package guardcassandra

import (
	"context"
	"runtime"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// An Iter is a [gocql.Iter] that is one call to a dependency, over all its
// pages: it holds a place among the calls at once until Close, or the Err of
// its Scanner, and what it came to is told by the error of that.
//
// An Iter that is never closed gives its place back when the garbage collector
// finds it, and counts for nothing. It must be used by one goroutine at a time,
// like a gocql.Iter; and closed by its own Close, not by that of the one in it.
type Iter struct {
	*gocql.Iter

	permit  *guard.Permit
	cleanup runtime.Cleanup
	scanner gocql.Scanner // nil: there is none
	closed  bool
	err     error
}

// NewIter executes a query, or a batch, and returns an iterator over its rows.
// It returns an error, and no iterator, only if the call is refused; the errors
// of the query are told by [Iter.Close], as the driver does.
//
// The dependency's Timeout is for all pages together, and for what is done with
// the rows: long reads want a dependency of their own, with a longer Timeout or
// with [guard.NoTimeout], which leaves each page to the driver's Timeout.
func NewIter(ctx context.Context, dep *guard.Dependency, stmt gocql.Statement) (*Iter, error) {
	if isNil(stmt) {
		return nil, nilStatement("NewIter")
	}
	if dep == nil {
		return nil, errNoDependency
	}
	ctx, permit, err := dep.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	began := false
	defer func() {
		if !began {
			permit.Done(errPanicked)
		}
	}()
	it := &Iter{Iter: stmt.IterContext(callOf(ctx, dep)), permit: permit}
	it.cleanup = runtime.AddCleanup(it, func(p *guard.Permit) { p.Done(errAbandoned) }, permit)
	began = true
	return it, nil
}

// Scan copies the next row into dest and reports whether there was one, as
// [gocql.Iter.Scan] does; after Close there is none.
func (it *Iter) Scan(dest ...any) bool { return !it.closed && it.Iter.Scan(dest...) }

// MapScan copies the next row into dest and reports whether there was one, as
// [gocql.Iter.MapScan] does; after Close there is none.
func (it *Iter) MapScan(dest map[string]any) bool { return !it.closed && it.Iter.MapScan(dest) }

// SliceMap returns all rows that there still are, as [gocql.Iter.SliceMap] does;
// after Close, an error.
func (it *Iter) SliceMap() ([]map[string]any, error) {
	if it.closed {
		return nil, errIterClosed
	}
	return it.Iter.SliceMap()
}

// Close ends the call and returns what it came to: nil, or what
// [guard.Dependency.Do] makes of the error of whichever page had one. Closing
// before the last row is a success, whatever the pages not read would have said.
// A second Close returns what the first did.
func (it *Iter) Close() error {
	if it.closed {
		return it.err
	}
	it.closed = true
	it.cleanup.Stop()
	var err error
	if it.scanner != nil {
		err = it.scanner.Err() // it has gone on to later pages on its own
	} else {
		err = it.Iter.Close()
	}
	it.err = it.permit.Result(err)
	return it.err
}

// Scanner returns the iterator's scanner, the same each time. Its Err closes the
// iterator.
func (it *Iter) Scanner() gocql.Scanner {
	if it.scanner == nil {
		it.scanner = it.Iter.Scanner()
	}
	return scanner{it}
}

// A scanner is that of an Iter.
type scanner struct{ iter *Iter }

func (s scanner) Next() bool { return !s.iter.closed && s.iter.scanner.Next() }

func (s scanner) Scan(dest ...any) error { return s.iter.scanner.Scan(dest...) }

func (s scanner) Err() error { return s.iter.Close() }
