# The commands of the project; `make help` lists them. Each first installs missing tools (scripts/setup.sh).
#
# Everything compiles in the release profile, because the tests train networks. With a single profile the C++ bindings
# of libtorch, the slow part of a first build, are compiled once for the program, the tests, the benchmarks and clippy.

CARGO ?= cargo
# Extra arguments: CARGO_ARGS for cargo in every target (--locked), TEST_ARGS for the tests (a name to filter by),
# DEMO_ARGS for the demo ('seed=7').
CARGO_ARGS ?=
TEST_ARGS ?=
DEMO_ARGS ?=
# Unlearning methods of the demo: names separated by commas, or all.
METHODS ?= regun
# The images for gpu-check: a .tar.gz of train/<class>/* and test/<class>/* with image files.
IMAGES ?=

target := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup build test slow-test lint bench gpu-check demo

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install missing tools: compiler, MPI, libtorch (3 GB, unless LIBTORCH names one)
	@./scripts/setup.sh

build: setup ## compile target/release/regun
	$(CARGO) build --release $(CARGO_ARGS)

test: setup ## run the tests
	$(CARGO) test --release $(CARGO_ARGS) --lib --bins --tests -- $(TEST_ARGS)

slow-test: setup ## run all tests, also those that take minutes
	$(CARGO) test --release $(CARGO_ARGS) --features slow-tests --lib --bins --tests -- $(TEST_ARGS)

lint: setup ## check formatting and run clippy, warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release $(CARGO_ARGS) --all-targets -- -D warnings

bench: setup ## measure training and inference speed, side by side with PyTorch
	$(CARGO) bench $(CARGO_ARGS) --bench throughput

gpu-check: build ## pack a bundle that checks everything on a machine with a GPU and without a compiler (IMAGES=)
	$(CARGO) test --release $(CARGO_ARGS) --no-run --test gpu
	$(CARGO) bench $(CARGO_ARGS) --no-run --bench throughput
	@./scripts/gpu-check/bundle.sh $(target) $(IMAGES)

demo: build ## train base, retrained and reference models, unlearn and evaluate on a small data set (METHODS=all)
	$(target)/release/regun pipeline experiment=demo --methods $(METHODS) $(DEMO_ARGS)
