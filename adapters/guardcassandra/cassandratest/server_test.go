package cassandratest_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

func TestListen(t *testing.T) {
	for addr, says := range map[string]string{
		"":               `address "": not an ip:port`,
		"localhost:0":    `address "localhost:0": `,
		"127.0.0.1":      `address "127.0.0.1": `,
		"0.0.0.0:0":      `address is "0.0.0.0:0", want one of loopback`,
		"[::]:0":         "want one of loopback",
		"192.0.2.1:9042": "want one of loopback",
	} {
		_, err := cassandratest.Listen(addr)
		require.ErrorContains(t, err, says)
	}
	server := start(t)
	_, err := cassandratest.Listen(server.Addr())
	require.Error(t, err, "the address is in use")
	again := server.Addr()
	require.NoError(t, server.Close())
	server, err = cassandratest.Listen(again)
	require.NoError(t, err)
	assert.Equal(t, again, server.Addr())
	require.NoError(t, server.Close())
}

// A driver that is not told the version finds it.
func TestNegotiation(t *testing.T) {
	server := start(t)
	server.Handle("SELECT v FROM t", void)
	cluster := clusterOf(server)
	cluster.ProtoVersion = 0
	require.NoError(t, connect(t, cluster).Query("SELECT v FROM t").Exec())
	cluster.ProtoVersion = 5
	_, err := cluster.CreateSession()
	require.ErrorContains(t, err, "unsupported protocol version 5")
}

func TestPasswords(t *testing.T) {
	server := start(t)
	server.SetPasswords(map[string]string{"ann": "secret", "bob": ""})
	cluster := clusterOf(server)
	_, err := cluster.CreateSession()
	require.ErrorContains(t, err, "authentication required")
	for _, wrong := range []gocql.PasswordAuthenticator{
		{Username: "ann", Password: "guess"},
		{Username: "bob", Password: "secret"},
		{Username: "eve", Password: ""},
		{Username: "ann", Password: "secret\x00"},
	} {
		cluster.Authenticator = wrong
		_, err = cluster.CreateSession()
		require.ErrorContains(t, err, "Provided username and/or password are incorrect")
	}
	cluster.Authenticator = gocql.PasswordAuthenticator{Username: "ann", Password: "secret"}
	connect(t, cluster)
	server.SetPasswords(nil)
	connect(t, clusterOf(server))
}

// A raw is a connection that is not a driver's.
type raw struct {
	tb testing.TB
	net.Conn
}

func dial(tb testing.TB, server *cassandratest.Server) raw {
	tb.Helper()
	c, err := net.Dial("tcp", server.Addr())
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close() })
	require.NoError(tb, c.SetDeadline(time.Now().Add(patience)))
	return raw{tb, c}
}

// request is a frame of a client, of version 4 and with no flags.
func request(stream uint16, op byte, body []byte) []byte {
	b := []byte{4, 0, 0, 0, op}
	binary.BigEndian.PutUint16(b[2:], stream)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
}

// startup is a STARTUP frame.
func startup() []byte {
	return request(1, 0x01, []byte("\x00\x01\x00\x0bCQL_VERSION\x00\x053.4.7"))
}

// send writes the bytes. It may fail, if the server has hung up.
func (r raw) send(b []byte) {
	_, _ = r.Write(b)
}

// receive reads a frame.
func (r raw) receive() (stream uint16, op byte, body []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	require.Equal(r.tb, byte(0x84), head[0], "the version, from a server")
	require.Zero(r.tb, head[1], "the flags")
	body = make([]byte, binary.BigEndian.Uint32(head[5:]))
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint16(head[2:]), head[4], body, err
}

// answers says whether a new connection is answered.
func answers(tb testing.TB, server *cassandratest.Server) bool {
	tb.Helper()
	c, err := net.Dial("tcp", server.Addr())
	if err != nil {
		return false
	}
	defer c.Close()
	require.NoError(tb, c.SetDeadline(time.Now().Add(patience)))
	r := raw{tb, c}
	r.send(request(1, 0x05, nil))
	_, op, _, err := r.receive()
	return err == nil && op == 0x06
}

// What no driver sends is answered with a protocol error, on the right stream,
// and the connection goes on where the next frame can be found.
func TestHostileFrames(t *testing.T) {
	const query, execute, batch = 0x07, 0x0A, 0x0D
	frame := func(header string, body ...byte) []byte { return append([]byte(header), body...) }
	text := []byte("\x00\x00\x00\x01x")
	values := func(rest string) []byte { return append(bytes.Clone(text), "\x00\x01\x01"+rest...) }
	for name, test := range map[string]struct {
		sent   []byte
		fresh  bool   // without STARTUP
		stream uint16 // of the answer
		says   string // in the answer
		closed bool   // and the connection is closed
	}{
		"version 5":              {frame("\x05\x00\x00\x09\x05\x00\x00\x00\x00"), true, 0, "unsupported protocol version (5)", true},
		"version 3":              {frame("\x03\x00\x00\x09\x05\x00\x00\x00\x00"), true, 0, "unsupported protocol version (3)", true},
		"from a server":          {frame("\x84\x00\x00\x09\x05\x00\x00\x00\x00"), true, 0, "unsupported protocol version (4)", true},
		"HTTP":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), true, 0, "unsupported protocol version (71)", true},
		"17 MiB":                 {frame("\x04\x00\x00\x09\x07\x01\x10\x00\x00"), false, 9, "want at most 16777216", true},
		"negative length":        {frame("\x04\x00\x00\x09\x07\xff\xff\xff\xff"), false, 9, "want at most 16777216", true},
		"compressed":             {frame("\x04\x01\x00\x09\x07\x00\x00\x00\x01", 0), false, 9, "compressed", true},
		"payload beyond the end": {frame("\x04\x04\x00\x09\x07\x00\x00\x00\x02", 0, 1), false, 9, "a short needs 2 bytes, the body has 0 left", true},
		"query before startup":   {request(9, query, values("\x00\x00")), true, 9, "Unexpected message", false},
		"prepare before startup": {request(9, 0x09, text), true, 9, "Unexpected message", false},
		"second startup":         {startup(), false, 1, "Unexpected message", false},
		"empty startup":          {request(9, 0x01, nil), true, 9, "a short needs 2 bytes", false},
		"startup with no CQL":    {request(9, 0x01, []byte{0, 0}), true, 9, "CQL_VERSION", false},
		"startup, compressed":    {request(9, 0x01, []byte("\x00\x02\x00\x0bCQL_VERSION\x00\x053.4.7\x00\x0bCOMPRESSION\x00\x03lz4")), true, 9, "Unknown compression algorithm: lz4", false},
		"password unasked":       {request(9, 0x0F, nil), false, 9, "Unexpected message", false},
		"no such opcode":         {request(9, 0x77, nil), false, 9, "opcode 0x77", false},
		"an answer":              {request(9, 0x08, nil), false, 9, "opcode 0x08", false},
		"empty query":            {request(9, query, nil), false, 9, "an int needs 4 bytes", false},
		"text beyond the end":    {request(9, query, []byte("\x7f\xff\xff\xffx")), false, 9, "needs 2147483647 bytes, the body has 1 left", false},
		"text of negative size":  {request(9, query, []byte("\xff\xff\xff\xffx")), false, 9, "needs -1 bytes", false},
		"no parameters":          {request(9, query, text), false, 9, "a short needs 2 bytes", false},
		"fewer values":           {request(9, query, values("\xff\xff\xff\xff\xff\xff")), false, 9, "an int needs 4 bytes", false},
		"value beyond the end":   {request(9, query, values("\x00\x01\x00\x00\x00\x05x")), false, 9, "a value needs 5 bytes", false},
		"value of size -3":       {request(9, query, values("\x00\x01\xff\xff\xff\xfd")), false, 9, "a value's length is -3", false},
		"values by name":         {request(9, query, append(bytes.Clone(text), 0, 1, 0x41, 0, 0)), false, 9, "values by name", false},
		"empty execute":          {request(9, execute, nil), false, 9, "a short needs 2 bytes", false},
		"empty batch":            {request(9, batch, []byte{0, 0, 0, 0, 1, 0}), false, 9, "the batch has no statement", false},
		"batch of no kind":       {request(9, batch, []byte{3, 0, 0, 0, 1, 0}), false, 9, "of type 3", false},
		"statement of no kind":   {request(9, batch, []byte{0, 0, 1, 2, 0, 0, 0, 0, 1, 0}), false, 9, "of kind 2", false},
		"fewer statements":       {request(9, batch, []byte{0, 0xff, 0xff}), false, 9, "a byte needs 1 bytes", false},
		"batch with names":       {request(9, batch, append([]byte{0, 0, 1, 0, 0, 0, 0, 1, 'x', 0, 0}, 0, 1, 0x40)), false, 9, "values by name", false},
		"batch of many values": {request(9, batch, append(append([]byte{0, 0, 2},
			bytes.Repeat(append([]byte{0, 0, 0, 0, 1, 'x', 0xff, 0xff}, bytes.Repeat([]byte{0xff}, 4*65535)...), 2)...), 0, 1, 0)), false, 9, "more than 65535 values", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			c := dial(t, server)
			if !test.fresh {
				c.send(startup())
				_, op, _, err := c.receive()
				require.NoError(t, err)
				require.Equal(t, byte(0x02), op)
			}
			c.send(test.sent)
			stream, op, body, err := c.receive()
			require.NoError(t, err)
			assert.Equal(t, test.stream, stream)
			require.Equal(t, byte(0x00), op)
			require.Equal(t, []byte{0, 0, 0, 0x0A}, body[:4], "a protocol error")
			assert.Contains(t, string(body), test.says)
			c.send(request(3, 0x05, nil))
			stream, _, _, err = c.receive()
			if test.closed {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				assert.Equal(t, uint16(3), stream)
			}
			assert.Zero(t, server.Requests())
			assert.True(t, answers(t, server), "others are served as ever")
		})
	}
}

// A handler is called with as many values as its statement has markers, whatever
// arrives: a driver would not send others.
func TestWrongNumberOfValues(t *testing.T) {
	server := start(t)
	server.Handle("SELECT v FROM t WHERE k = ?", void)
	c := dial(t, server)
	c.send(startup())
	_, _, _, err := c.receive()
	require.NoError(t, err)
	text := "\x00\x00\x00\x1bSELECT v FROM t WHERE k = ?"
	for name, sent := range map[string][]byte{
		"none":        request(9, 0x07, []byte(text+"\x00\x01\x00")),
		"two":         request(9, 0x07, []byte(text+"\x00\x01\x01\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff")),
		"in a batch":  request(9, 0x0D, []byte("\x00\x00\x01\x00"+text+"\x00\x00\x00\x01\x00")),
		"for another": request(9, 0x0D, []byte("\x00\x00\x02\x00"+text+"\x00\x01\xff\xff\xff\xff\x00"+text+"\x00\x00\x00\x01\x00")),
	} {
		c.send(sent)
		_, op, body, err := c.receive()
		require.NoError(t, err, name)
		require.Equal(t, byte(0x00), op, name)
		assert.Equal(t, []byte{0, 0, 0x22, 0}, body[:4], name)
		assert.Contains(t, string(body), "Invalid amount of bind variables", name)
	}
}

// A payload is for others than this server; what follows it is served.
func TestCustomPayload(t *testing.T) {
	server := start(t)
	server.Handle("SELECT v FROM t WHERE k = ?", void)
	session := connect(t, clusterOf(server))
	require.NoError(t, session.Query("SELECT v FROM t WHERE k = ?", "x").CustomPayload(map[string][]byte{"a": []byte("b"), "c": nil}).Exec())
}

// A frame that never ends holds up its own connection only, and ends with it.
func TestUnfinishedFrame(t *testing.T) {
	server := start(t)
	c := dial(t, server)
	c.send([]byte("\x04\x00\x00\x09\x05\x00\x10\x00\x00only this"))
	assert.True(t, answers(t, server))
	require.NoError(t, c.Close())
	eventually(t, func() bool { return server.OpenConnections() == 0 }, "the connection is given up")
}

// Who asks and does not read the answers is not read from for ever.
func TestPeerThatDoesNotRead(t *testing.T) {
	server := start(t)
	big := make([]byte, 1<<20)
	server.Handle("SELECT v FROM t", one(cassandratest.Blob, big))
	c := dial(t, server)
	c.send(startup())
	_, _, _, err := c.receive()
	require.NoError(t, err)
	const asked = 200
	for i := range asked {
		c.send(request(uint16(i), 0x07, append([]byte("\x00\x00\x00\x0fSELECT v FROM t"), 0, 1, 0)))
	}
	eventually(t, func() bool { return server.Requests() == asked }, "all are asked")
	assert.True(t, answers(t, server))
	require.NoError(t, server.Close(), "which takes down what is being written")
}
