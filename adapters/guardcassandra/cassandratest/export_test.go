package cassandratest

import (
	"io"
	"net"
	"net/netip"
)

// NewServer returns a server that listens nowhere.
func NewServer() *Server {
	return newServer(netip.MustParseAddrPort("127.0.0.1:9042"))
}

// ServeConn serves a connection to a server that does not listen.
func (s *Server) ServeConn(nc net.Conn) bool {
	return s.admit(nil, nc)
}

// ReadFrame reads a frame and returns its body.
func ReadFrame(r io.Reader) ([]byte, error) {
	f, err := readFrame(r)
	return f.body, err
}

// DecodeCall decodes the body of a frame. It returns the sizes of the text or
// id of each statement, and those of its values.
func DecodeCall(op byte, body []byte) (texts, values []int, err error) {
	c, err := decodeCall(frame{op: opcode(op), body: body})
	for _, s := range c.statements {
		texts = append(texts, len(s.text)+len(s.id))
		for _, v := range s.values {
			values = append(values, len(v.Bytes))
		}
	}
	return texts, values, err
}

// Prepared returns how many statements are prepared.
func (s *Server) Prepared() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.prepared)
}
