# The targets below are the project's commands; `make` prints them.
SHELL := /bin/bash
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help test test-rust lint need-cargo header test-c install-lib lib

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "libkv needs Rust 1.85 or newer with cargo: install it with rustup, or 'apt-get install rustup'"; exit 1; }
	@command -v cc >/dev/null || { echo "libkv needs a C compiler for zstd: apt-get install gcc"; exit 1; }

test: lint test-rust test-c ## everything that CI runs

lint: need-cargo ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features ffi -- -D warnings

test-rust: need-cargo ## unit, integration and doc tests of the crate
	$(CARGO) test --locked --features ffi

# The C library. Both files in one build; the crate itself stays a plain `lib`, so that `cargo test` links neither.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
PREFIX ?= /usr/local

header: need-cargo ## write include/kv.h anew from src/ffi/
	KV_WRITE_HEADER=1 $(CARGO) test --locked --test header

lib: need-cargo ## libkv.so and libkv.a in target/release
	$(CARGO) rustc --release --locked --lib --features ffi --crate-type cdylib,staticlib -- -C link-arg=-Wl,-soname,libkv.so.$(firstword $(subst ., ,$(VERSION)))

install-lib: lib ## libkv.so, libkv.a, kv.h and libkv.pc, under PREFIX (/usr/local)
	bindings/c/install.sh target/release $(VERSION) $(PREFIX)

test-c: need-cargo ## the C ABI from C: plain, sanitizers, valgrind, examples, package
	@{ command -v valgrind && command -v c++ && command -v pkg-config; } >/dev/null || apt-get install -y --no-install-recommends valgrind g++ pkg-config
	$(CARGO) rustc --locked --lib --features ffi --crate-type staticlib
	bindings/c/test.sh target/debug/libkv.a
	$(MAKE) install-lib PREFIX=$(CURDIR)/target/package
	bindings/c/package.sh $(CURDIR)/target/package
