#!/usr/bin/env bash
# Measures guard against its rivals and writes benchmarks/RESULTS.md, speed.svg and
# curves.svg. The defaults take some 17 minutes. Most of a round does not depend on
# BENCHTIME, and more rounds tell more than longer ones.
#
# As in bench.sh, the test binary is built once and run ROUNDS times for a short
# time each, because a shared machine drifts: the contenders of a job run next to
# each other in every round, and ratios are those of the same round.
#
# Settings, from the environment:
#
#	ROUNDS     rounds (10; below 6 no difference can be told from chance)
#	BENCHTIME  time of one benchmark in one round (50ms)
#	BENCH      which benchmarks, a regular expression (.); without Exact, nobody is
#	           known to over-admit
#	RAW        file that keeps the unprocessed output (none)
set -euo pipefail
cd "$(dirname "$0")/../benchmarks"
export GOWORK=off

rounds=${ROUNDS:-10}
benchtime=${BENCHTIME:-50ms}
if ! [[ $rounds =~ ^[1-9][0-9]*$ ]]; then
	echo "bench-rivals: ROUNDS is \"$rounds\", want a number of at least 1" >&2
	exit 2
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go test . # a contender that does not do the job would win it
go test -c -o "$tmp/rivals.test" .

for ((i = 1; i <= rounds; i++)); do
	echo "round $i of $rounds" >&2
	if ! "$tmp/rivals.test" -test.run '^$' -test.bench "${BENCH:-.}" -test.benchtime "$benchtime" \
		-test.timeout 1h >"$tmp/round.txt"; then
		cat "$tmp/round.txt" >&2
		echo "bench-rivals: round $i failed" >&2
		exit 1
	fi
	cat "$tmp/round.txt" >>"$tmp/raw.txt"
done
if [ -n "${RAW:-}" ]; then
	cp "$tmp/raw.txt" "$RAW"
fi
go test -count=1 -run '^TestResults$' . -args -raw "$tmp/raw.txt" -rounds "$rounds" -benchtime "$benchtime"
