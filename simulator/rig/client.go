package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A client sends requests, each on the connection that was idle last, or on a new
// one. It is not net/http's because that needs two more goroutines a connection,
// whose time the server lacks: the two share the machine.
type client struct {
	addr string

	mu   sync.Mutex // guards the fields below
	idle []*clientConn
}

type clientConn struct {
	net.Conn
	r *bufio.Reader
}

// get returns the status of the answer to a request. Who has none until the
// deadline hangs up.
func (c *client) get(deadline time.Time) (status int, err error) {
	cn, err := c.conn(deadline)
	if err != nil {
		return 0, err
	}
	status, again, err := cn.get(deadline)
	if err != nil || !again {
		return status, errors.Join(err, cn.Close())
	}
	c.mu.Lock()
	c.idle = append(c.idle, cn)
	c.mu.Unlock()
	return status, nil
}

func (c *client) conn(deadline time.Time) (*clientConn, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		cn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return cn, nil
	}
	c.mu.Unlock()
	d := net.Dialer{Deadline: deadline}
	conn, err := d.Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	return &clientConn{conn, bufio.NewReaderSize(conn, 1024)}, nil
}

// get reports in again whether the connection can be used for another request.
func (cn *clientConn) get(deadline time.Time) (status int, again bool, err error) {
	if err := cn.SetDeadline(deadline); err != nil {
		return 0, false, err
	}
	if _, err := io.WriteString(cn, "GET / HTTP/1.1\r\nHost: rig\r\n\r\n"); err != nil {
		return 0, false, err
	}
	resp, err := http.ReadResponse(cn.r, nil)
	if err != nil {
		return 0, false, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, !resp.Close, errors.Join(err, resp.Body.Close())
}

// close closes the connections that are idle.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.idle {
		_ = cn.Close() // nothing is to be read any more
	}
	c.idle = nil
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
