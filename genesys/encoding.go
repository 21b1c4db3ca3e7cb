package genesys

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
)

// looked is how much of a body is looked at, compressed and decompressed: what a
// guard.Dependency hands to a ClassifyBody.
const looked = 64 << 10

// plain returns head without the encoding that the header tells of, as far as
// it can be decoded, and at most as much as is looked at: 64 KiB of zeros would
// be 64 MiB. It returns nil for an encoding that it does not know.
func plain(h http.Header, head []byte) []byte {
	var r io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ","))) {
	case "", "identity":
		return head[:min(len(head), looked)]
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(head))
	case "deflate": // zlib by the standard, and what is inside it by many servers
		if r, err = zlib.NewReader(bytes.NewReader(head)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(head)), nil
		}
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(io.LimitReader(r, looked)) // head may end before the stream does
	return out
}
