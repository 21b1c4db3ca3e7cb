package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// params are the parameters of a request, from its query or its body. What is
// wrong with them is kept until end: the first thing that is, since a client
// mends them one by one. Details name the parameter and never show its value.
type params struct {
	where  string            // "query" or "body"
	query  map[string]string // of a query
	fields map[string]json.RawMessage
	asked  []string // what a parameter can be called
	err    *guard.Error
}

// queryOf reads the parameters of a query, each of which may stand there once.
func queryOf(r *http.Request) *params {
	p := &params{where: "query", query: map[string]string{}}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.fail("The query is not well-formed.")
	}
	for name, all := range values {
		p.query[name] = all[0]
		switch {
		case len(all) > 1:
			p.fail("The parameter %s is there more than once.", quoted(name))
		case !utf8.ValidString(name) || !utf8.ValidString(all[0]):
			p.fail("The parameter %s is not UTF-8.", quoted(name))
		}
	}
	return p
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = guard.BadRequest(fmt.Sprintf(format, args...))
	}
}

// quoted makes a name that a client chose fit for a detail.
func quoted(name string) string {
	const most = 40
	if runes := []rune(name); len(runes) > most {
		name = string(runes[:most]) + "…"
	}
	return strconv.QuoteToGraphic(strings.ToValidUTF8(name, "\uFFFD"))
}

// end returns what is wrong: a parameter that nobody asked for, too.
func (p *params) end() error {
	var names []string
	for name := range p.query {
		names = append(names, name)
	}
	for name := range p.fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(p.asked, name) {
			p.fail("There is no parameter %s in this %s.", quoted(name), p.where)
		}
	}
	if p.err != nil {
		return p.err // not a nil *guard.Error in an error
	}
	return nil
}

// need says which parameters must be there.
func (p *params) need(names ...string) {
	for _, name := range names {
		if !p.has(name) {
			p.fail("The parameter %s is missing.", name)
		}
	}
}

// has reports whether a parameter is there; one that is null is not.
func (p *params) has(name string) bool {
	p.asked = append(p.asked, name)
	_, inQuery := p.query[name]
	raw, inBody := p.fields[name]
	return inQuery || (inBody && string(raw) != "null")
}

// word returns a parameter that is a text of any kind, and whether it is there.
func (p *params) word(name, kind string) (string, bool) {
	if !p.has(name) {
		return "", false
	}
	if s, ok := p.query[name]; ok {
		return s, true
	}
	var s string
	if err := json.Unmarshal(p.fields[name], &s); err != nil {
		p.fail("The parameter %s is not %s.", name, kind)
		return "", false
	}
	return s, true
}

// text returns a parameter of 1 to most bytes, or "" if it is not there.
func (p *params) text(name string, most int) string {
	s, ok := p.word(name, "a text")
	if ok && !isText(s, most) {
		p.fail("The parameter %s is not a text of 1 to %d bytes without control characters.", name, most)
	}
	return s
}

func isText(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == utf8.RuneError // which encoding/json makes of half a surrogate pair
	})
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// parseUUID is stricter than the driver, which takes dashes anywhere.
func parseUUID(s string) (gocql.UUID, bool) {
	if !uuidForm.MatchString(s) {
		return gocql.UUID{}, false
	}
	id, err := gocql.ParseUUID(s)
	return id, err == nil
}

func (p *params) uuid(name string) gocql.UUID {
	s, ok := p.word(name, "a UUID")
	if !ok {
		return gocql.UUID{}
	}
	id, ok := parseUUID(s)
	if !ok {
		p.fail("The parameter %s is not a UUID.", name)
	}
	return id
}

// id returns the name of something that Genesys knows, or "" if it is not there.
func (p *params) id(name string) string {
	s, ok := p.word(name, "an id")
	if ok && !isID(s) {
		p.fail("The parameter %s is not an id: letters, digits, - and _, 64 at the most.", name)
	}
	return s
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// isID keeps out of Genesys' paths whatever could lead elsewhere.
func isID(s string) bool { return idForm.MatchString(s) }

// lastYear is the last that is whole in a UUID of version 1, which Cassandra makes
// of a time to compare events with.
const lastYear = 5235

// time returns a time, or the default if it is not there. Cassandra keeps
// milliseconds.
func (p *params) time(name string, otherwise time.Time) time.Time {
	s, ok := p.word(name, "a time")
	if !ok {
		return otherwise
	}
	t, err := time.Parse(time.RFC3339, s)
	if t = t.UTC(); err != nil || t.Year() < 1970 || t.Year() > lastYear {
		p.fail("The parameter %s is not a time such as 2006-01-02T15:04:05Z, of 1970 to %d.", name, lastYear)
		return otherwise
	}
	return t.Truncate(time.Millisecond)
}

// number returns a JSON number as it stands, or what stands in a query.
func (p *params) number(name string) (string, bool) {
	if !p.has(name) {
		return "", false
	}
	if s, ok := p.query[name]; ok {
		return s, true
	}
	return string(p.fields[name]), true
}

// integer returns an integer between two, or the default if it is not there.
func (p *params) integer(name string, otherwise, least, most int) int {
	s, ok := p.number(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		p.fail("The parameter %s is not an integer of %d to %d.", name, least, most)
		return otherwise
	}
	return n
}

// positive returns a number above 0, or the default if it is not there.
func (p *params) positive(name string, otherwise, most float64) float64 {
	s, ok := p.number(name)
	if !ok {
		return otherwise
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x > 0 && x <= most) {
		p.fail("The parameter %s is not a number above 0 and up to %g.", name, most)
		return otherwise
	}
	return x
}

// duration returns a time span between two, or the default if it is not there.
func (p *params) duration(name string, otherwise, least, most time.Duration) time.Duration {
	s, ok := p.word(name, "a duration")
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		p.fail("The parameter %s is not a duration of %v to %v, such as 500ms.", name, least, most)
		return otherwise
	}
	return d
}

// oneOf returns one of some words, or "" if it is not there.
func (p *params) oneOf(name string, words ...string) string {
	s, ok := p.word(name, "a text")
	if ok && !slices.Contains(words, s) {
		p.fail("The parameter %s is none of %s.", name, strings.Join(words, ", "))
	}
	return s
}

// texts returns an object of texts.
func (p *params) texts(name string) map[string]string {
	const most, mostName, mostValue = 32, 64, 1024
	if !p.has(name) {
		return nil
	}
	var all map[string]string
	if err := json.Unmarshal(p.fields[name], &all); err != nil {
		p.fail("The parameter %s is not an object of texts.", name)
		return nil
	}
	for key, value := range all {
		if len(all) > most || !isText(key, mostName) || !isText(value, mostValue) {
			p.fail("The parameter %s has more than %d members, or one whose name is not a text of 1 to %d bytes or its value of 1 to %d, without control characters.",
				name, most, mostName, mostValue)
		}
	}
	return all
}

// limit returns how many of a collection are wanted.
func (p *params) limit() int {
	const usual, most = 50, 500
	return p.integer("limit", usual, 1, most)
}

// uuidInPath returns the {id} of a path.
func uuidInPath(r *http.Request) (gocql.UUID, error) {
	id, ok := parseUUID(r.PathValue("id"))
	if !ok {
		return id, guard.BadRequest("The parameter id, in the path, is not a UUID.")
	}
	return id, nil
}

// uuidAlone returns the {id} of a path that has no parameters beside it.
func uuidAlone(r *http.Request) (gocql.UUID, error) {
	id, err := uuidInPath(r)
	if err == nil {
		err = queryOf(r).end()
	}
	return id, err
}

// idAlone returns the {id} of a path that Genesys is asked for.
func idAlone(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !isID(id) {
		return "", guard.BadRequest("The parameter id, in the path, is not an id: letters, digits, - and _, 64 at the most.")
	}
	return id, queryOf(r).end()
}
