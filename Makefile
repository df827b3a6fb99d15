# What can be made here. Everything but `make` and `make run` installs the Debian packages that it needs, if it may.
#
#   make            build bin/liaison
#   make run        build, and serve a demonstration on this machine
#   make test       all tests; those against real programs on real networks need Debian and root
#   make bench      what an operation costs, beside Kamailio
#   make fuzz       every fuzzer for FUZZTIME
#   make lint       gofmt, go vet, staticcheck
#   make generate   renew what is generated and committed
#   make programme  render the programme of the test number anew
#   make deb        dist/liaison_VERSION_ARCH.deb

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The version is the newest one in the change log; between releases the commit is added.
RELEASE := $(shell sed -n 's/^\#\# \([0-9][^ ]*\).*/\1/p' CHANGELOG.md | head -n 1)
COMMIT  := $(shell git describe --tags --exact-match 2>/dev/null | grep -q . || git log -1 --format=+%cd.%h --date=format:%Y%m%d 2>/dev/null)
VERSION ?= $(RELEASE)$(COMMIT)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME    ?= 5s

# Debian packages, in this one place.
RACE_PACKAGES      := gcc libc6-dev
TEST_PACKAGES      := $(RACE_PACKAGES) baresip-core linphone-cli sip-tester sipsak kamailio ffmpeg sox opus-tools coturn stun-client iproute2 nftables procps
BENCH_PACKAGES     := kamailio
PROGRAMME_PACKAGES := espeak-ng sox libsox-fmt-all ffmpeg opus-tools

.PHONY: build run test test-unit test-race test-e2e bench fuzz lint generate programme deb clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/liaison ./cmd/liaison

run: build
	bin/liaison serve --demo

test: test-unit test-race test-e2e

test-unit:
	go test ./...

test-race:
	@.ci/install $(RACE_PACKAGES)
	@if command -v gcc >/dev/null; then set -x; CGO_ENABLED=1 go test -race ./...; \
	else echo 'SKIPPED: the race detector needs gcc'; [ "$${CI:-}" != true ]; fi

test-e2e:
	@.ci/install $(TEST_PACKAGES)
	@if [ "$$(id -u)" = 0 ]; then set -x; go test -tags e2e -count=1 -timeout 15m ./e2e/...; \
	else echo 'SKIPPED: the tests in e2e/ make network namespaces and need root'; [ "$${CI:-}" != true ]; fi

bench:
	@.ci/install $(BENCH_PACKAGES)
	go run ./bench

# One fuzzer at a time, because `go test -fuzz` takes one.
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' internal | while read -r file; do \
		grep -o '^func Fuzz[A-Za-z0-9_]*' "$$file" | cut -c 6- | while read -r fuzzer; do \
			echo "$$fuzzer in $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$fuzzer\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
		done; \
	done

lint:
	@unformatted=$$(gofmt -l bench cmd e2e internal); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags e2e ./e2e/...
	go run $(STATICCHECK) -tags e2e ./...

generate:
	go test ./internal/app -run '^TestRFCIndex$$' -count=1 -update

programme:
	@.ci/install $(PROGRAMME_PACKAGES)
	internal/agent/programme/build.sh

deb: build
	packaging/build '$(VERSION)' bin/liaison dist

clean:
	rm -rf bin dist
