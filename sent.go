package guard

import (
	"io"
	"sync/atomic"
)

// sentBody notes whether the body of a request could be read.
type sentBody struct{ broken atomic.Bool }

// wrap returns a body that tells. length is what was announced; 0 and below: it
// was not.
func (s *sentBody) wrap(body io.ReadCloser, length int64) io.ReadCloser {
	if length == 0 {
		length = -1
	}
	return &sentReader{ReadCloser: body, sent: s, left: length}
}

type sentReader struct {
	io.ReadCloser
	sent   *sentBody
	left   int64 // what was announced and has not come; negative if nothing was
	closed atomic.Bool
}

// Read implements io.Reader.
func (s *sentReader) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if s.left >= 0 {
		if s.left -= int64(n); s.left < 0 {
			s.sent.broken.Store(true) // more than was announced
		}
	}
	if err != nil && (err != io.EOF || s.left > 0) && !s.closed.Load() {
		s.sent.broken.Store(true)
	}
	return n, err
}

// Close implements io.Closer. What a read fails with after it, or because of it,
// is not why the exchange has ended.
func (s *sentReader) Close() error {
	s.closed.Store(true)
	return s.ReadCloser.Close()
}
