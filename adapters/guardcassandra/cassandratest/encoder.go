package cassandratest

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxAnswer is the longest body that is sent: what drivers accept.
const maxAnswer = 256 << 20

// An encoder writes a body: section 3 of the specification. An error sticks.
type encoder struct {
	b   []byte
	err error
}

func (e *encoder) byte(v byte) {
	e.b = append(e.b, v)
}

func (e *encoder) short(v uint16) {
	e.b = binary.BigEndian.AppendUint16(e.b, v)
}

// count writes how many of something follow, as a short.
func (e *encoder) count(n int, what string) {
	if n > math.MaxUint16 {
		e.fail("%s: %d of them, want at most %d", what, n, math.MaxUint16)
		return
	}
	e.short(uint16(n)) //nolint:gosec // G115: checked above
}

func (e *encoder) int(v int) {
	if v < math.MinInt32 || v > math.MaxInt32 {
		e.fail("%d does not fit into 32 bits", v)
		return
	}
	e.b = binary.BigEndian.AppendUint32(e.b, uint32(int32(v))) //nolint:gosec // G115: checked above
}

func (e *encoder) string(s string) {
	e.count(len(s), "the bytes of a string")
	if e.err == nil {
		e.b = append(e.b, s...)
	}
}

func (e *encoder) strings(list []string) {
	e.count(len(list), "strings")
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) shortBytes(b []byte) {
	e.string(string(b))
}

// bytes writes nil as null.
func (e *encoder) bytes(b []byte) {
	if b == nil {
		e.int(-1)
		return
	}
	if len(b) > maxAnswer-len(e.b) {
		e.fail("the answer has more than %d bytes", maxAnswer)
		return
	}
	e.int(len(b))
	e.b = append(e.b, b...)
}

func (e *encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("cassandratest: "+format, args...)
	}
}

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}
