# The project's commands; `make help` lists them. Each first makes sure that what it needs is there (scripts/setup.sh).
#
# Everything compiles in the release profile: the tests train networks, and one profile means that libtorch's C++
# bindings, the slow part of a first build, are compiled once for the program, the tests, the benchmarks and clippy.

CARGO ?= cargo
# Extra arguments: for cargo in every target (CARGO_ARGS=--locked), for the tests (TEST_ARGS=splits: a name to filter by),
# for the demo (DEMO_ARGS='seed=7').
CARGO_ARGS ?=
TEST_ARGS ?=
DEMO_ARGS ?=
# Unlearning methods of the demo: names separated by commas, or all.
METHODS ?= regun
# For gpu-check: a .tar.gz of train/<class>/* and test/<class>/* with image files.
IMAGES ?=

target := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup build test slow-test lint bench gpu-check demo

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing: compiler, MPI, libtorch (3 GB, unless LIBTORCH names one)
	@./scripts/setup.sh

build: setup ## target/release/regun
	$(CARGO) build --release $(CARGO_ARGS)

test: setup ## the tests
	$(CARGO) test --release $(CARGO_ARGS) --lib --bins --tests -- $(TEST_ARGS)

slow-test: setup ## the tests and those that take minutes
	$(CARGO) test --release $(CARGO_ARGS) --features slow-tests --lib --bins --tests -- $(TEST_ARGS)

lint: setup ## formatting and clippy, warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release $(CARGO_ARGS) --all-targets -- -D warnings

bench: setup ## training and inference speed, side by side with PyTorch
	$(CARGO) bench $(CARGO_ARGS) --bench throughput

gpu-check: build ## a bundle that checks everything on another machine, with a GPU and without a compiler (IMAGES=)
	$(CARGO) test --release $(CARGO_ARGS) --no-run --test gpu
	$(CARGO) bench $(CARGO_ARGS) --no-run --bench throughput
	@./scripts/gpu-check/bundle.sh $(target) $(IMAGES)

demo: build ## base, retrained and reference models, unlearning and evaluation on a small data set (METHODS=all)
	$(target)/release/regun pipeline experiment=demo --methods $(METHODS) $(DEMO_ARGS)
