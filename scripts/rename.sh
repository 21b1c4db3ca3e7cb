#!/usr/bin/env bash
# Changes the module path in every tracked file: go.mod files, imports, docs.
#
#	scripts/rename.sh host/path        (or: make rename MODULE=host/path)
#
# Why a script: the path stands in every nested module's require and replace, in
# imports, in the linter's configuration and in the documentation, and it has to
# change in all of them at once, with imports sorted anew.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOWORK=off

new=${1:-}
die() {
	echo "rename: $*" >&2
	echo "rename: nothing was changed" >&2
	exit 2
}

[ -n "$new" ] || die "no module path given; use: make rename MODULE=host/path"
[[ $new =~ ^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(/[A-Za-z0-9_][A-Za-z0-9._~-]*)+$ ]] ||
	die "\"$new\" is not a module path such as example.org/team/guard"
if [[ $new =~ /v[0-9]+$ || $new =~ ^gopkg\.in/ ]]; then
	die "\"$new\" ends in a major version: that also changes every require's version, which this does not do"
fi
# The go command knows rules of its own (reserved names, a dot at the end).
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
said=$(cd "$probe" && go mod init "$new" 2>&1) || die "the go command refuses \"$new\": $said"

old=$(go list -m)
[ "$new" != "$old" ] || die "the module path is \"$new\" already"
git rev-parse --is-inside-work-tree >/dev/null || die "not a git checkout: which files are tracked cannot be told"

# The old path, but neither inside a longer host name nor as the beginning of a
# longer last element ("x.example/guard" is not part of "x.example/guardian").
export OLD=$old NEW=$new
changed=0
while IFS= read -r -d '' file; do
	if [ -L "$file" ] || ! [ -f "$file" ]; then continue; fi
	perl -pi -e 's/(?<![A-Za-z0-9.-])\Q$ENV{OLD}\E(?![A-Za-z0-9_-])/$ENV{NEW}/g' "$file"
	changed=$((changed + 1))
done < <(git grep -zlIF -e "$old")

# Sorted by path, imports and requires may now stand in another order.
git ls-files -z '*.go' | while IFS= read -r -d '' file; do
	case /$file in */testdata/*) continue ;; esac
	if [ -f "$file" ]; then printf '%s\0' "$file"; fi
done | xargs -0 -r gofmt -w
git ls-files -z 'go.mod' '*/go.mod' | while IFS= read -r -d '' file; do
	case /$file in */testdata/*) continue ;; esac
	if [ -f "$file" ]; then go mod edit -fmt "$file"; fi
done

echo "rename: $old is now $new, in $changed files; run make test, then look at git diff"
untracked=$(git ls-files --others --exclude-standard -z | xargs -0 -r grep -lF -e "$old" -- || true)
if [ -n "$untracked" ]; then
	printf 'rename: these are not tracked and still name the old path:\n%s\n' "$untracked"
fi
