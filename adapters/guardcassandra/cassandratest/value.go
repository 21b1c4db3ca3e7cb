package cassandratest

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// A Value is one that a driver sent for a marker, as the protocol has it. Its
// methods read it as a type; they never fail on a value of that type, and
// return zero for null and for unset.
type Value struct {
	// Bytes are the value; nil is null, and may then be Unset.
	Bytes []byte
	// Unset says that the marker's column is to be left as it is.
	Unset bool
}

// Text returns a text, ascii or blob.
func (v Value) Text() string {
	return string(v.Bytes)
}

// Int returns an int, bigint, counter, or the milliseconds of a timestamp; it
// returns an error if there are not 4 or 8 bytes.
func (v Value) Int() (int64, error) {
	switch len(v.Bytes) {
	case 0:
		return 0, nil
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v.Bytes))), nil //nolint:gosec // G115: two's complement is what the protocol has
	case 8:
		return int64(binary.BigEndian.Uint64(v.Bytes)), nil //nolint:gosec // G115: as above
	}
	return 0, v.sizeError("integer", "4 or 8")
}

// Double returns a double; it returns an error if there are not 8 bytes.
func (v Value) Double() (float64, error) {
	switch len(v.Bytes) {
	case 0:
		return 0, nil
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(v.Bytes)), nil
	}
	return 0, v.sizeError("double", "8")
}

// Boolean returns a boolean; it returns an error if there is not 1 byte.
func (v Value) Boolean() (bool, error) {
	switch len(v.Bytes) {
	case 0:
		return false, nil
	case 1:
		return v.Bytes[0] != 0, nil
	}
	return false, v.sizeError("boolean", "1")
}

// Timestamp returns a timestamp, in UTC; it returns an error if there are not 8
// bytes.
func (v Value) Timestamp() (time.Time, error) {
	if len(v.Bytes) == 0 {
		return time.Time{}, nil
	}
	if len(v.Bytes) != 8 {
		return time.Time{}, v.sizeError("timestamp", "8")
	}
	ms, err := v.Int()
	return time.UnixMilli(ms).UTC(), err
}

// UUID returns a uuid or timeuuid; it returns an error if there are not 16
// bytes.
func (v Value) UUID() (id [16]byte, err error) {
	switch len(v.Bytes) {
	case 0:
	case 16:
		copy(id[:], v.Bytes)
	default:
		err = v.sizeError("uuid", "16")
	}
	return id, err
}

// TextList returns a list<text> or set<text>; it returns an error if the bytes
// are none.
func (v Value) TextList() ([]string, error) {
	return v.texts(1)
}

// TextMap returns a map<text, text>; it returns an error if the bytes are none.
func (v Value) TextMap() (map[string]string, error) {
	flat, err := v.texts(2)
	if err != nil || flat == nil {
		return nil, err
	}
	m := make(map[string]string, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		m[flat[i]] = flat[i+1]
	}
	return m, nil
}

// texts returns the texts of a collection, whose elements have so many each.
func (v Value) texts(each int) (texts []string, err error) {
	if len(v.Bytes) == 0 {
		return nil, nil
	}
	d := decoder{b: v.Bytes}
	n := d.int()
	texts = []string{}
	for ; n > 0 && d.err == nil; n-- {
		for range each {
			texts = append(texts, string(d.bytes()))
		}
	}
	if d.err == nil && (n < 0 || len(d.b) > 0) {
		d.err = fmt.Errorf("%d elements more and %d bytes left, want none", n, len(d.b))
	}
	if d.err != nil {
		return nil, fmt.Errorf("cassandratest: collection: %w", d.err)
	}
	return texts, nil
}

func (v Value) sizeError(what, want string) error {
	return fmt.Errorf("cassandratest: %s has %d bytes, want %s", what, len(v.Bytes), want)
}
