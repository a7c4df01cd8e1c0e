# The targets below are the project's commands; `make` prints them.
SHELL := /bin/bash
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help test test-rust lint need-cargo

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "libkv needs Rust 1.85 or newer with cargo: install it with rustup, or 'apt-get install rustup'"; exit 1; }
	@command -v cc >/dev/null || { echo "libkv needs a C compiler for zstd: apt-get install gcc"; exit 1; }

test: lint test-rust ## everything that CI runs

lint: need-cargo ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features testing -- -D warnings

test-rust: need-cargo ## unit, integration and doc tests of the crate
	$(CARGO) test --locked --features testing
