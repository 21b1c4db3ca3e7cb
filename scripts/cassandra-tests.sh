#!/usr/bin/env bash
# Runs the tests that need a real Cassandra: of adapters/guardcassandra its errors,
# of examples/webengagement what faults come to.
#
#	scripts/cassandra-tests.sh [flags of go test]
#
# They start it on loopback, without Docker, and stop it again: with bash, Java
# 17 and, the first time, Maven to fetch its jars. It takes about three minutes, of
# which Cassandra starts for one, and ends within twelve whatever happens. What the
# faults came to is printed as a table.
#
# GUARD_CASSANDRA names another script than
# adapters/guardcassandra/cassandra/cassandra.sh to start it with.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export GOWORK=off
export GUARD_CASSANDRA=${GUARD_CASSANDRA:-$root/adapters/guardcassandra/cassandra/cassandra.sh}

for program in go java; do
	command -v "$program" >/dev/null || {
		echo "cassandra-tests: missing: $program" >&2
		exit 1
	}
done
bash "$GUARD_CASSANDRA" jars # now, so that the tests need not wait for it
for module in adapters/guardcassandra examples/webengagement; do
	(cd "$root/$module" && go test -count=1 -timeout 6m -v -run '^TestReal' "$@" .)
done
