# Two commands do all the set-up on a fresh Debian machine with Swift: `make build` and `make test`.
# Missing packages are installed with apt (as root, or through sudo).

SWIFT ?= swift
APT = pkg-config zlib1g-dev libzstd-dev libisal-dev libdeflate-dev libsqlite3-dev

.PHONY: deps build release test format lint clean

deps:
	@Scripts/install-packages $(APT)

build: deps
	$(SWIFT) build

release: deps
	$(SWIFT) build -c release

test: deps
	Scripts/check-imports
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

lint:
	Scripts/check-imports

clean:
	$(SWIFT) package clean
