package guardcassandra_test

import (
	"context"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/stretchr/testify/require"

	"example.com/guard"
	"example.com/guard/adapters/guardcassandra"
	"example.com/guard/adapters/guardcassandra/cassandratest"
)

// again is a policy that always tries again at once on the same node, up to a
// bound, and calls a function before.
type again struct {
	most   int
	before func()
}

func (a again) Attempt(q gocql.RetryableQuery) bool {
	if a.before != nil {
		a.before()
	}
	return q.Attempts() <= a.most
}

func (again) GetRetryType(error) gocql.RetryType { return gocql.Retry }

func TestRetryPolicy(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	for name, c := range map[string]struct {
		code     int
		policy   gocql.RetryPolicy
		open     bool // when the first attempt comes back
		attempts int
		err      bool
	}{
		"closed":                {cassandratest.CodeOverloaded, again{most: 3}, false, 4, true},
		"open":                  {cassandratest.CodeOverloaded, again{most: 3}, true, 1, true},
		"no policy":             {cassandratest.CodeOverloaded, nil, false, 1, true},
		"a mistake of ours":     {cassandratest.CodeSyntaxError, again{most: 3}, false, 1, true},
		"contention":            {cassandratest.CodeCASWriteUnknown, again{most: 3}, false, 1, true},
		"the policy ignores it": {cassandratest.CodeOverloaded, ignoring{}, false, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			_, dep := depend(t, guard.DependencyConfig{})
			server.Handle(selectName, func(*cassandratest.Request) cassandratest.Response {
				if attempts++; c.open {
					dep.Force(guard.ModeOpen)
				}
				return &cassandratest.Error{Code: c.code}
			})
			query := session.Query(selectName, "7").Idempotent(true).RetryPolicy(guardcassandra.RetryPolicy(c.policy))
			err := guardcassandra.Exec(t.Context(), dep, query)
			require.Equal(t, c.err, err != nil)
			require.Equal(t, c.attempts, attempts)
		})
	}
}

type ignoring struct{ again }

func (ignoring) GetRetryType(error) gocql.RetryType { return gocql.Ignore }

// A probe is one attempt: a half-open breaker is not closed.
func TestRetryPolicyWhileHalfOpen(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
	_, dep := depend(t, guard.DependencyConfig{MinCalls: 1, OpenFor: time.Millisecond})
	require.Error(t, lookup(t.Context(), dep, session))
	eventually(t, func() bool { return dep.State() == guard.StateHalfOpen })
	before := server.Requests()
	query := session.Query(selectName, "7").Idempotent(true).RetryPolicy(guardcassandra.RetryPolicy(again{most: 3}))
	require.ErrorAs(t, guardcassandra.Exec(t.Context(), dep, query), new(*gocql.RequestErrOverloaded))
	require.Equal(t, before+1, server.Requests())
}

// The breaker may open, and the caller leave, while the policy waits.
func TestRetryPolicyLooksAgainAfterWaiting(t *testing.T) {
	server := start(t)
	session := connect(t, clusterOf(server))
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
	_, dep := depend(t, guard.DependencyConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	for name, meanwhile := range map[string]func(){
		"cancelled": cancel,
		"opened":    func() { dep.Force(guard.ModeOpen) },
	} {
		dep.Force(guard.ModeAuto)
		callers := ctx
		if name == "opened" {
			callers = t.Context()
		}
		before := server.Requests()
		query := session.Query(selectName, "7").Idempotent(true).RetryPolicy(guardcassandra.RetryPolicy(again{3, meanwhile}))
		require.Error(t, guardcassandra.Exec(callers, dep, query), name)
		require.LessOrEqual(t, server.Requests(), before+1, name)
	}
}

// Who has left is not waited for.
func TestRetryPolicyOfEndedContexts(t *testing.T) {
	for name, c := range map[string]struct {
		early bool // it has ended when the policy is asked
		asked int
	}{"before": {true, 0}, "while the policy waits": {false, 1}} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.early {
			cancel()
		}
		asked := 0
		policy := guardcassandra.RetryPolicy(again{3, func() {
			asked++
			cancel()
		}})
		require.False(t, policy.Attempt(attempt{ctx: ctx}), name)
		require.Equal(t, c.asked, asked, name)
		cancel()
	}
	require.True(t, guardcassandra.RetryPolicy(again{most: 3}).Attempt(attempt{ctx: t.Context()}))
}

// An attempt is all that a policy sees of a query.
type attempt struct {
	gocql.RetryableQuery

	ctx context.Context
}

func (a attempt) Attempts() int            { return 1 }
func (a attempt) Context() context.Context { return a.ctx }

// Of calls that it knows no dependency of, the policy decides.
func TestRetryPolicyWithoutDependency(t *testing.T) {
	server := start(t)
	cluster := clusterOf(server)
	cluster.RetryPolicy = guardcassandra.RetryPolicy(again{most: 3})
	cluster.DefaultIdempotence = true
	session := connect(t, cluster)
	server.SetFault(cassandratest.Errors(&cassandratest.Error{Code: cassandratest.CodeOverloaded}, ""))
	require.Error(t, session.Query(selectName, "7").ExecContext(t.Context()))
	require.Equal(t, 4, server.Requests())
	require.Error(t, session.Query(selectName, "7").Idempotent(false).ExecContext(t.Context()))
	require.Equal(t, 5, server.Requests())
}
