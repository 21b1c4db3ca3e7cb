package cassandratest

import (
	"strings"
	"time"
)

// A Fault is a way to fail, for [Server.SetFault]. The zero Fault is none.
type Fault struct {
	kind       faultKind
	delay      time.Duration
	down, up   time.Duration
	err        *Error
	containing string
}

type faultKind int

const (
	faultNone faultKind = iota
	faultDown
	faultHang
	faultSlow
	faultErrors
	faultFlapping
	faultDrop
	faultGarbage
)

// Down closes all connections, and new ones as soon as they are there. To have
// them refused, as where no process listens, there is [Server.Stop].
func Down() Fault {
	return Fault{kind: faultDown}
}

// Hang accepts connections and reads what comes, but answers nothing, the
// driver's handshakes and heartbeats included. What came meanwhile stays
// unanswered when the fault is over.
func Hang() Fault {
	return Fault{kind: faultHang}
}

// Slow answers statements d later than else; negative is zero. Handshakes,
// heartbeats and the system tables are as fast as ever.
func Slow(d time.Duration) Fault {
	return Fault{kind: faultSlow, delay: max(0, d)}
}

// Errors answers statements with a copy of err, without calling their handlers;
// they need none. It answers those that contain the text, white space
// normalised, or if it is "", all but the driver's own on the system keyspaces:
// the driver can connect.
func Errors(err *Error, containing string) Fault {
	f := Fault{kind: faultErrors, err: &Error{}, containing: strings.Join(strings.Fields(containing), " ")}
	if err != nil {
		*f.err = *err
	}
	return f
}

// Flapping is [Down] for the one time, then up for the other, over and over
// again, beginning with down. Times under a millisecond are one.
func Flapping(down, up time.Duration) Fault {
	return Fault{kind: faultFlapping, down: max(time.Millisecond, down), up: max(time.Millisecond, up)}
}

// DropMidFrame handles statements, but sends only the first half of each answer
// and closes the connection. Handshakes, heartbeats and the system tables work.
func DropMidFrame() Fault {
	return Fault{kind: faultDrop}
}

// Garbage answers statements with bytes that are no frame. Handshakes,
// heartbeats and the system tables work.
func Garbage() Fault {
	return Fault{kind: faultGarbage}
}

// garbage is what a web server answers to those who do not speak HTTP. Its
// first byte is no version of the protocol.
const garbage = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"

// refuses returns what the fault answers to the statement; nil: nothing.
func (f Fault) refuses(statement string) *Error {
	if f.kind != faultErrors || !strings.Contains(statement, f.containing) {
		return nil
	}
	if f.containing == "" && isSystem(statement) {
		return nil
	}
	e := *f.err
	return &e
}

// forSystem is the fault as all frames but statements know it, and the driver's
// own statements.
func (f Fault) forSystem() Fault {
	if f.kind == faultHang {
		return f
	}
	return Fault{}
}
