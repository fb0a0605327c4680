# The front door. `make run` and `make test` work on a fresh Debian 12; the others expect what `make setup` installs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
JOBS ?= $(shell nproc)
CONFIG ?= config/streambus.toml
export PLUGINS STATIC

.PHONY: help setup build dist run test test-release test-asan test-tsan bench fuzz soak soak-kit format format-check lint docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is needed (Debian packages; as root or with sudo)
	@scripts/setup.sh

build: ## Build release into build/release (bin/, lib/streambus/plugins/)
	@scripts/build.sh release

dist: setup ## Make a tarball of a broker: PLUGINS="storage-wal transport-tcp protocol-kafka" [STATIC=1]
	@scripts/dist.sh

run: setup build ## Build and start the broker on 127.0.0.1:9092
	@exec build/release/bin/streambusd --config $(CONFIG)

test: setup test-release test-asan test-tsan lint ## Build and test everything: the three below, format and clang-tidy
	@scripts/summary.sh release asan tsan

test-release: ## Build and test with GCC, optimised
	@scripts/test.sh release

test-asan: ## Build and test with clang, address and undefined-behaviour sanitizers, short fuzzing
	@scripts/test.sh asan

test-tsan: ## Build and test with clang, thread sanitizer
	@scripts/test.sh tsan

bench: build ## Run the micro-benchmarks
	@build/release/bin/streambus-microbench --benchmark_min_time=0.2

fuzz: ## Run every fuzz target for a million executions
	@scripts/build.sh asan fuzz

soak: build ## The long durability soaks (STREAMBUS_KILL_CYCLES, default 1000)
	@scripts/soak.sh

soak-kit: build ## The long runs of the conformance kit: 50 seeds, and every engine at level stress
	@scripts/kit_soak.sh

format: ## Format all sources
	@scripts/sources.sh | xargs clang-format-19 -i

format-check:
	@scripts/sources.sh | xargs clang-format-19 --dry-run --Werror

lint: format-check ## Check formatting and run clang-tidy (results are cached by content)
	@scripts/lint.py --build build/asan --jobs $(JOBS)

docs: build ## Regenerate the generated parts of docs/
	@scripts/docs.sh

clean: ## Remove the build folder
	rm -rf build
