#!/usr/bin/env bash
# Runs the root package's paired benchmarks and prints them as ratios.
#
# A pair is two benchmarks whose names differ in one element: "guard" and
# "baseline", as in BenchmarkLimiter/admit/guard and
# BenchmarkLimiter/admit/baseline.
#
# Why rounds: on a shared machine a run of minutes drifts, and one side measured
# before the other would carry the drift. So the test binary is built once and
# run ROUNDS times for a short time each; the two sides of a pair run next to
# each other in every round, and medians over the rounds are compared.
#
# Settings, from the environment:
#
#	ROUNDS     rounds (10)
#	BENCHTIME  time of one benchmark in one round (0.2s)
#	BENCH      which benchmarks, a regular expression (.)
#	RAW        file that keeps the unprocessed output (none)
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

rounds=${ROUNDS:-10}
benchtime=${BENCHTIME:-0.2s}
bench=${BENCH:-.}
if ! [[ $rounds =~ ^[1-9][0-9]*$ ]]; then
	echo "bench: ROUNDS is \"$rounds\", want a number of at least 1" >&2
	exit 2
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

go test -c -o "$tmp/guard.test" .
go build -C tools -o "$tmp/ratios" ./ratios
if ! [ -x "$tmp/guard.test" ]; then
	echo "bench: the root package has no tests" >&2
	exit 1
fi

for ((i = 1; i <= rounds; i++)); do
	echo "round $i of $rounds" >&2
	if ! "$tmp/guard.test" -test.run '^$' -test.bench "$bench" -test.benchtime "$benchtime" \
		-test.count 1 -test.benchmem >"$tmp/round.txt"; then
		cat "$tmp/round.txt" >&2
		echo "bench: round $i failed" >&2
		exit 1
	fi
	cat "$tmp/round.txt" >>"$tmp/raw.txt"
done
if [ -n "${RAW:-}" ]; then
	cp "$tmp/raw.txt" "$RAW"
fi

cpu=$(awk -F ': *' '/^cpu:/ { print $2; exit }' "$tmp/raw.txt")
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo '?')
printf '%s, %s, %s cores, %s\n' "$(go env GOVERSION)" "$(go env GOOS)/$(go env GOARCH)" "$cores" "${cpu:-cpu unknown}"
printf '%s rounds of %s\n\n' "$rounds" "$benchtime"

"$tmp/ratios" -split "$tmp" "$tmp/raw.txt"

# The same numbers with their spread; benchstat wants a file for each side.
if [ -s "$tmp/baseline.txt" ]; then
	echo
	go tool -modfile="$PWD/tools/go.mod" benchstat baseline="$tmp/baseline.txt" guard="$tmp/guard.txt"
fi
