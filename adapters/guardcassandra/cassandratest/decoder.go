package cassandratest

import (
	"encoding/binary"
	"fmt"
)

// A decoder reads a body: section 3 of the specification. After an error, which
// sticks, it reads zeros. What it returns shares the body's memory.
type decoder struct {
	b   []byte
	err error
}

// take returns the next n bytes; nil if there are not as many.
func (d *decoder) take(n int, what string) []byte {
	if d.err != nil {
		return nil
	}
	if n < 0 || n > len(d.b) {
		d.err = fmt.Errorf("%s needs %d bytes, the body has %d left", what, n, len(d.b))
		return nil
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

// fail keeps the first error.
func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) byte() byte {
	if b := d.take(1, "a byte"); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) short() uint16 {
	if b := d.take(2, "a short"); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) int() int {
	if b := d.take(4, "an int"); b != nil {
		return int(int32(binary.BigEndian.Uint32(b))) //nolint:gosec // G115: the field is signed
	}
	return 0
}

func (d *decoder) string() string {
	return string(d.take(int(d.short()), "a string"))
}

func (d *decoder) longString() string {
	return string(d.take(d.int(), "a long string"))
}

func (d *decoder) shortBytes() []byte {
	return d.take(int(d.short()), "short bytes")
}

// bytes returns nil, and no error, for a negative length, which means null.
func (d *decoder) bytes() []byte {
	n := d.int()
	if n < 0 {
		return nil
	}
	return d.take(n, "bytes")
}

func (d *decoder) value() Value {
	switch n := d.int(); {
	case n >= 0:
		return Value{Bytes: d.take(n, "a value")}
	case n == -1:
		return Value{}
	case n == -2:
		return Value{Unset: true}
	default:
		d.fail(fmt.Errorf("a value's length is %d, want >= -2", n))
		return Value{}
	}
}

// values reads as many values as the short before them says.
func (d *decoder) values() (values []Value) {
	for n := d.short(); n > 0 && d.err == nil; n-- {
		values = append(values, d.value())
	}
	return values
}

func (d *decoder) stringMap() map[string]string {
	m := map[string]string{}
	for n := d.short(); n > 0 && d.err == nil; n-- {
		key := d.string()
		m[key] = d.string()
	}
	return m
}

func (d *decoder) skipBytesMap() {
	for n := d.short(); n > 0 && d.err == nil; n-- {
		d.shortBytes()
		d.bytes()
	}
}
