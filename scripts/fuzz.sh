#!/usr/bin/env bash
# Runs every fuzz target of one module, one at a time, for FUZZTIME each.
#
#	scripts/fuzz.sh [module directory]
#
# Why a script: `go test -fuzz` takes one target of one package, so that a
# target nobody lists by hand is a target that never runs. This one asks the
# packages what they have.
set -euo pipefail

fuzztime=${FUZZTIME:-10s}
cd "${1:-.}"

if [[ $(go list ./... 2>&1) == *'matched no packages'* ]]; then
	echo "== ${1:-.}: no packages"
	exit 0
fi

# `go test -list` names a package's targets first and the package after them.
if ! listed=$(go test -list '^Fuzz' ./...); then
	printf '%s\n' "$listed" >&2
	echo "fuzz: the tests of ${1:-.} do not build" >&2
	exit 1
fi
targets=$(awk '$1 ~ /^Fuzz/ && NF == 1 { names[++n] = $1 }
	$1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' <<<"$listed")
if [ -z "$targets" ]; then
	echo "== ${1:-.}: no fuzz targets"
	exit 0
fi

out=$(mktemp)
trap 'rm -f "$out"' EXIT

# fuzz runs one target and leaves what it printed in $out.
fuzz() {
	go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" "$1" </dev/null 2>&1 | tee "$out"
}

while read -r package name; do
	echo "== $package $name, $fuzztime"
	if fuzz "$package" "$name"; then
		continue
	fi
	# When the time is up while an input is being run, the engine can report its
	# own deadline as the target's failure. It saves no input then, and a real
	# failure always does: only the former gets a second chance.
	if grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out"; then
		echo "== $package $name: the engine's own deadline, once more"
		if fuzz "$package" "$name"; then
			continue
		fi
	fi
	echo "fuzz: $name in $package failed" >&2
	exit 1
done <<<"$targets"
