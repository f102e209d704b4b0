# What qsuper is built, tested and measured with. `make help` lists the targets.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# What packages are called: the tag, and behind it, without one too, how far the tree is from there.
PACKAGE ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g' | grep . || git log -1 --format='0.0.0+%cd.%h' --date=format:%Y%m%d%H%M%S)
NFPM    ?= $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
LDFLAGS  = -s -w -X main.release=$(VERSION)
# Packages with goroutines or processes, which is whatever is not pure: always under the race detector.
PURE     = ./config/... ./internal/... ./plan/... ./schedule/... ./simulate/... ./slot/...
SERVERS  = ./health/backends/... ./lease/backends/...
RACE     = $(shell $(GO) list ./... | grep -vE "^qsuper/(config|internal|plan|schedule|simulate|slot|test|bench|health/backends|lease/backends)(/|$$)")

DURATION ?= 10m

.DEFAULT_GOAL := help
.PHONY: help build demo test unit volume servers acceptance faults generic hosts soak simulate race lint check bench dist nfpm generate packages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/qsuper, one static file
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o bin/qsuper ./cmd/qsuper

demo: build ## the whole thing in a minute, nothing to install
	./bin/qsuper demo

test: packages build unit volume servers acceptance ## everything, against real servers and consumers (installs Debian packages)

# Three packages at a time on two cores, as some wait; the longest first. The race detector lets each process wait at its end, for a second if
# nothing is said, for what other threads are about to report.
unit: ## packages on their own
	$(GO) test $(PURE)
	GORACE=atexit_sleep_ms=50 $(GO) test -race -p 3 -parallel 16 ./keeper ./runner ./logs $(RACE)

volume: ## those of them that `unit` runs with little: many random rounds, much output
	$(GO) test -count=1 -timeout 10m -run 'TestRandomSchedules' ./lease -rounds 1000
	$(GO) test -race -count=1 -timeout 10m -run 'TestRandomSchedules' ./lease -rounds 200
	$(GO) test -race -count=1 -timeout 10m -run 'TestRandomFaults|TestRandomOutages|TestFiresOverHostsAtRandom' ./runner -rounds 30
	$(GO) test -count=1 -timeout 10m ./plan -rounds 100
	$(GO) test -count=1 -timeout 10m ./schedule -years 50
	$(GO) test -race -count=1 -timeout 10m -run 'TestTerminateWhileTheNextKeeperBegins' ./keeper -moments 40
	$(GO) test -race -count=1 -timeout 10m -run 'TestRotationLosesNothing|TestFollowAcrossRotations|TestKilledPumpLosesNothing|TestEndLeavesNothingHalfCompressed' ./logs -lines 6000

servers: ## connection and lock types, each against the real server
	$(GO) test -race $(SERVERS)

# Here too they wait more than they work.
acceptance: build ## the binary with real brokers, databases and third-party consumers
	$(GO) test -p 3 -count=1 -timeout 30m ./test/...

faults: ## kills, full disks, dead brokers, consumers that misbehave
	QSUPER_FAULTS=all $(GO) test -count=1 -timeout 40m -v -run 'TestFaults|TestCatalogue|TestElsewhere' ./test/faults

generic: ## what runs on other machines than amd64 (no assembly, an exec helper), on this one
	GOFLAGS=-tags=novfork $(GO) test -race ./internal/vfork ./proc ./keeper
	GOFLAGS=-tags=novfork $(GO) test -count=1 -timeout 20m -run 'TestFaults|TestElsewhere' ./test/faults

hosts: ## two hosts in namespaces and each lock type: every fault, then random ones for DURATION=10m; SEED=… does a run again
	QSUPER_HOSTS=all $(GO) test -count=1 -timeout 20m -v -run 'TestHosts' ./test/hosts
	QSUPER_SOAK=$(DURATION) QSUPER_SEED=$(SEED) $(GO) test -count=1 -timeout 0 -v -run 'TestRounds' ./test/hosts

soak: ## random kills and commands for DURATION=10m; SEED=… does a run again
	QSUPER_SOAK=$(DURATION) QSUPER_SEED=$(SEED) \
		$(GO) test -count=1 -timeout 0 -v -run 'TestSoak' ./test/faults

simulate: ## a day of a queue under qsuper's scaling and that of others; SEED=… for another day
	$(GO) test -count=1 -v -run 'TestDay' ./simulate -seed $(or $(SEED),1)

race: ## every package under the race detector
	$(GO) test -race ./...

lint: ## gofmt, vet, staticcheck where it is installed
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	$(GO) vet ./...
	@if command -v staticcheck >/dev/null; then staticcheck ./...; fi

check: lint generate unit ## what must be true before a commit
	git diff --exit-code -- slot/doc.go docs/reference.md docs/configuration.md

generate: ## files that are made from code
	$(GO) test ./slot -run TestEveryReachableState -update
	$(GO) test ./cmd/qsuper -run 'TestReference|TestConfiguration' -update

bench: build ## qsuper beside runit, s6, Supervisor and bare C, in one run
	$(GO) run ./bench -qsuper bin/qsuper

dist: ## dist/: static binaries for amd64 and arm64, .deb and .rpm
	GO="$(GO)" NFPM="$(NFPM)" ./deploy/package/build dist $(PACKAGE) amd64 arm64

nfpm:
	@echo "$(NFPM)"

packages: ## the Debian packages that the tests need
	./test/install-packages

clean: ## remove what was built
	rm -rf bin dist
