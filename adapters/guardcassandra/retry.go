package guardcassandra

import (
	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"example.com/guard"
)

// RetryPolicy wraps a retry policy of the driver, for ClusterConfig.RetryPolicy
// and for queries, so that retries do not add to the load on a Cassandra that
// has trouble. There is no retry
//
//   - while the breaker is not closed, so that a probe is one attempt: it is the
//     breaker of the dependency that the call is made to with the functions of
//     this package, and calls by [guard.Dependency.Do] are not known here;
//   - of what another attempt cannot mend: what [Classify] does not call a failure;
//   - when the call's context has ended, before or while the policy waits.
//
// Otherwise the policy decides; nil means that there is no retry at all. The
// driver asks for queries only that are marked as idempotent, and counts
// attempts from 1.
//
// Beware of policies that answer gocql.Ignore: the driver then returns no error,
// and the breaker counts a success.
func RetryPolicy(policy gocql.RetryPolicy) gocql.RetryPolicy {
	return &retryPolicy{policy: policy}
}

type retryPolicy struct{ policy gocql.RetryPolicy }

// Attempt implements [gocql.RetryPolicy].
func (r *retryPolicy) Attempt(q gocql.RetryableQuery) bool {
	return r.policy != nil && worthwhile(q) && r.policy.Attempt(q) && worthwhile(q)
}

// GetRetryType implements [gocql.RetryPolicy].
func (r *retryPolicy) GetRetryType(err error) gocql.RetryType {
	if r.policy == nil || Classify(err) != guard.OutcomeFailed {
		return gocql.Rethrow
	}
	return r.policy.GetRetryType(err)
}

// worthwhile reports whether there is anybody to retry for, and nothing against it.
func worthwhile(q gocql.RetryableQuery) bool {
	ctx := q.Context()
	if ctx.Err() != nil {
		return false
	}
	dep, ok := ctx.Value(depKey{}).(*guard.Dependency)
	return !ok || dep.State() == guard.StateClosed
}
