# The targets below are the project's commands; `make` prints them.
SHELL := /bin/bash
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help test test-rust test-loom lint need-cargo

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "libkv needs Rust 1.85 or newer with cargo: install it with rustup, or 'apt-get install rustup'"; exit 1; }
	@command -v cc >/dev/null || { echo "libkv needs a C compiler for zstd: apt-get install gcc"; exit 1; }

test: lint test-rust test-loom ## everything that CI runs

lint: need-cargo ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/loom/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings

test-rust: need-cargo ## unit, integration and doc tests of the crate
	$(CARGO) test --locked

test-loom: need-cargo ## loom models: every interleaving of the lock-free protocols
	$(CARGO) test --locked --release --manifest-path tests/loom/Cargo.toml --target-dir target/loom
