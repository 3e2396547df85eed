# Two commands do all the set-up on a fresh Debian machine with Swift: `make demo` and `make test`.
# Missing packages are installed with apt (as root, or through sudo).

SWIFT ?= swift
# To build; to build images (the runtime, emulation, id maps, certificates); for the demo and the tests (a real registry, and the others' tools to check with).
APT = pkg-config zlib1g-dev libzstd-dev libisal-dev libdeflate-dev libsqlite3-dev \
  crun qemu-user-static uidmap util-linux ca-certificates git \
  docker-registry skopeo umoci libarchive-tools zstd jq python3 attr openssh-client

.PHONY: deps build release demo test test-release fuzz bench format lint clean

deps:
	@Scripts/install-packages $(APT)

build: deps
	$(SWIFT) build

release: deps
	$(SWIFT) build -c release --product manifold

demo: release
	Scripts/demo

test: deps
	Scripts/check-imports
	$(SWIFT) build --build-tests
	SWIFT=$(SWIFT) Scripts/run-tests

# The tests of the whole program again, with the optimised one: optimisers have bugs of their own.
test-release: release
	$(SWIFT) build --build-tests
	SWIFT=$(SWIFT) MANIFOLD_BINARY=$(CURDIR)/.build/release/manifold Scripts/run-tests --filter '^IntegrationTests\.'

fuzz: deps
	Scripts/fuzz

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

lint:
	Scripts/check-imports

clean:
	$(SWIFT) package clean

# Against buildah and a docker buildx builder where they are, on a registry of its own; then the micro-benchmarks. BENCH passes options (-n 5 --workloads files).
bench: release
	@Scripts/install-packages $(APT)
	MANIFOLD_BENCH=1 $(SWIFT) build -c release --product manifold-bench
	.build/release/manifold-bench
	Scripts/bench-all $(BENCH)
