#!/usr/bin/env bash
# Runs the tests of adapters/guardcassandra that need a real Cassandra.
#
#	scripts/cassandra-tests.sh [flags of go test]
#
# They start it on loopback, without Docker, and stop it again: with bash, Java
# 17 and, the first time, Maven to fetch its jars. It takes about two minutes, of
# which Cassandra starts for one, and ends within eight whatever happens. What
# the faults came to is printed as tables.
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
cd "$root/adapters/guardcassandra"
exec go test -count=1 -timeout 8m -v -run '^TestReal' "$@" .
