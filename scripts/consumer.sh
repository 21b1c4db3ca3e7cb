#!/usr/bin/env bash
# Builds and runs a program in a module of its own that uses the library.
#
# Why: inside the repository a go.work, a replace or a package that only tests
# import can make a build work that fails for users. This one sees what they
# see, and checks what the library brings into their build and module graph.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export GOWORK=off GOFLAGS=-buildvcs=false
cd "$root"

module=$(go list -m)
rate=golang.org/x/time
breaker=github.com/sony/gobreaker/v2
testify=github.com/stretchr/testify
# What these three require comes with them: it is in the module graph (mostly
# for their tests), whether or not anything is built from it.
theirs=$(go mod graph | awk -v three="$rate $breaker $testify" '
	BEGIN { n = split(three, name, " ") }
	{ for (i = 1; i <= n; i++) if (index($1, name[i] "@") == 1) { sub(/@.*/, "", $2); print $2 } }' | sort -u)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >go.mod <<EOT
module consumer.example

go 1.25.0

require $module v0.0.0

replace $module => $root
EOT

cat >main.go <<EOT
// Consumer serves two requests with a bucket of one token.
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"$module"
)

func main() {
	g, err := guard.New(guard.Config{Limit: guard.Limit{Rate: 1, Burst: 1}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	}))
	for _, want := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != want {
			fmt.Fprintf(os.Stderr, "status %d, want %d; body: %s\n", w.Code, want, w.Body)
			os.Exit(1)
		}
	}
	fmt.Println("ok")
}
EOT

# outside prints the modules of standard input that are not in the list given.
outside() {
	sort -u | grep -vxF -f <(printf '%s\n' consumer.example "$module" "$@") || true
}
fail() {
	echo "consumer: $1:" >&2
	printf '%s\n' "$2" | sed 's/^/    /' >&2
	exit 1
}

go mod tidy
go vet ./...
go build -o consumer .
output=$(./consumer)
[ "$output" = ok ] || fail "the program printed, instead of ok" "$output"

extra=$(go list -deps -f '{{with .Module}}{{.Path}}{{end}}' . | sed '/^$/d' | outside "$rate" "$breaker")
[ -z "$extra" ] || fail "these modules are built into the consumer, and should not be" "$extra"

extra=$(go list -m -f '{{.Path}}' all | outside "$rate" "$breaker" "$testify" "$theirs")
[ -z "$extra" ] || fail "these modules are in the consumer's module graph, and should not be" "$extra"

echo "consumer: builds, runs, and brings nothing but $rate and $breaker"
