package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
)

// cassandra is the dependency that keeps identities, visits and events.
type cassandra struct {
	*schema

	session *guardcassandra.Session
	dep     *guard.Dependency

	making  *guardcassandra.Session // for the schema: it is patient
	makeDep *guard.Dependency
	made    chan struct{} // closed when the schema is there
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// openCassandra returns the dependency, connected or not: the server starts while
// Cassandra is down.
func openCassandra(g *guard.Guard, a addresses, s *schema, c guard.DependencyConfig) (*cassandra, error) {
	db := &cassandra{schema: s, made: make(chan struct{})}
	var err1, err2, err3, err4 error
	db.session, err1 = guardcassandra.Open(func() *gocql.ClusterConfig { return cluster(a) }, guardcassandra.Options{
		CheckTimeout: 500 * time.Millisecond, // less than a probe may take
	})
	db.making, err2 = guardcassandra.Open(func() *gocql.ClusterConfig {
		c := cluster(a)
		c.Timeout = schemaTimeout // creating a table takes Cassandra seconds
		return c
	}, guardcassandra.Options{})
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	c.Classify, c.Check = db.session.Classify, db.check
	db.dep, err3 = g.Dependency("cassandra", c)
	db.makeDep, err4 = g.Dependency("cassandra-schema", guard.DependencyConfig{
		Timeout: schemaTimeout, MinCalls: 3, OpenFor: time.Second, MaxOpenFor: 5 * time.Second, Classify: db.making.Classify,
	})
	if err := errors.Join(err3, err4); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	db.stopped.Go(func() { db.makeSchema(ctx) })
	return db, nil
}

const schemaTimeout = 30 * time.Second

// cluster is how the driver is to behave behind a breaker whose Timeout is 1 s: see
// the package guardcassandra.
func cluster(a addresses) *gocql.ClusterConfig {
	c := gocql.NewCluster(strings.Split(a.cassandra, ",")...)
	c.ProtoVersion = a.protocol
	c.Consistency = gocql.LocalQuorum
	c.SerialConsistency = gocql.LocalSerial
	c.Timeout = 900 * time.Millisecond // less than the dependency's
	c.WriteTimeout = time.Second
	c.ConnectTimeout = time.Second
	c.ReconnectInterval = 5 * time.Second // for nodes that are down and not the only one; the driver's 60 s are long
	c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1, Interval: 100 * time.Millisecond}
	c.Metadata.CacheMode = gocql.Disabled
	c.RetryPolicy = guardcassandra.RetryPolicy(&gocql.SimpleRetryPolicy{NumRetries: 1}) // for reads: they are idempotent
	c.Logger = gocql.NewLogger(gocql.LogLevelNone)                                      // the breaker's log tells it once
	if a.driver != nil {
		a.driver(c)
	}
	return c
}

// makeSchema creates what is not there yet, when Cassandra is.
func (db *cassandra) makeSchema(ctx context.Context) {
	defer db.making.Close()
	pause := time.NewTicker(time.Second / 2)
	defer pause.Stop()
	for {
		if db.tryMakeSchema(ctx) == nil {
			close(db.made)
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

func (db *cassandra) tryMakeSchema(ctx context.Context) error {
	session, err := db.making.Session(ctx, db.makeDep)
	for _, statement := range db.create {
		if err == nil {
			err = guardcassandra.Exec(ctx, db.makeDep, session.Query(statement))
		}
	}
	return err
}

// check is the probe of a breaker that is not closed. Before the schema is there,
// it is too early for calls.
func (db *cassandra) check(ctx context.Context) error {
	if err := db.session.Check(ctx); err != nil {
		return err
	}
	return db.ready(ctx)
}

func (db *cassandra) ready(ctx context.Context) error {
	select {
	case <-db.made:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// use returns the driver's session, when there are tables to use it on.
func (db *cassandra) use(ctx context.Context) (*gocql.Session, error) {
	session, err := db.session.Session(ctx, db.dep)
	if err != nil {
		return nil, err
	}
	select {
	case <-db.made:
		return session, nil
	default:
	}
	return session, db.dep.Do(ctx, db.ready)
}

// one reads one row into dest. The error matches [gocql.ErrNotFound] if there is none.
func (db *cassandra) one(ctx context.Context, statement string, values []any, dest ...any) error {
	session, err := db.use(ctx)
	if err != nil {
		return err
	}
	return guardcassandra.Scan(ctx, db.dep, session.Query(statement, values...).Idempotent(true), dest...)
}

// all calls row with a scan function for each row.
func (db *cassandra) all(ctx context.Context, statement string, values []any, row func(scan func(...any) error) error) error {
	session, err := db.use(ctx)
	if err != nil {
		return err
	}
	iter, err := guardcassandra.NewIter(ctx, db.dep, session.Query(statement, values...).Idempotent(true))
	if err != nil {
		return err
	}
	rows := iter.Scanner()
	for err == nil && rows.Next() {
		err = row(rows.Scan)
	}
	return errors.Join(err, rows.Err()) // Err is asked whatever was before: it ends the call
}

// exec writes by one statement.
func (db *cassandra) exec(ctx context.Context, statement string, values ...any) error {
	session, err := db.use(ctx)
	if err != nil {
		return err
	}
	return guardcassandra.Exec(ctx, db.dep, session.Query(statement, values...))
}

// both writes the same values by two statements, or by none.
func (db *cassandra) both(ctx context.Context, first, second string, values ...any) error {
	session, err := db.use(ctx)
	if err != nil {
		return err
	}
	batch := session.Batch(gocql.LoggedBatch).Query(first, values...).Query(second, values...)
	return guardcassandra.Exec(ctx, db.dep, batch)
}

// once writes by a statement with a condition, and reports whether that held.
func (db *cassandra) once(ctx context.Context, statement string, values ...any) (bool, error) {
	session, err := db.use(ctx)
	if err != nil {
		return false, err
	}
	return guardcassandra.MapScanCAS(ctx, db.dep, session.Query(statement, values...), map[string]any{})
}

// Close ends the session. Have the server drained first.
func (db *cassandra) Close() {
	db.stop()
	db.making.Close()
	db.stopped.Wait()
	db.session.Close()
}

// notFound returns a 404 in place of the driver's word for no row.
func notFound(err error, detail string) error {
	if errors.Is(err, gocql.ErrNotFound) {
		return guard.NotFound(detail)
	}
	return err
}
