package cassandratest

import (
	"slices"
	"strings"
)

// schema answers a statement that changes the schema, the way it is answered
// when it has changed something; nil if the statement is none. Nothing is
// remembered: what is created can be created again.
func schema(statement, keyspace string) Response {
	verb, rest, _ := strings.Cut(statement, " ")
	var change string
	switch strings.ToUpper(verb) {
	case "CREATE":
		change = "CREATED"
	case "ALTER":
		change = "UPDATED"
	case "DROP":
		change = "DROPPED"
	}
	target, rest, _ := strings.Cut(rest, " ")
	target = strings.ToUpper(target)
	if change == "" || !slices.Contains([]string{"KEYSPACE", "TABLE", "TYPE"}, target) {
		return nil
	}
	if after, ok := cutWord(rest, "IF"); ok {
		after, _ = cutWord(after, "NOT")
		rest, _ = cutWord(after, "EXISTS")
	}
	name, rest := identifier(rest)
	switch {
	case name == "":
		return &Error{Code: CodeSyntaxError, Message: "the name is missing"}
	case target == "KEYSPACE":
		return schemaChange{change: change, target: target, keyspace: name}
	case strings.HasPrefix(rest, "."):
		keyspace = name
		if name, _ = identifier(rest[1:]); name == "" {
			return &Error{Code: CodeSyntaxError, Message: "the name is missing"}
		}
	}
	if keyspace == "" {
		return invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
	}
	return schemaChange{change: change, target: target, keyspace: keyspace, name: name}
}

// cutWord returns what follows a word at the beginning, in whatever case; all of
// s and false if it begins with another.
func cutWord(s, word string) (string, bool) {
	if first, rest, _ := strings.Cut(s, " "); strings.EqualFold(first, word) {
		return rest, true
	}
	return s, false
}

// identifier returns the name at the beginning, quoted or not, and what follows
// it; "" if there is none.
func identifier(s string) (name, rest string) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		name, rest, _ = strings.Cut(quoted, `"`)
		return name, rest
	}
	end := strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(s)
	}
	return strings.ToLower(s[:end]), s[end:]
}
