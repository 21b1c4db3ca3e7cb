package guardcassandra_test

import (
	"errors"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// Whoever asks for "/visits/nonsense" must not open the breaker for all others:
// the driver parses text for a column that is none, and its errors are of no
// type where the parser's are handed on.
func TestTextThatIsNoValue(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	const byUUID, byTimeUUID = "SELECT name FROM visit_by_uuid WHERE id = ?", "SELECT name FROM visit_by_timeuuid WHERE id = ?"
	for statement, of := range map[string]cassandratest.Type{byUUID: cassandratest.UUID, byTimeUUID: cassandratest.TimeUUID} {
		server.Handle(statement, func(*cassandratest.Request) cassandratest.Response { return cassandratest.Void{} }, of)
	}
	g, dep := depend(t, guard.DependencyConfig{MinCalls: 1})
	ids := []string{
		"nonsense", "", "00000000-0000-0000-0000-00000000000", "00000000-0000-0000-0000-0000000000000", "\n\"\xff\x00 %d é",
	}
	for _, statement := range []string{byUUID, byTimeUUID} {
		for _, id := range ids {
			err := guardcassandra.Exec(t.Context(), dep, session.Query(statement, id))
			require.ErrorContains(t, err, "invalid UUID")
			require.NotErrorAs(t, err, new(*guard.DependencyError), "not a 502")
			batch := session.Batch(gocql.LoggedBatch).Query(statement, id)
			require.ErrorContains(t, guardcassandra.Exec(t.Context(), dep, batch), "invalid UUID")
		}
	}
	require.Equal(t, guard.StateClosed, dep.State())
	require.Equal(t, guard.CallCounts{Ignored: uint64(2 * 2 * len(ids))}, callsOf(g))
	require.Zero(t, server.Requests())
}

// The driver hands on what package time says of text for a duration.
func TestTextThatIsNoDuration(t *testing.T) {
	for _, text := range []string{"", "soon", "1", "1x", ".s", "3000000000000000000h", "1\"\n"} {
		_, err := time.ParseDuration(text)
		require.Error(t, err)
		for how, err := range wrapped(err) {
			require.Equal(t, ignored, guardcassandra.Classify(err), "%v, %s", err, how)
		}
	}
}

// The errors of the user's own types are told apart by what they wrap.
func TestErrorsOfMarshalers(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	plain := errors.New("no such colour")
	for name, c := range map[string]struct {
		err  error
		want guard.Outcome
	}{
		"a MarshalError":     {gocql.MarshalError("no such colour"), ignored},
		"one that is joined": {errors.Join(gocql.MarshalError("visits"), plain), ignored},
		"any other":          {plain, failed},
	} {
		t.Run(name, func(t *testing.T) {
			g, dep := depend(t, guard.DependencyConfig{})
			require.ErrorIs(t, guardcassandra.Exec(t.Context(), dep, session.Query(insertVisit, "7", colour{c.err})), c.err)
			requireCounted(t, g, c.want)
		})
	}
}

type colour struct{ err error }

func (c colour) MarshalCQL(gocql.TypeInfo) ([]byte, error) { return nil, c.err }
