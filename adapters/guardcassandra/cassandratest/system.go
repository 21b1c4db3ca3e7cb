package cassandratest

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// What the system tables say, and the same for every server.
const (
	releaseVersion = "5.0.0"
	cqlVersion     = "3.4.7"
	partitioner    = "org.apache.cassandra.dht.Murmur3Partitioner"
	clusterName    = "cassandratest"
	dataCentre     = "datacenter1"
	rack           = "rack1"
	// One for all nodes: they agree on the schema at any time.
	schemaVersion = "5f0c1b6e-6d2c-3a57-9d2b-0b5b1a3e7c11"
)

// SetPeers makes the server name others as the other nodes of its cluster, which
// a driver then connects to as well. They are to be told, too. The nodes should
// have addresses of their own, such as 127.0.0.1 and 127.0.0.2, and one port: a
// driver may tell them apart by the address alone.
func (s *Server) SetPeers(others ...*Server) {
	others = slices.DeleteFunc(slices.Clone(others), func(o *Server) bool { return o == s || o == nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = others
}

// A cell is a column of a system table and its value in one row.
type cell struct {
	Column
	value any
}

// describe returns a server's row of a table of the system keyspace.
func (s *Server) describe(table string) []cell {
	s.mu.Lock()
	ip, port, id := s.addr.Addr(), int(s.addr.Port()), s.hostID
	s.mu.Unlock()
	row := []cell{
		{Column{"data_center", Text}, dataCentre},
		{Column{"host_id", UUID}, id},
		{Column{"rack", Text}, rack},
		{Column{"release_version", Text}, releaseVersion},
		{Column{"schema_version", UUID}, schemaVersion},
		{Column{"tokens", TextSet}, tokens(id)},
	}
	switch table {
	case "local":
		return append([]cell{
			{Column{"key", Text}, "local"},
			{Column{"bootstrapped", Text}, "COMPLETED"},
			{Column{"broadcast_address", Inet}, ip}, // without it a driver takes no note of a node that is down
			{Column{"broadcast_port", Int}, port},
			{Column{"cluster_name", Text}, clusterName},
			{Column{"cql_version", Text}, cqlVersion},
			{Column{"listen_address", Inet}, ip},
			{Column{"native_protocol_version", Text}, strconv.Itoa(version)},
			{Column{"partitioner", Text}, partitioner},
			{Column{"rpc_address", Inet}, ip},
			{Column{"rpc_port", Int}, port},
		}, row...)
	case "peers":
		return append([]cell{
			{Column{"peer", Inet}, ip},
			{Column{"rpc_address", Inet}, ip},
		}, row...)
	default: // peers_v2, which alone says on which port
		return append([]cell{
			{Column{"peer", Inet}, ip},
			{Column{"peer_port", Int}, port},
			{Column{"native_address", Inet}, ip},
			{Column{"native_port", Int}, port},
		}, row...)
	}
}

// tokens are a node's places on the ring. One is enough.
func tokens(id [16]byte) []string {
	sum := sha256.Sum256(id[:])
	return []string{strconv.FormatInt(int64(binary.BigEndian.Uint64(sum[:8])), 10)} //nolint:gosec // G115: a token is signed
}

// isSystem says whether a normalised statement is one that a driver executes
// for itself.
func isSystem(statement string) bool {
	if first, _, _ := strings.Cut(statement, " "); strings.EqualFold(first, "USE") {
		return true
	}
	table := systemTable(statement)
	return strings.HasPrefix(table, "system.") || strings.HasPrefix(table, "system_")
}

// systemTable returns the table that a statement selects from; "" if it does
// not select.
func systemTable(statement string) string {
	words := strings.Fields(strings.ToLower(statement))
	if len(words) == 0 || words[0] != "select" {
		return ""
	}
	if i := slices.Index(words, "from"); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// system answers what isSystem.
func (c *conn) system(statement string) Response {
	if rest, ok := cutWord(statement, "USE"); ok {
		name, rest := identifier(rest)
		if name == "" || rest != "" {
			return &Error{Code: CodeSyntaxError, Message: "USE takes the name of a keyspace"}
		}
		c.keyspace = name
		return setKeyspace(name)
	}
	var nodes []*Server
	table := strings.TrimPrefix(systemTable(statement), "system.")
	switch table {
	case "local":
		nodes = []*Server{c.server}
	case "peers", "peers_v2":
		c.server.mu.Lock()
		nodes = slices.Clone(c.server.peers)
		c.server.mu.Unlock()
	default:
		return unknown(statement)
	}
	words := strings.Fields(strings.ToLower(statement))
	names := strings.Split(strings.Join(words[1:slices.Index(words, "from")], ""), ",")
	var rows Rows
	for _, column := range c.server.describe(table) {
		if names[0] == "*" || slices.Contains(names, column.Name) {
			rows.Columns = append(rows.Columns, column.Column)
		}
	}
	if names[0] != "*" && len(rows.Columns) != len(names) {
		return invalid("Undefined column name in %q", clip(statement))
	}
	for _, node := range nodes {
		var row []any
		for _, cell := range node.describe(table) {
			if slices.Contains(rows.Columns, cell.Column) {
				row = append(row, cell.value)
			}
		}
		rows.Values = append(rows.Values, row)
	}
	return rows
}
