package cassandratest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// A conn is a connection from a driver.
type conn struct {
	server *Server
	net    net.Conn
	done   chan struct{} // closed with the connection
	once   sync.Once     // closes it
	gate   *gate

	// What the goroutine that reads knows.
	state    connState
	keyspace string

	writing sync.Mutex // held to write a frame
}

// A connState is how far a connection has come.
type connState int

const (
	stateNew            connState = iota // waits for STARTUP
	stateAuthenticating                  // waits for AUTH_RESPONSE
	stateReady
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, net: nc, done: make(chan struct{})}
	c.gate = newGate(maxPending, maxPendingBytes)
	return c
}

// close closes the connection, at once and without a word.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		c.gate.close()
		_ = c.net.Close() // nothing to be done about it
	})
}

// serve reads frames until the connection ends.
func (c *conn) serve() {
	defer c.server.leave(c)
	defer c.close()
	for r := bufio.NewReader(c.net); ; {
		f, err := readFrame(r)
		var broken *frameError
		if errors.As(err, &broken) {
			c.answer(broken.stream, c.server.currentFault().forSystem(), protocolError("%s", broken.message))
		}
		if err != nil {
			return
		}
		fault := c.server.currentFault()
		switch f.op { //nolint:exhaustive // the others are answered by dispatch
		case opQuery, opExecute, opBatch:
			if c.state == stateReady {
				c.statement(f, fault)
				continue
			}
		}
		c.answer(f.stream, fault.forSystem(), c.dispatch(f, fault))
	}
}

// dispatch returns the answer to a frame that is no statement.
func (c *conn) dispatch(f frame, fault Fault) Response {
	d := decoder{b: f.body}
	var answer Response
	switch {
	case f.op == opOptions:
		answer = message{opSupported, supported}
	case f.op == opStartup && c.state == stateNew:
		answer = c.startup(d.stringMap())
	case f.op == opAuthResponse && c.state == stateAuthenticating:
		answer = c.authenticate(d.bytes())
	case f.op == opRegister && c.state == stateReady:
		answer = message{op: opReady} // no events are ever sent
	case f.op == opPrepare && c.state == stateReady:
		answer = c.server.prepare(d.longString(), c.keyspace, fault)
	default:
		return protocolError("Unexpected message of opcode %#02x in this state of the connection", byte(f.op))
	}
	if d.err != nil {
		return protocolError("%v", d.err)
	}
	return answer
}

// supported is the body of SUPPORTED, a multimap.
func supported(e *encoder) {
	e.count(2, "options")
	e.string("CQL_VERSION")
	e.strings([]string{cqlVersion})
	e.string("COMPRESSION")
	e.strings(nil)
}

func (c *conn) startup(options map[string]string) Response {
	switch {
	case options["CQL_VERSION"] == "":
		return protocolError("Missing value CQL_VERSION in STARTUP message")
	case options["COMPRESSION"] != "":
		return protocolError("Unknown compression algorithm: %s", options["COMPRESSION"])
	}
	if c.server.authenticates() {
		c.state = stateAuthenticating
		return message{opAuthenticate, func(e *encoder) { e.string("org.apache.cassandra.auth.PasswordAuthenticator") }}
	}
	c.state = stateReady
	return message{op: opReady}
}

// authenticate takes a SASL PLAIN token: NUL user NUL password.
func (c *conn) authenticate(token []byte) Response {
	parts := bytes.Split(token, []byte{0})
	if len(parts) != 3 || !c.server.admits(string(parts[1]), string(parts[2])) {
		return &Error{Code: CodeBadCredentials, Message: "Provided username and/or password are incorrect"}
	}
	c.state = stateReady
	return message{opAuthSuccess, func(e *encoder) { e.bytes(nil) }}
}

// statement answers a QUERY, EXECUTE or BATCH: from a goroutine of its own, if
// a handler is to be called, or at once.
func (c *conn) statement(f frame, fault Fault) {
	call, err := decodeCall(f)
	if err != nil {
		c.answer(f.stream, fault, protocolError("%v", err))
		return
	}
	texts := make([]string, len(call.statements))
	var unprepared *Error
	for i, b := range call.statements {
		var e *Error
		if texts[i], e = c.server.resolve(b); e != nil && unprepared == nil {
			unprepared = e
		}
	}
	if unprepared == nil && !call.batch && c.server.servesItself(texts[0]) {
		if e := fault.refuses(texts[0]); e != nil {
			c.answer(f.stream, fault, e)
			return
		}
		c.answer(f.stream, fault.forSystem(), c.system(texts[0]))
		return
	}
	c.server.requests.Add(1)
	switch {
	case fault.kind == faultHang:
		return
	case unprepared != nil:
		c.answer(f.stream, fault, unprepared)
		return
	}
	if !c.gate.enter(len(f.body)) {
		return
	}
	keyspace := c.keyspace
	c.server.running.Go(func() {
		defer c.gate.leave(len(f.body))
		answer := c.handle(call, texts, keyspace, fault)
		if fault.kind == faultSlow {
			timer := time.NewTimer(fault.delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-c.done:
				return
			}
		}
		c.answer(f.stream, fault, answer)
	})
}

// handle returns the answer to statements that are no system's.
func (c *conn) handle(call call, texts []string, keyspace string, fault Fault) (answer Response) {
	for i, text := range texts {
		if e := fault.refuses(text); e != nil {
			if e.Code == CodeUnprepared && e.StatementID == nil {
				e.StatementID = call.statements[i].id
			}
			return e
		}
	}
	q, h, e := c.server.request(call, texts)
	if e != nil {
		if !call.batch {
			if answer := schema(texts[0], keyspace); answer != nil {
				return answer
			}
		}
		return e
	}
	q.Keyspace, q.done = keyspace, c.done
	defer func() {
		if r := recover(); r != nil {
			answer = serverError("the handler panicked: %v", r)
		}
	}()
	answer = h(q)
	if e, ok := answer.(*Error); ok && e != nil && e.Code == CodeUnprepared && e.StatementID == nil {
		own := *e
		own.StatementID = call.statements[0].id
		return &own
	}
	return answer
}

// answer writes a frame, the way the fault wants it.
func (c *conn) answer(stream int16, fault Fault, r Response) {
	if fault.kind == faultHang {
		return
	}
	op, body := encodeResponse(r)
	b := frameBytes(stream, op, body)
	c.writing.Lock()
	defer c.writing.Unlock()
	// An error of Write ends the connection where it is read.
	switch fault.kind { //nolint:exhaustive // what the others do is done by now
	case faultDrop:
		_, _ = c.net.Write(b[:headerLength+len(body)/2])
		c.close()
	case faultGarbage:
		_, _ = c.net.Write([]byte(garbage))
	default:
		_, _ = c.net.Write(b)
	}
}

// encodeResponse returns the frame's opcode and body; those of an error, if
// there is none for the response.
func encodeResponse(r Response) (opcode, []byte) {
	var e encoder
	var op opcode
	if failed, ok := r.(*Error); r == nil || ok && failed == nil {
		e.fail("the handler returned no response")
	} else {
		op = r.encode(&e)
	}
	if len(e.b) > maxAnswer {
		e.fail("the answer has %d bytes, want at most %d", len(e.b), maxAnswer)
	}
	if e.err != nil {
		failed := serverError("%v", e.err)
		e = encoder{}
		op = failed.encode(&e)
	}
	return op, e.b
}

func protocolError(format string, args ...any) *Error {
	return &Error{Code: CodeProtocolError, Message: fmt.Sprintf(format, args...)}
}

func serverError(format string, args ...any) *Error {
	return &Error{Code: CodeServerError, Message: strings.ToValidUTF8(fmt.Sprintf(format, args...), "?")}
}
