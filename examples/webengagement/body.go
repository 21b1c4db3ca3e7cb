package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"example.com/guard"
)

const maxBody = 64 << 10 // bytes of a request

// bodyOf reads the parameters of a body: a JSON object. Bodies that are too large
// are an [*http.MaxBytesError], which the guard answers with 413.
func bodyOf(w http.ResponseWriter, r *http.Request) (*params, error) {
	if err := checkType(r.Header); err != nil {
		return nil, err
	}
	if err := queryOf(r).end(); err != nil { // all parameters are in the body
		return nil, err
	}
	if r.ContentLength > maxBody { // and does not have to be sent to be refused
		return nil, &http.MaxBytesError{Limit: maxBody}
	}
	all, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded): // ReadTimeout
		return nil, &guard.Error{
			Status: http.StatusRequestTimeout, Detail: "The body did not arrive in time.", Err: err,
			Header: http.Header{"Connection": {"close"}},
		}
	case err != nil:
		return nil, &guard.Error{Status: http.StatusBadRequest, Detail: "The body could not be read.", Err: err}
	case !utf8.Valid(all): // which encoding/json would mend in silence
		return nil, guard.BadRequest("The body is not UTF-8.")
	}
	p := &params{where: "body"}
	if name, twice := repeated(all); twice { // of which encoding/json takes the last
		return nil, guard.BadRequest("The parameter " + quoted(name) + " is there more than once.")
	}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(all, &p.fields); {
	case errors.As(err, &syntax):
		p.fail("The body is not one JSON object: it goes wrong at byte %d.", syntax.Offset)
	case err != nil || p.fields == nil:
		p.fail("The body is not a JSON object.")
	}
	if p.err != nil {
		return nil, p.err
	}
	return p, nil
}

// checkType refuses bodies that say they are something else than plain JSON.
func checkType(h http.Header) error {
	media, attributes, err := mime.ParseMediaType(h.Get("Content-Type"))
	if charset := attributes["charset"]; err != nil || media != "application/json" || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return unsupported("The Content-Type of the body is not application/json in UTF-8.")
	}
	if h.Get("Content-Encoding") != "" {
		return unsupported("The body has a Content-Encoding, which this server does not undo.")
	}
	return nil
}

func unsupported(detail string) error {
	return &guard.Error{
		Status: http.StatusUnsupportedMediaType, Detail: detail, Header: http.Header{"Accept": {"application/json"}},
	}
}

// repeated returns the first name that an object of a JSON text has twice, at any
// depth. Of what is no JSON it says nothing.
func repeated(text []byte) (string, bool) {
	type level struct {
		names map[string]bool // nil: an array
		value bool            // a name has been read, and its value is next
	}
	var open []level
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return "", false
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 && open[len(open)-1].names != nil {
			l := &open[len(open)-1]
			if name, isText := token.(string); !l.value && isText {
				if l.names[name] {
					return name, true
				}
				l.names[name], l.value = true, true
				continue
			}
			l.value = false
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
	}
}

// answer writes the result of an operation.
func answer(w http.ResponseWriter, result any) error {
	b, err := json.Marshal(result)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(b, '\n')) // a client that has gone is nobody's fault
	return nil
}

// answerAll writes what a filtered collection read has matched: 204 and no body
// if that is nothing.
func answerAll[T any](w http.ResponseWriter, name string, matched []T) error {
	if len(matched) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return answer(w, map[string][]T{name: matched})
}
