package genesys_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard/genesys"
)

func pack(t *testing.T, text string, to func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := to(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func deflated(w io.Writer) io.WriteCloser {
	f, _ := flate.NewWriter(w, flate.BestCompression)
	return f
}

func zlibbed(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }

func TestEncodings(t *testing.T) {
	const failure = `{"statusCode":1,"messages":[]}`
	for _, test := range []struct {
		name, encoding, body string
		want                 string
	}{
		{"gzip", "gzip", pack(t, failure, gzipped), "failed"},
		{"any case", " GZip ", pack(t, failure, gzipped), "failed"},
		{"x-gzip", "x-gzip", pack(t, failure, gzipped), "failed"},
		{"deflate", "deflate", pack(t, failure, zlibbed), "failed"},
		{"deflate without zlib", "deflate", pack(t, failure, deflated), "failed"},
		{"identity", "identity", failure, "failed"},
		{"its end is missing", "gzip", pack(t, failure, gzipped)[:30], "failed"},
		{"all but its header is", "gzip", pack(t, failure, gzipped)[:15], "default"},
		{"and that, too", "gzip", pack(t, failure, gzipped)[:5], "default"},
		{"claimed, but is not", "gzip", failure, "default"},
		{"is, but not claimed", "", pack(t, failure, gzipped), "default"},
		{"not known", "br", failure, "default"},
		{"two", "gzip, gzip", pack(t, failure, gzipped), "default"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := judge(genesys.GMS, answer(200, "", "Content-Encoding", test.encoding), test.body)
			require.Equal(t, test.want, got.String())
		})
	}
}

// The head of a large body ends in the middle of the stream.
func TestEncodingOfALargeBody(t *testing.T) {
	noise := make([]byte, 200<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = 'a' + byte(r.IntN(26))
	}
	body := pack(t, `{"statusCode":1,"messages":"`+string(noise)+`"}`, gzipped)
	require.Greater(t, len(body), 64<<10)
	require.Equal(t, failed, judge(genesys.GMS, answer(200, "", "Content-Encoding", "gzip"), body[:64<<10]))
}

// 64 KiB can hold 64 MiB, of which no more than 64 KiB is kept.
func TestBombs(t *testing.T) {
	for name, to := range map[string]func(io.Writer) io.WriteCloser{"gzip": gzipped, "deflate": deflated} {
		bomb := pack(t, strings.Repeat(" ", 4<<20)+`{"statusCode":1}`, to)
		bomb = bomb[:min(len(bomb), 64<<10)]
		resp := answer(200, "", "Content-Encoding", name)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		o := judge(genesys.GMS, resp, bomb)
		runtime.ReadMemStats(&after)
		require.Equal(t, byStatus, o)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

// Depth, and a great many members, cost no memory.
func TestJSONWithoutBound(t *testing.T) {
	for name, body := range map[string]string{
		"deep":    `{"a":` + strings.Repeat(`[`, 64<<10),
		"deeper":  `{"a":` + strings.Repeat(`{"a":`, 12<<10),
		"members": `{` + strings.Repeat(`"a":1,`, 10<<10),
		"quotes":  `{` + strings.Repeat(`"`, 64<<10),
		"escapes": `{"` + strings.Repeat(`\`, 64<<10),
	} {
		resp, head := answer(200, ""), []byte(body)
		n := testing.AllocsPerRun(5, func() { genesys.GMS.ClassifyBody(resp, head) })
		require.LessOrEqual(t, n, 4.0, name)
	}
}
