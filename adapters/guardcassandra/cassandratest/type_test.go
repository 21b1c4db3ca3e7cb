package cassandratest_test

import (
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// Values go to the server and back, encoded and decoded by the driver on the one
// side and by the package on the other.
func TestTypes(t *testing.T) {
	id, timeID := gocql.MustRandomUUID(), gocql.TimeUUID()
	now := time.UnixMilli(time.Now().UnixMilli()).UTC()
	as := func(decode func(cassandratest.Value) (any, error)) func(cassandratest.Value) (any, error) {
		return decode
	}
	text := as(func(v cassandratest.Value) (any, error) { return v.Text(), nil })
	integer := as(func(v cassandratest.Value) (any, error) { return v.Int() })
	uuid := as(func(v cassandratest.Value) (any, error) { return v.UUID() })
	textMap := as(func(v cassandratest.Value) (any, error) { return v.TextMap() })
	list := as(func(v cassandratest.Value) (any, error) { return v.TextList() })
	for _, test := range []struct {
		typ    cassandratest.Type
		name   string
		sent   any // by the driver
		decode func(cassandratest.Value) (any, error)
		want   any // of decode
		answer any // of the handler
		got    any // by the driver, of the answer, as it reads the type by itself
	}{
		{cassandratest.Text, "text", "häuser", text, "häuser", "häuser", "häuser"},
		{cassandratest.Text, "text", "", text, "", "", ""},
		{cassandratest.Text, "text", []byte("x"), text, "x", []byte("x"), "x"},
		{cassandratest.ASCII, "ascii", "x", text, "x", "x", "x"},
		{cassandratest.Blob, "blob", []byte{0, 255}, text, "\x00\xff", []byte{0, 255}, []byte{0, 255}},
		{cassandratest.Blob, "blob", []byte{}, text, "", "\x01", []byte{1}},
		{cassandratest.Boolean, "boolean", true, func(v cassandratest.Value) (any, error) { return v.Boolean() }, true, true, true},
		{cassandratest.Boolean, "boolean", false, func(v cassandratest.Value) (any, error) { return v.Boolean() }, false, false, false},
		{cassandratest.Int, "int", math.MinInt32, integer, int64(math.MinInt32), math.MinInt32, math.MinInt32},
		{cassandratest.Int, "int", math.MaxInt32, integer, int64(math.MaxInt32), uint8(200), 200},
		{cassandratest.BigInt, "bigint", int64(math.MinInt64), integer, int64(math.MinInt64), int64(math.MinInt64), int64(math.MinInt64)},
		{cassandratest.BigInt, "bigint", 1, integer, int64(1), uint64(math.MaxInt64), int64(math.MaxInt64)},
		{cassandratest.Counter, "counter", int64(7), integer, int64(7), time.Duration(7), int64(7)},
		{cassandratest.Double, "double", -0.5, func(v cassandratest.Value) (any, error) { return v.Double() }, -0.5, 1e300, 1e300},
		{cassandratest.Timestamp, "timestamp", now, func(v cassandratest.Value) (any, error) { return v.Timestamp() }, now, now, now},
		{cassandratest.Timestamp, "timestamp", time.UnixMilli(-1), integer, int64(-1), time.UnixMilli(-1), time.UnixMilli(-1).UTC()},
		{cassandratest.UUID, "uuid", id, uuid, [16]byte(id), id, id},
		{cassandratest.UUID, "uuid", id.String(), uuid, [16]byte(id), id.String(), id},
		{cassandratest.TimeUUID, "timeuuid", timeID, uuid, [16]byte(timeID), [16]byte(timeID), timeID},
		{cassandratest.Inet, "inet", net.IPv4(127, 0, 0, 9), text, "\x7f\x00\x00\x09", netip.MustParseAddr("::9"), net.ParseIP("::9")},
		{cassandratest.TextList, "list<text>", []string{"a", "", "b"}, list, []string{"a", "", "b"}, []string{"c", ""}, []string{"c", ""}},
		{cassandratest.TextList, "list<text>", []string{}, list, []string{}, []string{}, []string{}},
		{cassandratest.TextSet, "set<text>", []string{"a"}, list, []string{"a"}, []string{"b"}, []string{"b"}},
		{cassandratest.TextMap, "map<text, text>", map[string]string{"a": "b", "": "c"}, textMap, map[string]string{"a": "b", "": "c"}, map[string]string{"d": "", "e": "f"}, map[string]string{"d": "", "e": "f"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.name, test.typ.String())
			var decoded any
			var failed error
			server := start(t)
			server.Handle("SELECT v FROM t WHERE k = ?", func(q *cassandratest.Request) cassandratest.Response {
				decoded, failed = test.decode(q.Values[0])
				return cassandratest.Rows{
					Columns: []cassandratest.Column{{Name: "v", Type: test.typ}, {Name: "null", Type: test.typ}, {Name: "raw", Type: test.typ}},
					Values:  [][]any{{test.answer, nil, cassandratest.Encoded(nil)}},
				}
			}, test.typ)
			row := map[string]any{}
			iter := connect(t, clusterOf(server)).Query("SELECT v FROM t WHERE k = ?", test.sent).Iter()
			require.True(t, iter.MapScan(row))
			require.NoError(t, iter.Close())
			require.NoError(t, failed)
			assert.Equal(t, test.want, decoded)
			assert.Equal(t, test.got, row["v"])
			assert.Empty(t, row["null"])
			assert.Empty(t, row["raw"])
		})
	}
	assert.Equal(t, "Type(-1)", cassandratest.Type(-1).String())
}

func TestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		t    cassandratest.Type
		v    any
		says string
	}{
		{cassandratest.Text, 7, "int(7) is no text"},
		{cassandratest.Blob, 'x', "is no blob"},
		{cassandratest.Boolean, 1, "int(1) is no boolean"},
		{cassandratest.Int, int64(math.MaxInt32) + 1, "int64(2147483648) is no int"},
		{cassandratest.Int, 1.0, "float64(1) is no int"},
		{cassandratest.BigInt, uint64(math.MaxInt64) + 1, "is no bigint"},
		{cassandratest.Counter, "7", "is no counter"},
		{cassandratest.Double, 7, "is no double"},
		{cassandratest.Timestamp, int64(7), "is no timestamp"},
		{cassandratest.UUID, "5f0c1b6e", "string(5f0c1b6e) is no uuid"},
		{cassandratest.UUID, [15]byte{}, "is no uuid"},
		{cassandratest.UUID, make([]byte, 15), "is no uuid"},
		{cassandratest.TimeUUID, 7, "is no timeuuid"},
		{cassandratest.Inet, netip.Addr{}, "is no inet"},
		{cassandratest.Inet, "127.0.0.1", "is no inet"},
		{cassandratest.TextList, "a", "is no list<text>"},
		{cassandratest.TextSet, []int{1}, "is no set<text>"},
		{cassandratest.TextMap, map[string]int{}, "is no map<text, text>"},
		{99, "x", "is no Type(99)"},
	} {
		b, err := cassandratest.Encode(test.t, test.v)
		require.ErrorContains(t, err, test.says)
		assert.Nil(t, b)
	}
}

// Bytes that are no value of the type are an error, and no panic; null is zero.
func TestValueRefuses(t *testing.T) {
	decoders := map[string]func(cassandratest.Value) error{
		"Int":       func(v cassandratest.Value) error { _, err := v.Int(); return err },
		"Double":    func(v cassandratest.Value) error { _, err := v.Double(); return err },
		"Boolean":   func(v cassandratest.Value) error { _, err := v.Boolean(); return err },
		"Timestamp": func(v cassandratest.Value) error { _, err := v.Timestamp(); return err },
		"UUID":      func(v cassandratest.Value) error { _, err := v.UUID(); return err },
		"TextList":  func(v cassandratest.Value) error { _, err := v.TextList(); return err },
		"TextMap":   func(v cassandratest.Value) error { _, err := v.TextMap(); return err },
	}
	for name, decode := range decoders {
		require.NoError(t, decode(cassandratest.Value{}), name)
		require.NoError(t, decode(cassandratest.Value{Unset: true}), name)
		require.ErrorContains(t, decode(cassandratest.Value{Bytes: []byte{1, 2, 3}}), "cassandratest: ", name)
		require.Error(t, decode(cassandratest.Value{Bytes: make([]byte, 17)}), name)
	}
	for _, bytes := range []string{
		"\x00\x00\x00\x02\x00\x00\x00\x01x", // two elements announced
		"\x7f\xff\xff\xff",                  // very many
		"\xff\xff\xff\xff",                  // fewer than none
		"\x00\x00\x00\x00x",                 // none, and a byte
		"\x00\x00\x00\x01\x00\x00\x00\x02x", // beyond the end
	} {
		require.Error(t, decoders["TextList"](cassandratest.Value{Bytes: []byte(bytes)}), "%q", bytes)
		require.Error(t, decoders["TextMap"](cassandratest.Value{Bytes: []byte(bytes)}), "%q", bytes)
	}
}
