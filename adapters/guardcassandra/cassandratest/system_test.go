package cassandratest_test

import (
	"net"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

func TestSystemTables(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	var name, version string
	require.NoError(t, session.Query("select release_version, cluster_name from SYSTEM.local").Scan(&name, &version), "in the order of the table")
	assert.Equal(t, []string{"cassandratest", "5.0.0"}, []string{name, version})
	// What a driver needs to take the node for one, and to notice when it is down.
	row := map[string]any{}
	require.NoError(t, session.Query("SELECT broadcast_address, host_id, data_center, rack, partitioner, schema_version, tokens FROM system.local WHERE key='local'").MapScan(row))
	assert.Len(t, row, 7)
	for column, v := range row {
		assert.NotEmpty(t, v, column)
	}
	for _, statement := range []string{"SELECT * FROM system.peers", "SELECT * FROM system.peers_v2"} {
		iter := session.Query(statement).Iter()
		assert.Zero(t, iter.NumRows())
		assert.NotEmpty(t, iter.Columns(), "metadata comes along all the same")
		require.NoError(t, iter.Close())
	}
	assert.Zero(t, server.Requests())
}

// The driver awaits the agreement on each change of the schema.
func TestSchema(t *testing.T) {
	server := start(t)
	cluster := clusterOf(server)
	session := connect(t, cluster)
	cluster.Keyspace = "visits"
	within := connect(t, cluster)
	for _, statement := range []string{
		"CREATE KEYSPACE visits WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
		"CREATE  KEYSPACE\nIF NOT EXISTS visits WITH replication = {}",
		"CREATE TABLE visits.visit (id uuid PRIMARY KEY, name text)",
		"create table if not exists visits.visit(id uuid PRIMARY KEY)",
		`CREATE TABLE "Visits"."Visit" (id uuid PRIMARY KEY)`,
		"CREATE TYPE visits.address (street text)",
		"ALTER TABLE visits.visit ADD age int",
		"DROP TABLE IF EXISTS visits.visit",
		"DROP KEYSPACE visits;",
	} {
		require.NoError(t, session.Query(statement).Exec(), statement)
	}
	require.NoError(t, within.Query("CREATE TABLE visit (id uuid PRIMARY KEY)").Exec())

	var invalid *gocql.RequestErrInvalid
	require.ErrorAs(t, session.Query("CREATE TABLE visit (id uuid PRIMARY KEY)").Exec(), &invalid)
	assert.Contains(t, invalid.Message(), "No keyspace has been specified")
	require.ErrorAs(t, session.Query("CREATE ROLE ann").Exec(), &invalid)
	assert.Contains(t, invalid.Message(), "CREATE ROLE ann")
	for _, statement := range []string{"CREATE TABLE", "DROP KEYSPACE ;", "CREATE TABLE visits.(id int)", `CREATE TABLE "" (id int)`} {
		var syntax *gocql.RequestErrSyntax
		require.ErrorAs(t, session.Query(statement).Exec(), &syntax, statement)
	}

	server.Handle("DROP TABLE visits.visit", func(*cassandratest.Request) cassandratest.Response {
		return &cassandratest.Error{Code: cassandratest.CodeUnauthorized}
	})
	var unauthorized *gocql.RequestErrUnauthorized
	require.ErrorAs(t, session.Query("DROP TABLE visits.visit").Exec(), &unauthorized, "a handler comes first")
}

// change is the body of a change of the schema, as the driver does not show it.
func change(of ...string) []byte {
	b := []byte{0, 0, 0, 5}
	for _, s := range of {
		b = append(append(b, 0, byte(len(s))), s...)
	}
	return b
}

func TestSchemaChanges(t *testing.T) {
	server := start(t)
	c := dial(t, server)
	c.send(startup())
	_, _, _, err := c.receive()
	require.NoError(t, err)
	for _, test := range []struct {
		statement string
		want      []byte
	}{
		{"CREATE KEYSPACE IF NOT EXISTS ks WITH x", change("CREATED", "KEYSPACE", "ks")},
		{"CREATE TABLE ks.t (k int)", change("CREATED", "TABLE", "ks", "t")},
		{"DROP TABLE IF EXISTS KS.T", change("DROPPED", "TABLE", "ks", "t")},
		{`ALTER TYPE "Ks"."T" ADD x int`, change("UPDATED", "TYPE", "Ks", "T")},
		{`USE "My Keyspace"`, []byte("\x00\x00\x00\x03\x00\x0bMy Keyspace")},
		{"CREATE TABLE IF NOT EXISTS t(k int)", change("CREATED", "TABLE", "My Keyspace", "t")},
		{"USE KS", []byte("\x00\x00\x00\x03\x00\x02ks")},
		{"CREATE TABLE t(k int)", change("CREATED", "TABLE", "ks", "t")},
	} {
		s := test.statement
		c.send(request(5, 0x07, append(append([]byte{0, 0, 0, byte(len(s))}, s...), 0, 1, 0)))
		_, op, body, err := c.receive()
		require.NoError(t, err)
		assert.Equal(t, byte(0x08), op, s)
		assert.Equal(t, test.want, body, s)
	}
}

// The driver learns of the other node, and goes on with it when one ends.
func TestCluster(t *testing.T) {
	first := start(t)
	_, port, err := net.SplitHostPort(first.Addr())
	require.NoError(t, err)
	second, err := cassandratest.Listen(net.JoinHostPort("127.0.0.2", port))
	if err != nil {
		t.Skip("there is no second address on this system: ", err)
	}
	t.Cleanup(func() { second.Close() })
	first.SetPeers(first, second, nil)
	second.SetPeers(first, second)
	for _, s := range []*cassandratest.Server{first, second} {
		s.Handle("SELECT v FROM t", one(cassandratest.Text, s.Addr()))
	}
	session := connect(t, clusterOf(first))
	require.NoError(t, session.Query("CREATE KEYSPACE ks").Exec(), "the nodes agree")
	seen := map[string]bool{}
	ask := func() error {
		var who string
		err := session.Query("SELECT v FROM t").Scan(&who)
		if err == nil {
			seen[who] = true
		}
		return err
	}
	eventually(t, func() bool { return ask() == nil && len(seen) == 2 }, "both are asked")

	first.Stop()
	clear(seen)
	eventually(t, func() bool { return ask() == nil }, "the other answers")
	require.NoError(t, first.Restart())
	session = connect(t, clusterOf(second))
	clear(seen)
	eventually(t, func() bool { return ask() == nil && len(seen) == 2 }, "both are asked again")
}
