package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A schema is all that this server says to Cassandra. Its names have the keyspace
// in them, since a session cannot use a keyspace that is not there yet.
type schema struct {
	create []string // in order; each may be repeated

	addIdentity, addIdentityByEmail, identity, identities string
	addVisit, addVisitByIdentity, visit, visits           string
	addEvent, events                                      string
	addEngagement, engagement                             string
}

var keyspaceForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// newSchema takes a keyspace and its replication: a number of replicas, or one for
// each data center, such as dc1:3,dc2:3. Neither reaches CQL unless it has that
// form.
func newSchema(keyspace, replication string) (*schema, error) {
	if !keyspaceForm.MatchString(keyspace) {
		return nil, fmt.Errorf("-keyspace is %q, want up to 48 of a-z, 0-9 and _, a letter first", keyspace)
	}
	strategy, err := parseReplication(replication)
	if err != nil {
		return nil, err
	}
	in := func(statement string) string { return strings.ReplaceAll(statement, "KS.", keyspace+".") }
	return &schema{
		create: []string{
			"CREATE KEYSPACE IF NOT EXISTS " + keyspace + " WITH replication = " + strategy,
			in("CREATE TABLE IF NOT EXISTS KS.identity (id uuid PRIMARY KEY, email text, name text, created timestamp)"),
			in("CREATE TABLE IF NOT EXISTS KS.identity_by_email (email text, id uuid, name text, created timestamp, PRIMARY KEY (email, id))"),
			in("CREATE TABLE IF NOT EXISTS KS.visit (id uuid PRIMARY KEY, identity uuid, started timestamp, page text)"),
			in("CREATE TABLE IF NOT EXISTS KS.visit_by_identity (identity uuid, started timestamp, id uuid, page text, PRIMARY KEY (identity, started, id))" +
				" WITH CLUSTERING ORDER BY (started DESC, id ASC)"),
			in("CREATE TABLE IF NOT EXISTS KS.event (visit uuid, id timeuuid, type text, page text, data map<text, text>, PRIMARY KEY (visit, id))"),
			in("CREATE TABLE IF NOT EXISTS KS.engagement (visit uuid PRIMARY KEY, queue text, agent text, began timestamp)"),
		},

		addIdentity:        in("INSERT INTO KS.identity (id, email, name, created) VALUES (?, ?, ?, ?)"),
		addIdentityByEmail: in("INSERT INTO KS.identity_by_email (id, email, name, created) VALUES (?, ?, ?, ?)"),
		identity:           in("SELECT id, email, name, created FROM KS.identity WHERE id = ?"),
		identities:         in("SELECT id, email, name, created FROM KS.identity_by_email WHERE email = ? LIMIT ?"),
		addVisit:           in("INSERT INTO KS.visit (id, identity, started, page) VALUES (?, ?, ?, ?)"),
		addVisitByIdentity: in("INSERT INTO KS.visit_by_identity (id, identity, started, page) VALUES (?, ?, ?, ?)"),
		visit:              in("SELECT id, identity, started, page FROM KS.visit WHERE id = ?"),
		visits:             in("SELECT id, identity, started, page FROM KS.visit_by_identity WHERE identity = ? AND started >= ? AND started < ? LIMIT ?"),
		addEvent:           in("INSERT INTO KS.event (visit, id, type, page, data) VALUES (?, ?, ?, ?, ?)"),
		events:             in("SELECT id, type, page, data FROM KS.event WHERE visit = ? AND id > maxTimeuuid(?) LIMIT ?"),
		addEngagement:      in("INSERT INTO KS.engagement (visit, queue, agent, began) VALUES (?, ?, ?, ?) IF NOT EXISTS"),
		engagement:         in("SELECT visit, queue, agent, began FROM KS.engagement WHERE visit = ?"),
	}, nil
}

var dataCenterForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,48}$`)

func parseReplication(s string) (string, error) {
	bad := fmt.Errorf("-replication is %q, want a number of replicas of 1 to 99, or some for each data center: dc1:3,dc2:3", s)
	replicas := func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= 1 && n <= 99
	}
	if n, ok := replicas(s); ok {
		return fmt.Sprintf("{'class': 'SimpleStrategy', 'replication_factor': %d}", n), nil
	}
	var strategy strings.Builder
	strategy.WriteString("{'class': 'NetworkTopologyStrategy'")
	for part := range strings.SplitSeq(s, ",") {
		name, count, _ := strings.Cut(part, ":")
		n, ok := replicas(count)
		if !ok || !dataCenterForm.MatchString(name) {
			return "", bad
		}
		_, _ = fmt.Fprintf(&strategy, ", '%s': %d", name, n)
	}
	return strategy.String() + "}", nil
}
