package cassandratest

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// A Handler answers the statements it was registered for; see [Server.Handle].
type Handler func(*Request) Response

// A Request is a statement, or a batch of them, that a driver wants executed.
type Request struct {
	// Statement is the text, with its white space normalised; of a batch, that
	// of the first statement.
	Statement string
	// Values are those of the statement's markers, as many as it has; of a
	// batch, those of the first statement.
	Values []Value
	// Statements are those of a batch, in order; nil if it is none.
	Statements []Statement
	// Batch says that it is a batch.
	Batch bool
	// Consistency is the level asked for, by its number in the protocol.
	Consistency uint16
	// PageSize is how many rows are wanted at most; 0: all.
	PageSize int
	// PageState is the [Rows.Next] of the page before; nil for the first page.
	PageState []byte
	// Keyspace is the one that the connection uses; "" if it uses none.
	Keyspace string

	done <-chan struct{}
}

// Done returns a channel that is closed when the connection is gone, and with it
// whoever waits for the answer. It is for handlers that block.
func (r *Request) Done() <-chan struct{} {
	return r.done
}

// A Statement is one of a batch.
type Statement struct {
	// Text is the statement, with its white space normalised.
	Text string
	// Values are those of its markers, as many as it has.
	Values []Value
}

// The flags of a query's parameters.
const (
	queryValues            = 0x01
	queryPageSize          = 0x04
	queryPagingState       = 0x08
	querySerialConsistency = 0x10
	queryTimestamp         = 0x20
	queryNames             = 0x40
)

// A bound is a statement as it arrived: its text, or the id it was prepared as.
type bound struct {
	text   string
	id     []byte
	values []Value
}

// A call is what a QUERY, EXECUTE or BATCH frame asks for.
type call struct {
	statements  []bound
	batch       bool
	consistency uint16
	pageSize    int
	pageState   []byte
}

var errNames = errors.New("values by name are not served, only those for ? in order")

// decodeCall reads a QUERY, EXECUTE or BATCH frame. It returns an error for
// every other, and for a body that does not hold what it should.
func decodeCall(f frame) (call, error) {
	d := decoder{b: f.body}
	var c call
	switch f.op { //nolint:exhaustive // only these ask for statements
	case opQuery:
		c.statements = []bound{{text: d.longString()}}
		c.parameters(&d)
	case opExecute:
		c.statements = []bound{{id: d.shortBytes()}}
		c.parameters(&d)
	case opBatch:
		c.batched(&d)
	default:
		return call{}, fmt.Errorf("opcode %#x is no statement", byte(f.op))
	}
	return c, d.err
}

// parameters reads what follows the statement of a QUERY or an EXECUTE.
func (c *call) parameters(d *decoder) {
	c.consistency = d.short()
	flags := d.byte()
	if flags&queryNames != 0 {
		d.fail(errNames)
	}
	if flags&queryValues != 0 {
		c.statements[0].values = d.values()
	}
	if flags&queryPageSize != 0 {
		c.pageSize = max(0, d.int())
	}
	if flags&queryPagingState != 0 {
		c.pageState = d.bytes()
	}
	skipTail(d, flags)
}

// batched reads the body of a BATCH.
func (c *call) batched(d *decoder) {
	c.batch = true
	if kind := d.byte(); kind > 2 {
		d.fail(fmt.Errorf("the batch is of type %d, want 0, 1 or 2", kind))
	}
	values := 0
	for n := d.short(); n > 0 && d.err == nil; n-- {
		var s bound
		switch kind := d.byte(); kind {
		case 0:
			s.text = d.longString()
		case 1:
			s.id = d.shortBytes()
		default:
			d.fail(fmt.Errorf("a statement of the batch is of kind %d, want 0 or 1", kind))
		}
		s.values = d.values()
		c.statements = append(c.statements, s)
		// A null takes 4 bytes of the body and 8 times that here.
		if values += len(s.values); values > math.MaxUint16 {
			d.fail(fmt.Errorf("the batch has more than %d values", math.MaxUint16))
		}
	}
	c.consistency = d.short()
	flags := d.byte()
	if flags&queryNames != 0 {
		d.fail(errNames)
	}
	skipTail(d, flags)
	if len(c.statements) == 0 {
		d.fail(errors.New("the batch has no statement"))
	}
}

// skipTail reads over the serial consistency and the timestamp.
func skipTail(d *decoder, flags byte) {
	if flags&querySerialConsistency != 0 {
		d.short()
	}
	if flags&queryTimestamp != 0 {
		d.take(8, "a timestamp")
	}
}

// normalise makes statements that differ in white space, or in a semicolon at
// the end, the same.
func normalise(statement string) string {
	return strings.TrimRight(strings.Join(strings.Fields(statement), " "), "; ")
}

// markerCount counts the ? of a statement that are no part of a literal, a quoted
// name or a comment.
func markerCount(statement string) (n int) {
	for i := 0; i < len(statement); i++ {
		rest := statement[i:]
		switch c := rest[0]; {
		case c == '?':
			n++
		case c == '\'' || c == '"':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				return n
			}
			i += end + 1
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return n
			}
			i += end + 3
		}
	}
	return n
}
