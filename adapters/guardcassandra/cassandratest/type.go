package cassandratest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A Type is that of a column or of a marker.
type Type int

// The types that values can have; in brackets, the Go values that [Encode]
// takes for each, besides nil for null and [Encoded] for any.
const (
	Text      Type = iota // text (string, []byte)
	ASCII                 // ascii (string, []byte)
	Blob                  // blob ([]byte, string)
	Boolean               // boolean (bool)
	Int                   // int (any integer type)
	BigInt                // bigint (any integer type)
	Counter               // counter (any integer type)
	Double                // double (float64)
	Timestamp             // timestamp (time.Time)
	UUID                  // uuid (any [16]byte, string)
	TimeUUID              // timeuuid (any [16]byte, string)
	Inet                  // inet (netip.Addr)
	TextList              // list<text> ([]string)
	TextSet               // set<text> ([]string)
	TextMap               // map<text, text> (map[string]string)
)

// String returns the name of the type in CQL.
func (t Type) String() string {
	switch t {
	case Text:
		return "text"
	case ASCII:
		return "ascii"
	case Blob:
		return "blob"
	case Boolean:
		return "boolean"
	case Int:
		return "int"
	case BigInt:
		return "bigint"
	case Counter:
		return "counter"
	case Double:
		return "double"
	case Timestamp:
		return "timestamp"
	case UUID:
		return "uuid"
	case TimeUUID:
		return "timeuuid"
	case Inet:
		return "inet"
	case TextList:
		return "list<text>"
	case TextSet:
		return "set<text>"
	case TextMap:
		return "map<text, text>"
	}
	return fmt.Sprintf("Type(%d)", int(t))
}

// option is the type in the protocol: section 4.2.5.2 of the specification.
func (t Type) option() []uint16 {
	const varchar = 0x0D
	switch t {
	case Text:
		return []uint16{varchar}
	case ASCII:
		return []uint16{0x01}
	case Blob:
		return []uint16{0x03}
	case Boolean:
		return []uint16{0x04}
	case Int:
		return []uint16{0x09}
	case BigInt:
		return []uint16{0x02}
	case Counter:
		return []uint16{0x05}
	case Double:
		return []uint16{0x07}
	case Timestamp:
		return []uint16{0x0B}
	case UUID:
		return []uint16{0x0C}
	case TimeUUID:
		return []uint16{0x0F}
	case Inet:
		return []uint16{0x10}
	case TextList:
		return []uint16{0x20, varchar}
	case TextSet:
		return []uint16{0x22, varchar}
	case TextMap:
		return []uint16{0x21, varchar, varchar}
	}
	return nil
}

// Encoded is a value as the protocol has it; nil is null. [Encode] leaves it as
// it is, whatever the type.
type Encoded []byte

// Encode returns v as the protocol has it: section 6 of the specification. It
// returns nil, which is null, for nil, and an error naming type and value for
// what does not fit the type; [Type] says what does.
func Encode(t Type, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case Encoded:
		return v, nil
	}
	switch t {
	case Text, ASCII, Blob:
		switch v := v.(type) {
		case string:
			return []byte(v), nil
		case []byte:
			return notNil(v), nil
		}
	case Boolean:
		if v, ok := v.(bool); ok {
			if v {
				return []byte{1}, nil
			}
			return []byte{0}, nil
		}
	case Int:
		if n, ok := integer(v); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return binary.BigEndian.AppendUint32(nil, uint32(int32(n))), nil //nolint:gosec // G115: checked above
		}
	case BigInt, Counter:
		if n, ok := integer(v); ok {
			return bigInt(n), nil
		}
	case Double:
		if v, ok := v.(float64); ok {
			return binary.BigEndian.AppendUint64(nil, math.Float64bits(v)), nil
		}
	case Timestamp:
		if v, ok := v.(time.Time); ok {
			return bigInt(v.UnixMilli()), nil
		}
	case UUID, TimeUUID:
		if id, ok := uuid(v); ok {
			return id, nil
		}
	case Inet:
		if v, ok := v.(netip.Addr); ok && v.IsValid() {
			return v.AsSlice(), nil
		}
	case TextList, TextSet:
		if v, ok := v.([]string); ok {
			return collection(len(v), v)
		}
	case TextMap:
		if v, ok := v.(map[string]string); ok {
			var flat []string
			for _, key := range slices.Sorted(maps.Keys(v)) {
				flat = append(flat, key, v[key])
			}
			return collection(len(v), flat)
		}
	}
	return nil, fmt.Errorf("cassandratest: %T(%v) is no %v", v, v, t)
}

// bigInt is a long, big endian.
func bigInt(n int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // G115: two's complement is what the protocol has
}

// notNil keeps an empty value from becoming null.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// integer returns a value of any integer type; false for one above int64.
func integer(v any) (int64, bool) {
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return r.Int(), true
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return int64(r.Uint()), true //nolint:gosec // G115: checked above
	default:
		return 0, false
	}
}

// uuid returns the bytes of any [16]byte, such as a driver's UUID, or of the
// usual text.
func uuid(v any) ([]byte, bool) {
	if s, ok := v.(string); ok {
		id, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		return id, err == nil && len(id) == 16
	}
	plain := reflect.TypeFor[[16]byte]()
	if r := reflect.ValueOf(v); r.CanConvert(plain) {
		id, ok := reflect.TypeAssert[[16]byte](r.Convert(plain))
		return id[:], ok
	}
	return nil, false
}

// collection is n elements, which are one text each, or two in a map.
func collection(n int, texts []string) ([]byte, error) {
	var e encoder
	e.int(n)
	for _, s := range texts {
		e.bytes([]byte(s))
	}
	return e.b, e.err
}
