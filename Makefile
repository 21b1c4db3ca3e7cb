# The targets are the steps of .ci/run: what passes here passes there.
#
# `./...` stops at a nested go.mod, so everything below walks over the modules.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# A local go.work would hide a stale require, so no target sees one.
export GOWORK := off

# Every module of the repository, and those that have tests.
MODULES := $(shell find . \( -name testdata -o -name '.?*' \) -prune -o -name go.mod -print | sed 's|/go.mod$$||' | LC_ALL=C sort)
TESTED  := $(filter-out ./tools,$(MODULES))
# The simulator runs one goroutine at a time, by design, and computes for a minute;
# the dashboard is raced by its own tests, not by those in a browser.
THREADED := $(filter-out ./simulator ./dashboard/browsertest,$(TESTED))

# A tool, at the version tools/go.mod pins: $(TOOL) name.
TOOL := go tool -modfile=$(CURDIR)/tools/go.mod

# Settings, each to be given on the command line: make fuzz FUZZTIME=1m.
FUZZTIME  ?= 10s
BENCH     ?= .
BENCHTIME ?=
ROUNDS    ?=
RAW       ?=
MODULE    ?=
export FUZZTIME BENCH BENCHTIME ROUNDS RAW MODULE

comma := ,

# $(call each,modules,command) runs the command in each of the modules that
# has packages, stops at the first failure, and says where it is.
define each
	@for m in $(1); do \
		packages="$$(cd "$$m" && go list ./... 2>&1)" || { echo "$$packages" >&2; echo "make $@: failed in $$m" >&2; exit 1; }; \
		case "$$packages" in *'matched no packages'*) echo "== $$m: no packages"; continue ;; esac; \
		echo "== $$m"; \
		( cd "$$m" && $(2) ) || { echo "make $@: failed in $$m" >&2; exit 1; }; \
	done
endef

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: test
test: ## go test in every module
	$(call each,$(TESTED),go test ./...)
	@echo "make test: Cassandra and Genesys were stand-ins, in the tests' own processes; make faults breaks them, make cassandra a real Cassandra"

.PHONY: faults
faults: ## every fault of the stand-ins and of the network, under load, as a table
	cd examples/webengagement && GUARD_FAULTS=1 go test -race -count=1 -v -run '^TestFault$$' .

.PHONY: race
race: ## go test with the race detector, on one and on two CPUs, in every module
	$(call each,$(THREADED),go test -race -timeout 40m -cpu 1$(comma)2 ./...)

.PHONY: 386
386: ## go vet and go test for 32 bits (alignment of atomics, size of int)
	@case "$$(go env GOHOSTOS)/$$(go env GOHOSTARCH)" in \
		linux/amd64|linux/386|windows/amd64|windows/386) ;; \
		*) echo "make 386: this machine cannot run 32-bit x86 programs" >&2; exit 1 ;; \
	esac
	$(call each,$(THREADED),GOARCH=386 CGO_ENABLED=0 go vet ./... && GOARCH=386 CGO_ENABLED=0 go test ./...)

.PHONY: cross
cross: cross-windows-amd64 cross-darwin-arm64 cross-linux-arm64 ## build and vet, tests included, for the other systems

# -o discards: a single main package would otherwise be written to the tree.
cross-%:
	$(call each,$(TESTED),export CGO_ENABLED=0 GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)); echo "   $*"; go build -buildvcs=false -o /dev/null ./... && go vet ./...)

.PHONY: vet
vet: ## go vet in every module
	$(call each,$(MODULES),go vet ./...)

.PHONY: fmt-check
fmt-check: ## fail if gofmt would change a file
	@files="$$(find . \( -name testdata -o -name '.?*' \) -prune -o -name '*.go' -print0 | xargs -0 -r gofmt -l)"; \
	[ -z "$$files" ] || { printf 'gofmt would change:\n%s\n' "$$files" >&2; exit 1; }

.PHONY: tidy-check
tidy-check: ## fail if go mod tidy would change a go.mod (not that of the tools)
	$(call each,$(TESTED),go mod tidy -diff)

.PHONY: lint
lint: ## golangci-lint in every module (the first run builds it, which takes minutes)
	$(call each,$(MODULES),$(TOOL) golangci-lint run ./...)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s), one at a time
	@for m in $(TESTED); do scripts/fuzz.sh "$$m"; done

.PHONY: bench
bench: ## paired benchmarks: guard against its baseline, as ratios (ROUNDS, BENCH, BENCHTIME, RAW=file)
	@scripts/bench.sh

.PHONY: bench-rivals
bench-rivals: ## guard against its rivals: writes benchmarks/RESULTS.md (ROUNDS, BENCH, BENCHTIME, RAW=file)
	@scripts/bench-rivals.sh

.PHONY: deps
deps: ## the dependency budget of the root module
	go test -count=1 -v -run '^TestDependency' .

.PHONY: api
api: ## rewrite testdata/api.txt, the exported API that a test compares with
	GUARD_UPDATE_API=1 go test -count=1 -run '^TestAPI$$' .
	@echo "testdata/api.txt is up to date: review the change as you would code"

.PHONY: cassandra
cassandra: ## the Cassandra adapter and the reference server against a real Cassandra (Java 17, Maven)
	@scripts/cassandra-tests.sh

.PHONY: consumer
consumer: ## build and run a program of its own module that uses the library
	@scripts/consumer.sh

.PHONY: rename
rename: ## MODULE=host/path: change the module path in every tracked file
	@scripts/rename.sh "$$MODULE"

.PHONY: ci
ci: ## everything that .ci/run checks
	@.ci/run
