// Package guardcassandra guards the calls to Cassandra that are made with gocql,
// github.com/apache/cassandra-gocql-driver/v2: it knows what the driver's errors
// mean for a circuit breaker, and has the driver connect when Cassandra is there
// and not only when the program starts.
//
//	cassandra, err := guardcassandra.Open(func() *gocql.ClusterConfig {
//		cluster := gocql.NewCluster("10.0.0.1", "10.0.0.2")
//		…
//		return cluster
//	}, guardcassandra.Options{})
//	…
//	reads, err := g.Dependency("cassandra", guard.DependencyConfig{
//		Timeout:  2 * time.Second,
//		Classify: cassandra.Classify,
//		Check:    cassandra.Check,
//	})
//	…
//	mux.Handle("GET /visits/{id}", g.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
//		session, err := cassandra.Session(r.Context(), reads)
//		if err != nil {
//			return err // 502, at once while the breaker is open
//		}
//		var page string
//		err = guardcassandra.Scan(r.Context(), reads, session.Query("SELECT page FROM visit WHERE id = ?", r.PathValue("id")), &page)
//		if errors.Is(err, gocql.ErrNotFound) {
//			return guard.NotFound("There is no such visit.")
//		}
//		…
//	}))
//
// # Sessions
//
// [Open] does not connect, and so a server can start while Cassandra is down: it
// answers 502 until the first call, or the [Session.Check], has got through. The
// session is made before its dependencies, which take [Session.Classify] and
// [Session.Check] from it, and gets to know them with the calls. The Check also
// replaces a session of the driver that has lost all its connections, when
// Cassandra is back: so ask for [Session.Session] each time. Without a Session,
// there is [Classify] alone.
//
// # Calls
//
// [Exec], [Scan], [MapScan], [ScanCAS], [MapScanCAS], [ExecCAS] and [MapExecCAS]
// are the driver's methods of these names, as calls to a dependency; [Do] is for
// all the others. [NewIter] returns an [Iter], which is one call over all its
// pages and tells what it came to when it is closed. Queries, batches and rows
// remain the driver's own.
//
// One dependency for reads and one for writes are better than one for both: when
// the space for change data capture is full, say, writes fail and reads do not.
// More, such as one per node, gain little: the driver avoids nodes that are down
// by itself. Since an UNAVAILABLE is about some rows only, do not set MinCalls
// too low. An overloaded Cassandra is slow rather than say so, as the driver does
// not ask it to: set SlowCall.
//
// # Outcomes
//
// What the breaker makes of errors; see [guard.Outcome]. Who calls gets a
// *guard.DependencyError for those that failed or were answered, and all others
// untouched.
//
//	from Cassandra (code)                outcome    because
//	SERVER_ERROR (0000)                  failed
//	PROTOCOL_ERROR (000A)                answered   the driver's mistake
//	BAD_CREDENTIALS (0100)               failed     nobody gets in
//	UNAVAILABLE (1000)                   failed
//	OVERLOADED (1001)                    failed
//	IS_BOOTSTRAPPING (1002)              failed
//	TRUNCATE_ERROR (1003)                ignored    needs all nodes
//	WRITE_TIMEOUT (1100)                 failed
//	WRITE_TIMEOUT of a CAS               answered   contention
//	READ_TIMEOUT (1200)                  failed
//	READ_FAILURE (1300)                  failed
//	READ_FAILURE for reasons 1, 4, 6,    answered   tombstones, size, indexes: the query's
//	  7 and 503 only                                own; version 5 of the protocol tells
//	FUNCTION_FAILURE (1400)              answered   a bug in a user's function
//	WRITE_FAILURE (1500)                 failed
//	CDC_WRITE_FAILURE (1600)             failed
//	CAS_WRITE_UNKNOWN (1700)             answered   contention
//	SYNTAX_ERROR (2000)                  answered   our statement is wrong
//	UNAUTHORIZED (2100)                  answered   our role lacks a right
//	INVALID (2200)                       answered   our statement is wrong
//	CONFIG_ERROR (2300)                  answered
//	ALREADY_EXISTS (2400)                answered
//	UNPREPARED (2500)                    answered   the driver prepares again
//
//	from the driver
//	nil, ErrNotFound                     succeeded  no row is an answer: 404, or 204
//	ErrNoConnections, ErrTimeoutNo-      failed     nobody answers
//	  Response, ErrConnectionClosed,
//	  ErrNoStreams, EOF, network errors
//	ErrProtocol, frames cut short        failed     garbage came
//	"unable to create session: …"        failed     connecting failed
//	MarshalError, UnmarshalError, wrong  ignored    the application's mistake
//	  numbers of values and columns,
//	  text that is no UUID or duration
//	ErrUseStmt, ErrTooManyStmts,         ignored    likewise
//	  ErrNoHosts, ErrNoKeyspace,
//	  ErrKeyspaceDoesNotExist,
//	  ErrNoMetadata, ErrFrameTooBig,
//	  ErrUnknownRetryType
//	ErrSessionClosed                     ignored    we are shutting down; answered, by
//	                                                Session.Classify, if it was replaced,
//	                                                or closed by another than us
//	what would have failed, while a      ignored    likewise; by Session.Classify
//	  Session closes
//	context.Canceled                     ignored    the client has left
//	context.DeadlineExceeded             failed     the guard knows better whose it was
//	all else                             failed
//
// All else includes the errors of MarshalCQL, UnmarshalCQL and their like for
// UDTs, which the driver hands on as they are: have them return or wrap a
// [gocql.MarshalError] or [gocql.UnmarshalError], or what clients send counts
// against Cassandra.
//
// # Settings of the driver
//
// These go well with a dependency whose Timeout is 2 s:
//
//	cluster.ProtoVersion = 4                            // or 5: spares a connection per version tried, and host
//	cluster.Timeout = 1900 * time.Millisecond
//	cluster.WriteTimeout = time.Second
//	cluster.ConnectTimeout = time.Second
//	cluster.ReconnectInterval = 5 * time.Second
//	cluster.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1, Interval: 100 * time.Millisecond}
//	cluster.RetryPolicy = guardcassandra.RetryPolicy(&gocql.SimpleRetryPolicy{NumRetries: 1})
//	cluster.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.DCAwareRoundRobinPolicy("dc1"))
//
// Timeout is for one attempt at one node, and for one page; the dependency's
// Timeout is for the whole call. Keep it below: when Cassandra hangs while a
// statement is being prepared, all calls with that statement wait for the answer
// until the driver's Timeout is over, even after Cassandra has come back. With
// the default of 11 s that is how long the recovery takes. It also decides how
// soon a dead connection is found out, by six heartbeats in a row that fail; in
// the meantime, the breaker is what keeps requests from waiting. Timeouts of the
// server that are longer (5 s for reads, by default) only mean that it works on
// in vain.
//
// ConnectTimeout is spent on each node in turn when all hang, and a [Session]
// makes one attempt at a time: that is how long it can take to notice that they
// are back.
//
// ReconnectInterval is when nodes that are down are tried again, but for the
// first one found, which takes about 1 s, or less with a Check. The default of
// 60 s leaves the others without requests, and so without probes, for a minute.
//
// ReconnectionPolicy: the driver sleeps for an interval after each failed try,
// even the last. With 0 tries it goes on with a nil connection, and panics.
// [Open] refuses that, as it does a Timeout of 0, which waits without end.
//
// RetryPolicy: the driver has none by default, and uses it for idempotent queries
// only. [RetryPolicy] keeps it from adding to an outage. Mark as idempotent what
// is: not counters, not CAS, not appends to lists, not now() or uuid() in the
// statement.
//
// Speculative executions should be fewer than there are nodes: the one that finds
// no node left returns ErrNoConnections at once, and cancels those that are fine.
//
// PoolConfig: the function that [Open] is given must make a new
// HostSelectionPolicy each time. NumConns (2 for each node) is rarely too low,
// since a connection carries 32768 requests; but requests that have timed out
// count until the answer comes, and so set the dependency's Concurrency.
//
// PageSize (5000 rows) decides how long a page takes, and how much memory: 500 or
// 1000 suit a server that answers requests better where rows are wide.
//
// Do not feed a breaker from a QueryObserver: it is not told of ErrNoConnections,
// and is told of attempts that lost a race.
//
// # Goroutines
//
// Nothing here starts any, but for the one of a [Session] that connects, and what
// the driver and the Check of a dependency do. (The driver's v2.1.2 may leave one
// behind for good when an attempt fails right after its first connection.) The
// driver's goroutines call code of the user, too: where a Dialer or HostDialer
// panics, it has failed to dial, but a panic of an Authenticator, a policy or an
// observer may end the process. All functions are safe for concurrent use; an [Iter] is not, like that of the driver.
//
// Package cassandratest has a Cassandra for tests, which fails on demand.
package guardcassandra
