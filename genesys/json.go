package genesys

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"strconv"
)

// members yields the members of the JSON object that b begins with, in order, as
// far as they are whole: b may be cut off anywhere. A value is the text of a
// string, with its quotes, a number or a literal; of an object and an array it is
// nil. It neither validates nor allocates, but for names with escapes, and ends
// where it cannot read on.
//
// encoding/json cannot do that: it wants the whole of a document, and its size
// in memory.
func members(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		b := space(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
		if len(b) == 0 || b[0] != '{' {
			return
		}
		for {
			b = space(b[1:])
			n := quoted(b)
			if n == 0 {
				return
			}
			name := b[1 : n-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				name = []byte(text(b[:n]))
			}
			if b = space(b[n:]); len(b) == 0 || b[0] != ':' {
				return
			}
			b = space(b[1:])
			n, scalar := valueEnd(b)
			if n == 0 {
				return
			}
			value := b[:n]
			if !scalar {
				value = nil
			}
			if !yield(name, value) {
				return
			}
			if b = space(b[n:]); len(b) == 0 || b[0] != ',' {
				return
			}
		}
	}
}

func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// quoted returns the length of the string that b begins with; 0: there is none.
func quoted(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// valueEnd returns the length of the value that b begins with (0: it is not
// whole), and whether it is neither an object nor an array.
func valueEnd(b []byte) (n int, scalar bool) {
	if len(b) == 0 {
		return 0, false
	}
	switch b[0] {
	case '"':
		return quoted(b), true
	case '{', '[':
		return nestedEnd(b), false
	}
	return max(bytes.IndexAny(b, ",}] \t\r\n"), 0), true
}

// nestedEnd returns the length of the object or array that b begins with. It
// counts brackets of both kinds as one, so that depth costs nothing.
func nestedEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := quoted(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// integer returns the integer that a value is, as a number or in a string.
func integer(value []byte) (int, bool) {
	value = bytes.TrimSpace(bytes.Trim(value, `"`))
	if len(value) == 0 || len(value) > 20 || len(bytes.Trim(value, "0123456789+-.eE")) > 0 {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<30 {
		return 0, false
	}
	return int(f), true
}

// text returns the string that a value is, and of a number its digits.
func text(value []byte) string {
	if len(value) == 0 {
		return ""
	}
	var s string
	if value[0] == '"' {
		_ = json.Unmarshal(value, &s) // what is malformed is ""
		return s
	}
	if _, ok := integer(value); ok {
		return string(value)
	}
	return ""
}
