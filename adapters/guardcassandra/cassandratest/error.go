package cassandratest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The codes that an error can have: section 9 of the specification of the native
// protocol, version 4, CodeCDCWriteFailure and CodeCASWriteUnknown from that of
// version 5. There are no others.
const (
	CodeServerError     = 0x0000
	CodeProtocolError   = 0x000A
	CodeBadCredentials  = 0x0100
	CodeUnavailable     = 0x1000
	CodeOverloaded      = 0x1001
	CodeIsBootstrapping = 0x1002
	CodeTruncateError   = 0x1003
	CodeWriteTimeout    = 0x1100
	CodeReadTimeout     = 0x1200
	CodeReadFailure     = 0x1300
	CodeFunctionFailure = 0x1400
	CodeWriteFailure    = 0x1500
	CodeCDCWriteFailure = 0x1600
	CodeCASWriteUnknown = 0x1700
	CodeSyntaxError     = 0x2000
	CodeUnauthorized    = 0x2100
	CodeInvalid         = 0x2200
	CodeConfigError     = 0x2300
	CodeAlreadyExists   = 0x2400
	CodeUnprepared      = 0x2500
	maxMessage          = 1000 // bytes of a message that are sent
)

// An Error is the answer to a statement that failed.
type Error struct {
	// Code says what failed; a driver may take one that is not of the list for
	// something else than an error of the server.
	Code int
	// Message is for people; "": a text that names the code.
	Message string

	// Consistency is the level of the statement, by its number in the protocol
	// (1 is ONE). It is sent with Unavailable, WriteTimeout, ReadTimeout,
	// ReadFailure, WriteFailure and CASWriteUnknown.
	Consistency uint16
	// Required and Alive are numbers of replicas, sent with Unavailable.
	Required, Alive int
	// Received and BlockFor are how many replicas answered and how many had to,
	// sent with WriteTimeout, ReadTimeout, ReadFailure, WriteFailure and
	// CASWriteUnknown.
	Received, BlockFor int
	// NumFailures is how many replicas failed, sent with ReadFailure and
	// WriteFailure. Which and why is only in version 5 of the protocol.
	NumFailures int
	// DataPresent says that the replica asked for the data answered, sent with
	// ReadTimeout and ReadFailure.
	DataPresent bool
	// WriteType is what was written: SIMPLE ("" is sent as that), BATCH,
	// UNLOGGED_BATCH, COUNTER, BATCH_LOG, CAS, VIEW or CDC. It is sent with
	// WriteTimeout and WriteFailure.
	WriteType string
	// Keyspace is sent with AlreadyExists and FunctionFailure.
	Keyspace string
	// Table is what exists, sent with AlreadyExists; "" if it is the keyspace.
	Table string
	// Function and ArgTypes are sent with FunctionFailure.
	Function string
	ArgTypes []string
	// StatementID is what is not prepared, sent with Unprepared; nil: the
	// statement that is being answered.
	StatementID []byte
}

// Error returns the code and the message.
func (e *Error) Error() string {
	return fmt.Sprintf("cassandratest: error %#04x: %s", e.Code, e.message())
}

func (e *Error) message() string {
	if e.Message != "" {
		return clip(e.Message)
	}
	return fmt.Sprintf("error %#04x on demand", e.Code)
}

func (e *Error) encode(w *encoder) opcode {
	w.int(e.Code)
	w.string(e.message())
	switch e.Code {
	case CodeUnavailable:
		w.short(e.Consistency)
		w.int(e.Required)
		w.int(e.Alive)
	case CodeWriteTimeout:
		e.replicas(w)
		w.string(e.writeType())
	case CodeReadTimeout:
		e.replicas(w)
		w.bool(e.DataPresent)
	case CodeReadFailure:
		e.replicas(w)
		w.int(e.NumFailures)
		w.bool(e.DataPresent)
	case CodeFunctionFailure:
		w.string(e.Keyspace)
		w.string(e.Function)
		w.strings(e.ArgTypes)
	case CodeWriteFailure:
		e.replicas(w)
		w.int(e.NumFailures)
		w.string(e.writeType())
	case CodeCASWriteUnknown:
		e.replicas(w)
	case CodeAlreadyExists:
		w.string(e.Keyspace)
		w.string(e.Table)
	case CodeUnprepared:
		w.shortBytes(e.StatementID)
	}
	return opError
}

func (e *Error) replicas(w *encoder) {
	w.short(e.Consistency)
	w.int(e.Received)
	w.int(e.BlockFor)
}

func (e *Error) writeType() string {
	if e.WriteType == "" {
		return "SIMPLE"
	}
	return e.WriteType
}

// invalid is the answer to a statement that cannot be executed.
func invalid(format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// clip shortens a message to what is worth sending.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	end := maxMessage
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.ToValidUTF8(s[:end], "?") + "…"
}
