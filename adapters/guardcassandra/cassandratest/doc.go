// Package cassandratest is a Cassandra for tests, in the process of the test:
// a server that speaks the native protocol, version 4, over loopback TCP to a
// real driver, and breaks down on demand.
//
// It is no database. It knows the statements that it was given a [Handler] for,
// the system tables that a driver reads to connect, and the answers to USE and
// to CREATE, ALTER and DROP of a keyspace, table or type; everything else is an error of code [CodeInvalid] that
// names the statement.
//
//	server, err := cassandratest.Start()
//	if err != nil {
//		t.Fatal(err)
//	}
//	defer server.Close()
//	server.Handle("SELECT name FROM visit WHERE id = ?", func(q *cassandratest.Request) cassandratest.Response {
//		return cassandratest.Rows{
//			Columns: []cassandratest.Column{{Name: "name", Type: cassandratest.Text}},
//			Values:  [][]any{{"of " + q.Values[0].Text()}},
//		}
//	}, cassandratest.Text)
//
//	cluster := gocql.NewCluster(server.Addr())
//	cluster.ProtoVersion = 4
//	cluster.Metadata.CacheMode = gocql.Disabled
//	session, err := cluster.CreateSession()
//
// The cache of metadata must be off, because it is filled from tables that are
// not served. ProtoVersion spares the driver the negotiation of the version,
// which works but takes a connection for each version.
//
// # Faults
//
// [Server.SetFault] makes the server fail from the next frame on: [Down],
// [Hang], [Slow], [Errors], [Flapping], [DropMidFrame], [Garbage], and the zero
// [Fault], which ends them. [Server.Stop] and [Server.Restart] are the end of
// the process and a new one.
//
// A driver needs a while to find a server that is back. That of
// github.com/apache/cassandra-gocql-driver, version 2.1.2, asks those that it
// holds down every ReconnectInterval, by default a minute, and in rare cases never
// again: if the server is back just when the driver marks it down, a session can
// be left that holds it up and has no connections to it. Such a session recovers
// when it loses the control connection: after another [Server.Stop] and
// [Server.Restart].
//
// # Concurrency
//
// All methods are safe for concurrent use. A server runs a goroutine for each
// connection and each statement being handled; [Server.Close] ends them and
// waits for them.
//
// # Limits
//
// What a peer sends never panics, and takes memory in proportion to what
// arrived: a frame's body is at most 16 MiB, and a connection is read no further
// while its unanswered statements are 32768 or hold 64 MiB.
package cassandratest
