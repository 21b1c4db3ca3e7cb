#!/usr/bin/env bash
# Measures guard against its rivals and writes benchmarks/RESULTS.md and speed.svg.
#
# As in bench.sh, the test binary is built once and run ROUNDS times for a short
# time each, because a shared machine drifts: the contenders of a job run next to
# each other in every round, and ratios are those of the same round.
#
# Settings, from the environment:
#
#	ROUNDS     rounds (10; below 4 no difference can be told from chance)
#	BENCHTIME  time of one benchmark in one round (0.2s)
#	BENCH      which benchmarks, a regular expression (.)
#	RAW        file that keeps the unprocessed output (none)
set -euo pipefail
cd "$(dirname "$0")/../benchmarks"
export GOWORK=off

rounds=${ROUNDS:-10}
benchtime=${BENCHTIME:-0.2s}
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
