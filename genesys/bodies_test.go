package genesys_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/genesys"
)

// serveRaw answers each request with what reply says, byte for byte, and closes
// the connection. It returns its URL.
func serveRaw(t *testing.T, reply func(path string) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, reply(r.URL.Path))
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return "http://" + l.Addr().String()
}

// However an answer comes, and wherever it breaks off: who reads it through the
// breaker, and after CheckResponse, reads what he would have read without them.
func TestBodiesAreHandedOnAsTheyCame(t *testing.T) {
	const failure = `{"statusCode":1,"messages":[]}`
	gz, big := pack(t, failure, gzipped), `{"statusCode":1,"x":"`+strings.Repeat("x", 200<<10)+`"}`
	head := func(status string, header ...string) string {
		return "HTTP/1.1 " + status + "\r\n" + strings.Join(append(header, "Connection: close"), "\r\n") + "\r\n\r\n"
	}
	length := func(s string, more int) string { return fmt.Sprint("Content-Length: ", len(s)+more) }
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	replies := map[string]string{
		"/length":              head("200 OK", length(failure, 0)) + failure,
		"/until-close":         head("200 OK") + failure,
		"/chunked":             head("200 OK", "Transfer-Encoding: chunked") + chunk(failure[:9]) + chunk(failure[9:]) + "0\r\n\r\n",
		"/chunked-trailer":     head("200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum") + chunk(failure) + "0\r\nX-Sum: 7\r\n\r\n",
		"/chunked-cut":         head("200 OK", "Transfer-Encoding: chunked") + chunk(failure) + "5\r\nab",
		"/chunked-bad":         head("200 OK", "Transfer-Encoding: chunked") + chunk(failure) + "zz\r\n",
		"/short":               head("200 OK", length(failure, 9)) + failure,
		"/long":                head("200 OK", length(failure, -3)) + failure,
		"/big":                 head("200 OK", length(big, 0)) + big,
		"/big-cut":             head("200 OK", length(big, 9)) + big,
		"/gzip":                head("200 OK", length(gz, 0), "Content-Encoding: gzip") + gz,
		"/gzip-members":        head("200 OK", length(gz+gz, 0), "Content-Encoding: gzip") + gz + gz,
		"/gzip-cut":            head("200 OK", length(gz[:30], 0), "Content-Encoding: gzip") + gz[:30],
		"/gzip-no-header":      head("200 OK", length(gz[:5], 0), "Content-Encoding: gzip") + gz[:5],
		"/gzip-not":            head("200 OK", length(failure, 0), "Content-Encoding: gzip") + failure,
		"/gzip-bomb":           head("200 OK", "Content-Encoding: gzip") + pack(t, failure+strings.Repeat(" ", 8<<20), gzipped),
		"/empty":               head("200 OK", "Content-Length: 0"),
		"/empty-chunked":       head("200 OK", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"/204":                 head("204 No Content"),
		"/204-with-a-length":   head("204 No Content", "Content-Length: 5"),
		"/304":                 head("304 Not Modified", length(failure, 0)),
		"/early-hints":         head("103 Early Hints", "Link: </x>") + head("200 OK", length(failure, 0)) + failure,
		"/continue":            head("100 Continue") + head("500 Internal Server Error", length(failure, 0)) + failure,
		"/500-cut":             head("500 Internal Server Error", length(failure, 9)) + failure,
		"/latin1":              head("200 OK", "Content-Type: application/json;charset=ISO-8859-1", "Content-Length: 22") + "{\"statusCode\":1,\"a\":\xe9}",
		"/byte-order-mark":     head("200 OK") + "\xef\xbb\xbf" + failure,
		"/one-huge-token":      head("200 OK") + `{"statusCode":` + strings.Repeat("1", 1<<20),
		"/two-lengths":         head("200 OK", "Content-Length: 3", "Content-Length: 4") + "abcd",
		"/nothing":             "",
		"/length-and-chunked":  head("200 OK", "Content-Length: 3", "Transfer-Encoding: chunked") + chunk(failure) + "0\r\n\r\n",
		"/a-status-of-no-kind": head("999 Odd", length(failure, 0)) + failure,
	}
	address := serveRaw(t, func(path string) string { return replies[path] })
	for _, gzipItself := range []bool{false, true} {
		for path := range replies {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				want := fetchRaw(t, &http.Client{Transport: transport(t)}, nil, method, address+path, gzipItself)
				for _, p := range []genesys.Product{genesys.GMS, genesys.GWS, genesys.Cloud} {
					d := depend(t, p, guard.DependencyConfig{MinCalls: 100}, nil)
					got := fetchRaw(t, d.client, func(resp *http.Response) { _ = p.CheckResponse(d.Dependency, resp) }, method, address+path, gzipItself)
					require.Equal(t, want.text, got.text, "%v %s %s", p, method, path)
					require.Equal(t, want.body, got.body, "%v %s %s", p, method, path)
					require.Equal(t, want.err == nil, got.err == nil, "%v %s %s: %v and %v", p, method, path, want.err, got.err)
					if want.err != nil {
						last := want.err
						for errors.Unwrap(last) != nil {
							last = errors.Unwrap(last)
						}
						require.ErrorContains(t, got.err, last.Error(), "%v %s %s", p, method, path)
					}
					c := d.counts()
					require.EqualValues(t, 1, c.Succeeded+c.Failed+c.Answered, "%v %s %s is counted once: %+v", p, method, path, c)
				}
			}
		}
	}
}

// A body that is closed is that, also where CheckResponse has read its head.
func TestClosedBodies(t *testing.T) {
	for _, size := range []int{9, 200 << 10} {
		body, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, strings.Repeat("x", size))
			_ = w.Close()
		}()
		resp := answer(500, "")
		resp.Body = body
		require.Error(t, genesys.GWS.CheckResponse(nil, resp))
		require.NoError(t, resp.Body.Close())
		n, err := resp.Body.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, io.ErrClosedPipe)
	}
}

// raw is what has come of a request.
type raw struct {
	text string // all but the body
	body string
	err  error
}

func fetchRaw(t *testing.T, c *http.Client, look func(*http.Response), method, address string, gzipItself bool) (got raw) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	if gzipItself {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	resp, err := c.Do(r)
	if err != nil {
		return raw{err: err}
	}
	if look != nil {
		look(resp)
	}
	b, err := io.ReadAll(resp.Body)
	got = raw{
		text: fmt.Sprint(resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Uncompressed, resp.Trailer),
		body: string(b), err: err,
	}
	_, again := resp.Body.Read(make([]byte, 1))
	require.Error(t, again, "the end is the end")
	require.NoError(t, resp.Body.Close())
	require.NoError(t, resp.Body.Close(), "and again")
	return got
}
