package cassandratest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The parts of a frame: section 2 of the specification of the native protocol,
// version 4.
const (
	version      = 0x04
	fromServer   = 0x80
	headerLength = 9
	// maxBody is the most that is read of a body, which is the default of
	// native_transport_max_frame_size.
	maxBody = 16 << 20
)

// The flags of a frame.
const (
	flagCompressed    = 0x01
	flagCustomPayload = 0x04
)

// An opcode says what a frame is.
type opcode byte

const (
	opError        opcode = 0x00
	opStartup      opcode = 0x01
	opReady        opcode = 0x02
	opAuthenticate opcode = 0x03
	opOptions      opcode = 0x05
	opSupported    opcode = 0x06
	opQuery        opcode = 0x07
	opResult       opcode = 0x08
	opPrepare      opcode = 0x09
	opExecute      opcode = 0x0A
	opRegister     opcode = 0x0B
	opBatch        opcode = 0x0D
	opAuthResponse opcode = 0x0F
	opAuthSuccess  opcode = 0x10
)

// A frame is a message from a client.
type frame struct {
	stream int16
	op     opcode
	body   []byte
}

// A frameError is a frame that cannot be served. Nothing after it can be read,
// because where it ends is not known.
type frameError struct {
	stream  int16
	message string
}

func (e *frameError) Error() string {
	return "cassandratest: " + e.message
}

// readFrame reads a frame. The error is a *[frameError] if a client is to be
// told, and one of r otherwise.
func readFrame(r io.Reader) (frame, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{
		stream: int16(binary.BigEndian.Uint16(h[2:4])), //nolint:gosec // G115: the field is signed, and every pattern of bits is a stream
		op:     opcode(h[4]),
	}
	flags, length := h[1], binary.BigEndian.Uint32(h[5:])
	switch {
	case h[0] != version:
		// On stream 0, as real ones send it: what the number of the stream means
		// depends on the version. Drivers take it as a request to go down.
		return frame{}, &frameError{0, fmt.Sprintf("Invalid or unsupported protocol version (%d); supported versions are (4/v4)", h[0]&^fromServer)}
	case length > maxBody:
		return frame{}, &frameError{f.stream, fmt.Sprintf("the body is %d bytes, want at most %d", length, maxBody)}
	case flags&flagCompressed != 0:
		return frame{}, &frameError{f.stream, "the frame is compressed, which was not agreed on"}
	}
	var err error
	if f.body, err = readBody(r, int(length)); err != nil {
		return frame{}, err
	}
	if flags&flagCustomPayload != 0 {
		d := decoder{b: f.body}
		d.skipBytesMap()
		if d.err != nil {
			return frame{}, &frameError{f.stream, d.err.Error()}
		}
		f.body = d.b
	}
	return f, nil
}

// readBody reads length bytes. It allocates as they arrive: a client that
// announces much and sends little costs little.
func readBody(r io.Reader, length int) ([]byte, error) {
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(length)); err != nil {
		if err == io.EOF { //nolint:errorlint // CopyN returns it bare
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body.Bytes(), nil
}

// frameBytes is the frame that answers on the stream.
func frameBytes(stream int16, op opcode, body []byte) []byte {
	b := make([]byte, headerLength, headerLength+len(body))
	b[0] = version | fromServer
	binary.BigEndian.PutUint16(b[2:4], uint16(stream)) //nolint:gosec // G115: see readFrame
	b[4] = byte(op)
	binary.BigEndian.PutUint32(b[5:], uint32(len(body))) //nolint:gosec // G115: an encoder refuses more than maxAnswer
	return append(b, body...)
}
