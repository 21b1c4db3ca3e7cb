package cassandratest_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// A frame that announces 16 MiB and holds next to nothing takes next to nothing.
func TestAnnouncedBytesAreNotAllocated(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const frames = 1000
	for range frames {
		_, err := cassandratest.ReadFrame(bytes.NewReader([]byte("\x04\x00\x00\x09\x07\x01\x00\x00\x00x")))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(frames*64<<10))
}

// The largest frame is read whole.
func TestLargestFrame(t *testing.T) {
	b := request(1, 0x07, bytes.Repeat([]byte("x"), 16<<20))
	body, err := cassandratest.ReadFrame(bytes.NewReader(b))
	require.NoError(t, err)
	assert.Equal(t, b[9:], body)
}

// query is a QUERY frame for a statement with one value.
func query(stream uint16, statement, value string) []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(statement)))
	body = append(body, statement...)
	body = append(body, 0, 1, 1, 0, 1)
	body = binary.BigEndian.AppendUint32(body, uint32(len(value)))
	return request(stream, 0x07, append(body, value...))
}

// A connection whose statements hold 64 MiB, or are as many as it has streams,
// is read no further until some are answered.
func TestUnansweredStatementsAreBounded(t *testing.T) {
	for name, test := range map[string]struct{ size, sent, handled int }{
		"by their sizes":  {10 << 20, 20, 6},
		"by their number": {1, 33000, 32768},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := cassandratest.NewServer()
				let := make(chan struct{})
				server.Handle("SELECT v FROM t WHERE k = ?", func(*cassandratest.Request) cassandratest.Response {
					<-let
					return cassandratest.Void{}
				}, cassandratest.Blob)
				ours, theirs := net.Pipe()
				defer ours.Close()
				require.True(t, server.ServeConn(theirs))
				c := raw{t, ours}
				c.send(startup())
				_, _, _, err := c.receive()
				require.NoError(t, err)
				value := string(make([]byte, test.size))
				go func() {
					for i := range test.sent {
						c.send(query(uint16(i%1000), "SELECT v FROM t WHERE k = ?", value))
					}
				}()
				synctest.Wait()
				assert.Equal(t, test.handled+1, server.Requests(), "those that are handled, and one that waits")
				for range test.sent {
					select {
					case let <- struct{}{}:
					case <-time.After(time.Hour):
						require.Fail(t, "a statement is not handled")
					}
					_, _, _, err := c.receive()
					require.NoError(t, err)
				}
				assert.Equal(t, test.sent, server.Requests())
				require.NoError(t, server.Close())
			})
		})
	}
}

// Close waits for the handlers that run.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := cassandratest.NewServer()
		ended := false
		server.Handle("SELECT v FROM t WHERE k = ?", func(q *cassandratest.Request) cassandratest.Response {
			<-q.Done()
			time.Sleep(time.Hour)
			ended = true
			return cassandratest.Void{}
		})
		ours, theirs := net.Pipe()
		defer ours.Close()
		require.True(t, server.ServeConn(theirs))
		c := raw{t, ours}
		c.send(startup())
		_, _, _, err := c.receive()
		require.NoError(t, err)
		c.send(query(1, "SELECT v FROM t WHERE k = ?", "x"))
		synctest.Wait()
		began := time.Now()
		require.NoError(t, server.Close())
		assert.Equal(t, time.Hour, time.Since(began))
		assert.True(t, ended)
	})
}

// What is decoded is no longer than what arrived.
func FuzzDecode(f *testing.F) {
	f.Add(byte(0x07), query(1, "SELECT v FROM t WHERE k = ?", "x")[9:])
	f.Add(byte(0x0A), []byte("\x00\x02id\x00\x01\x3d\x00\x01\xff\xff\xff\xfe\x00\x00\x00\x05\x00\x00\x00\x04\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add(byte(0x0D), []byte("\x00\x00\x02\x00\x00\x00\x00\x01x\x00\x00\x01\x00\x02id\x00\x01\x00\x00\x00\x01y\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, op byte, body []byte) {
		texts, values, err := cassandratest.DecodeCall(op, body)
		if op != 0x07 && op != 0x0A && op != 0x0D && err == nil {
			t.Fatalf("opcode %#x is a statement", op)
		}
		total := 0
		for _, n := range append(texts, values...) {
			total += n
		}
		if total > len(body) || len(values) > 2*65535 || len(texts) > len(body)+1 {
			t.Fatalf("%d bytes became %d statements and %d values of %d bytes", len(body), len(texts), len(values), total)
		}
	})
}

// Whatever arrives, every answer is a frame, and the server can be closed.
func FuzzServe(f *testing.F) {
	const statement = "SELECT v FROM t WHERE k = ?"
	good := append(request(2, 0x09, []byte("\x00\x00\x00\x1b"+statement)), query(3, statement, "x")...)
	f.Add(request(1, 0x05, nil), false)
	f.Add(startup(), false)
	f.Add(good, true)
	f.Add(query(1, "SELECT * FROM system.local WHERE key='local'", "")[:60], true)
	for _, s := range []string{
		"USE ks", `USE "`, "USE ", "SELECT cluster_name,tokens FROM system.peers_v2", "select from system.", "SELECT from system.peers", "SELECT * FROM",
		"CREATE TABLE IF NOT EXISTS ks.t (k int)", "CREATE KEYSPACE", "DROP TYPE ks.", "ALTER TABLE", "?'?", "/*?",
	} {
		f.Add(request(4, 0x07, append(append([]byte{0, 0, 0, byte(len(s))}, s...), 0, 1, 0)), true)
	}
	f.Add([]byte("\x04\x04\x00\x01\x05\x00\x00\x00\x08\x00\x01\x00\x00\xff\xff\xff\xff"), true)
	f.Fuzz(func(t *testing.T, sent []byte, started bool) {
		server := cassandratest.NewServer()
		server.Handle(statement, func(q *cassandratest.Request) cassandratest.Response {
			v := q.Values[0]
			_, _ = v.Int()
			_, _ = v.UUID()
			_, _ = v.TextList()
			_, _ = v.TextMap()
			return cassandratest.Rows{Columns: []cassandratest.Column{{Name: "v"}}, Values: [][]any{{"x"}, {"y"}}}.Page(q)
		})
		ours, theirs := net.Pipe()
		require.NoError(t, ours.SetDeadline(time.Now().Add(patience)))
		defer ours.SetDeadline(time.Time{}) // its timer would keep the pipe
		require.True(t, server.ServeConn(theirs))
		read := make(chan struct{})
		go func() {
			defer close(read)
			for {
				if _, op, body, err := (raw{t, ours}).receive(); err != nil || op == 0x00 && len(body) < 6 {
					return
				}
			}
		}()
		c := raw{t, ours}
		if started {
			c.send(startup())
		}
		_, err := c.Write(sent)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, ours.Close())
		require.NoError(t, server.Close())
		<-read
	})
}
