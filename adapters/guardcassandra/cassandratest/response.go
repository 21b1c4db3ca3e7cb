package cassandratest

import (
	"encoding/binary"
	"fmt"
)

// A Response is what a [Handler] answers: [Rows], [Void], [Applied] or an
// *[Error]. A nil Response, one that cannot be encoded, and a panic in the
// handler reach the driver as an error of code [CodeServerError].
type Response interface {
	// encode writes the body, and returns the opcode.
	encode(e *encoder) opcode
}

// The kinds of a RESULT: section 4.2.5 of the specification.
const (
	resultVoid         = 1
	resultRows         = 2
	resultSetKeyspace  = 3
	resultPrepared     = 4
	resultSchemaChange = 5
)

// The flags of a result's metadata.
const (
	metadataGlobal    = 0x01
	metadataMorePages = 0x02
	metadataNone      = 0x04
)

// Void is the answer to a statement that has no rows to return.
type Void struct{}

func (Void) encode(e *encoder) opcode {
	e.int(resultVoid)
	return opResult
}

// Applied is the answer to a conditional statement or batch: whether its
// condition held. Cassandra sends the present values along if it did not; a
// handler that wants to as well returns [Rows] whose first column is a
// [Boolean] called "[applied]".
type Applied bool

func (a Applied) encode(e *encoder) opcode {
	return Rows{Columns: []Column{{Name: "[applied]", Type: Boolean}}, Values: [][]any{{bool(a)}}}.encode(e)
}

// A Column is one of [Rows].
type Column struct {
	// Name is what the driver finds the column by.
	Name string
	// Type is that of its values; the zero Type is [Text].
	Type Type
}

// Rows is the answer to a statement that reads: a page of rows, maybe none.
type Rows struct {
	// Columns are those of every row.
	Columns []Column
	// Values are the rows, each with a value for every column: what [Encode]
	// takes for the column's type.
	Values [][]any
	// Next is what the driver sends as [Request.PageState] to get the next page;
	// nil if there is none. [Rows.Page] sets it.
	Next []byte
}

// Page returns the page of r that q asks for, with Next set unless it is the
// last. It is for handlers that have all rows at hand: r must be the same rows
// for every page.
func (r Rows) Page(q *Request) Response {
	start := 0
	if q.PageState != nil {
		if len(q.PageState) != 4 {
			return &Error{Code: CodeInvalid, Message: "Invalid value for the paging state"}
		}
		start = int(min(binary.BigEndian.Uint32(q.PageState), uint32(len(r.Values)))) //nolint:gosec // G115: fewer than 2^32 rows
	}
	page := Rows{Columns: r.Columns, Values: r.Values[start:]}
	if q.PageSize > 0 && q.PageSize < len(page.Values) {
		page.Values = page.Values[:q.PageSize]
		page.Next = binary.BigEndian.AppendUint32(nil, uint32(start+q.PageSize)) //nolint:gosec // G115: as above
	}
	return page
}

func (r Rows) encode(e *encoder) opcode {
	e.int(resultRows)
	// The metadata always comes along, also if there are no rows and if the
	// driver would do without: it was told none when it prepared.
	flags := metadataGlobal
	if r.Next != nil {
		flags |= metadataMorePages
	}
	e.int(flags)
	e.int(len(r.Columns))
	if r.Next != nil {
		e.bytes(r.Next)
	}
	e.string("") // the keyspace
	e.string("") // the table
	for _, c := range r.Columns {
		e.column(c)
	}
	e.int(len(r.Values))
	for i, row := range r.Values {
		if len(row) != len(r.Columns) {
			e.fail("row %d has %d values, want %d", i, len(row), len(r.Columns))
			break
		}
		for j, v := range row {
			b, err := Encode(r.Columns[j].Type, v)
			if err != nil {
				e.fail("row %d, column %q: %w", i, r.Columns[j].Name, err)
				break
			}
			e.bytes(b)
		}
		if e.err != nil {
			break
		}
	}
	return opResult
}

// column writes the name and the type of a column.
func (e *encoder) column(c Column) {
	e.string(c.Name)
	option := c.Type.option()
	if option == nil {
		e.fail("column %q is of %v, which is no type", c.Name, c.Type)
	}
	for _, n := range option {
		e.short(n)
	}
}

// setKeyspace is the answer to USE.
type setKeyspace string

func (k setKeyspace) encode(e *encoder) opcode {
	e.int(resultSetKeyspace)
	e.string(string(k))
	return opResult
}

// A schemaChange is the answer to CREATE, ALTER and DROP.
type schemaChange struct {
	change, target, keyspace, name string
}

func (c schemaChange) encode(e *encoder) opcode {
	e.int(resultSchemaChange)
	e.string(c.change)
	e.string(c.target)
	e.string(c.keyspace)
	if c.target != "KEYSPACE" {
		e.string(c.name)
	}
	return opResult
}

// prepared is the answer to PREPARE. It has the markers' types, by which the
// driver encodes the values, but not the result's: they come with the rows.
type prepared struct {
	id       []byte
	keyspace string
	markers  []Type
}

func (p prepared) encode(e *encoder) opcode {
	e.int(resultPrepared)
	e.shortBytes(p.id)
	e.int(metadataGlobal)
	e.int(len(p.markers))
	e.int(0) // no marker is known to be part of the partition key
	e.string(p.keyspace)
	e.string("") // the table
	for i, t := range p.markers {
		e.column(Column{Name: fmt.Sprintf("p%d", i), Type: t})
	}
	e.int(metadataNone)
	e.int(0)
	return opResult
}

// message is an answer that is no RESULT.
type message struct {
	op   opcode
	body func(*encoder)
}

func (m message) encode(e *encoder) opcode {
	if m.body != nil {
		m.body(e)
	}
	return m.op
}
