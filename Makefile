# The targets below are the project's commands; `make` prints them.
SHELL := /bin/bash
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
FEATURES := cli,ffi,testing,msgpack,postcard,prost

.DEFAULT_GOAL := help
.PHONY: help run test lint test-rust test-loom test-protocol test-shuttle test-sanitizers test-c test-go test-python test-hosts test-tier test-fuzz test-bugs bench bench-traces bench-tier bench-core bench-dictionary bench-instructions bench-c bench-go bench-python campaign install \
	install-lib lib lib-go header need-cargo need-go need-python

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "libkv needs Rust 1.85 or newer with cargo: https://rustup.rs, or 'apt-get install rustup'"; exit 1; }
	@# zstd is built with a C compiler.
	@scripts/need.sh cc=gcc /usr/include/stdlib.h=libc6-dev
	@echo "crates that are lacking are downloaded by cargo, as Cargo.lock names them"

run: need-cargo ## build a release and run the main job on this machine's package index
	$(CARGO) build --release --locked --features cli,redis-tls,protobuf --bin kv --example packages
	scripts/run.sh $(TARGET_DIR)/release/kv $(TARGET_DIR)/release/examples/packages

test: lint test-rust test-tier test-loom test-protocol test-shuttle test-sanitizers test-c test-go test-python test-hosts test-fuzz test-bugs ## everything that CI runs

lint: need-cargo ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/loom/Cargo.toml
	$(CARGO) fmt --check --manifest-path tests/protocol/Cargo.toml
	$(CARGO) fmt --check --all --manifest-path tests/shuttle/Cargo.toml
	$(CARGO) fmt --check --all --manifest-path tests/races/Cargo.toml
	$(CARGO) fmt --check --manifest-path benches/core/Cargo.toml
	$(CARGO) fmt --check --manifest-path benches/compare/Cargo.toml
	$(CARGO) clippy --locked --all-targets --features $(FEATURES) -- -D warnings
	$(CARGO) clippy --locked --manifest-path tests/protocol/Cargo.toml --target-dir $(TARGET_DIR)/protocol -- -D warnings
	$(CARGO) clippy --locked --all-targets --manifest-path benches/core/Cargo.toml --target-dir $(TARGET_DIR)/bench-core -- -D warnings
	@# Without RocksDB, which takes many minutes to compile.
	$(CARGO) clippy --locked --all-targets --features tier --manifest-path benches/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare -- -D warnings

test-rust: need-cargo ## unit, integration, doc tests and examples of the crate
	$(CARGO) test --locked --features $(FEATURES)
	scripts/examples.sh $(TARGET_DIR)/debug/examples

test-tier: need-cargo ## the Redis tier, against servers that the tests start
	@scripts/need.sh redis-server=redis-server openssl=openssl
	$(CARGO) clippy --locked --all-targets --features $(FEATURES),redis-tls,protobuf -- -D warnings
	$(CARGO) clippy --locked --features redis -- -D warnings
	$(CARGO) test --locked --features cli,redis-tls,protobuf,testing,msgpack,prost --lib --test tier --test layers --test cli --test conformance

# RocksDB is minutes of C++; `make bench COMPARE_FEATURES=` leaves it out. PARTS names some of the run's parts, whose figures are not
# for docs/; `PARTS=page` writes the page anew from the last whole run.
COMPARE_FEATURES := rocksdb
PARTS ?=
BENCH_OUT = $(TARGET_DIR)/$(if $(filter-out page,$(PARTS))$(KV_BENCH_QUICK),benchmarks-trial,benchmarks)
bench: need-cargo ## libkv against its peers and its targets, into docs/benchmarks.md (KV_BENCH_QUICK=1: a minute, no figures)
	@scripts/need.sh c++=g++ redis-server=redis-server /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf=fonts-dejavu-core
	@ls /usr/lib/llvm-*/lib/libclang.so >/dev/null 2>&1 || scripts/need.sh libclang=libclang-dev
	$(CARGO) run --release --locked --manifest-path benches/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare \
		--features "$(COMPARE_FEATURES)" -- $(BENCH_OUT) $(PARTS)
	@$(if $(KV_TRACES),$(MAKE) bench-traces)
	@if [ $(notdir $(BENCH_OUT)) = benchmarks ]; then cp $(BENCH_OUT)/benchmarks.{md,svg,png} docs/; \
	else echo "the page is $(BENCH_OUT)/benchmarks.md; docs/ is left as it is"; fi

bench-traces: need-cargo ## hit ratios of traces in KV_TRACES=DIRECTORY, beside LRU, moka and quick_cache (docs/cache.md)
	@[ -n "$(KV_TRACES)" ] || { echo "KV_TRACES=DIRECTORY with files NAME.u32.zst"; exit 1; }
	$(CARGO) run --release --locked --manifest-path benches/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare \
		--bin traces -- $(KV_TRACES)

bench-tier: need-cargo ## the Redis tier against Redis used directly, into docs/tier-benchmarks.md (KV_BENCH_QUICK=1: no figures)
	@scripts/need.sh redis-server=redis-server
	@mkdir -p $(TARGET_DIR)
	$(CARGO) run --release --locked --manifest-path benches/compare/Cargo.toml --target-dir $(TARGET_DIR)/compare \
		--features tier --bin tier -- $(if $(KV_BENCH_QUICK),$(TARGET_DIR),docs)/tier-benchmarks.md

bench-core: need-cargo ## time of the core operations
	$(CARGO) bench --locked --manifest-path benches/core/Cargo.toml --target-dir $(TARGET_DIR)/bench-core --bench times

# The runner must be of the library's version. The variable, not the option, tells it where to keep the last run.
GUNGRAUN := $(shell sed -n 's/^gungraun = "=\(.*\)"/\1/p' benches/core/Cargo.toml)
bench-dictionary: need-cargo ## bytes and cost of values compressed with dictionaries, on this machine's package index (docs/compression.md)
	$(CARGO) bench --locked --manifest-path benches/core/Cargo.toml --target-dir $(TARGET_DIR)/bench-core --bench dictionaries

bench-instructions: need-cargo ## instructions of the core operations, compared with the last run; fails when one grew by 5 %
	@scripts/need.sh valgrind=valgrind
	$(CARGO) install -q --locked --target-dir $(TARGET_DIR)/tools/build --root $(TARGET_DIR)/tools --version $(GUNGRAUN) gungraun-runner
	GUNGRAUN_RUNNER=$(abspath $(TARGET_DIR))/tools/bin/gungraun-runner \
		CARGO_TARGET_DIR=$(abspath $(TARGET_DIR))/bench-core $(CARGO) bench --locked --manifest-path benches/core/Cargo.toml --bench instructions

bench-c: need-cargo ## what the C boundary costs, against the crate's own call
	$(CARGO) bench --locked --features ffi --bench boundary

campaign: need-cargo ## the suites for longer than CI has time for, and a report (KV_CAMPAIGN_MINUTES=, PARTS=, KV_SEED=)
	@PARTS="$(PARTS)" scripts/campaign.sh $(TARGET_DIR)

install: need-cargo install-lib ## command, completions, C library and header, under PREFIX (/usr/local)
	$(CARGO) build --release --locked --features cli,redis-tls,protobuf --bin kv
	install -D -m 755 $(TARGET_DIR)/release/kv $(DESTDIR)$(PREFIX)/bin/kv
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
	$(TARGET_DIR)/release/kv completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/kv
	$(TARGET_DIR)/release/kv completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kv
	$(TARGET_DIR)/release/kv completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kv.fish

test-loom: need-cargo ## loom models: every interleaving of the lock-free protocols
	$(CARGO) test --locked --release --manifest-path tests/loom/Cargo.toml --target-dir $(TARGET_DIR)/loom

test-protocol: need-cargo ## every state of a model of the protocol, and each rule taken out
	$(CARGO) run --locked --release --manifest-path tests/protocol/Cargo.toml --target-dir $(TARGET_DIR)/protocol

test-shuttle: need-cargo ## the whole engine under a scheduler (KV_SHUTTLE_ITERATIONS schedules a test; SHOW=--nocapture prints seeds and what seeded bugs did)
	$(CARGO) test --locked --release --manifest-path tests/shuttle/Cargo.toml --target-dir $(TARGET_DIR)/shuttle -- $(SHOW)

test-sanitizers: need-cargo ## AddressSanitizer over the concurrency tests, ThreadSanitizer over the models on real threads
	scripts/sanitizers.sh $(TARGET_DIR)

BUGS := fast
test-bugs: need-cargo ## seeds each bug of tests/bugs and shows which test catches it
	@scripts/need.sh patch=patch redis-server=redis-server openssl=openssl
	tests/bugs/run.sh $(BUGS)

# The C library. Both files in one build; the crate itself stays a plain `lib`, so that `cargo test` links neither.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

header: need-cargo ## write include/kv.h anew from src/ffi/
	KV_WRITE_HEADER=1 $(CARGO) test --locked --test header

lib: need-cargo ## libkv.so and libkv.a with the Redis tier and its encoders in $(TARGET_DIR)/release
	$(CARGO) rustc --release --locked --lib --features capi --crate-type cdylib,staticlib -- -C link-arg=-Wl,-soname,libkv.so.$(firstword $(subst ., ,$(VERSION)))

install-lib: lib ## libkv.so, libkv.a, kv.h and libkv.pc, under PREFIX (/usr/local)
	bindings/c/install.sh $(TARGET_DIR)/release $(VERSION) $(PREFIX)

test-c: need-cargo ## the C ABI from C: plain, sanitizers, valgrind, examples, package
	@scripts/need.sh valgrind=valgrind c++=g++ pkg-config=pkg-config redis-server=redis-server
	$(CARGO) rustc --locked --lib --features capi --crate-type staticlib
	bindings/c/test.sh $(TARGET_DIR)/debug/libkv.a
	$(MAKE) install-lib PREFIX=$(abspath $(TARGET_DIR)/package)
	bindings/c/package.sh $(abspath $(TARGET_DIR)/package)

need-go:
	@# An older go fetches the version that go.mod asks for by itself.
	@scripts/need.sh go=golang-go pkg-config=pkg-config redis-server=redis-server openssl=openssl

lib-go: lib ## libkv.a and its header, to where the Go package links them
	bindings/go/lib.sh $(TARGET_DIR)/release/libkv.a

test-go: need-go lib-go ## the Go host: vet, staticcheck, race detector, cgo checks, conformance
	$(MAKE) install-lib PREFIX=$(abspath $(TARGET_DIR)/package)
	bindings/go/test.sh $(TARGET_DIR)

bench-go: need-go lib-go ## what the Go boundary costs, against an empty cgo call and C
	cd bindings/go && go run ./internal/bench

# The Python host. What it needs of Python packages goes into virtual environments under $(TARGET_DIR)/python.
need-python:
	@scripts/need.sh python3=python3 redis-server=redis-server openssl=openssl
	@python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/need.sh python3-venv=python3-venv

test-python: lib need-python ## the Python host: types, the wheel in a fresh environment, examples, docs
	bindings/python/test.sh $(TARGET_DIR)

bench-python: lib need-python ## the promised ratios of the Python host, measured in one run against diskcache and lmdb
	@scripts/need.sh cc=gcc
	bindings/python/test.sh $(TARGET_DIR) bench

test-hosts: test-c test-go test-python ## stores written by each host are read by each other
	scripts/exchange.sh $(TARGET_DIR)

test-fuzz: need-cargo ## each fuzz target for a moment (KV_FUZZ_SECONDS=20)
	scripts/fuzz.sh $${KV_FUZZ_SECONDS:-20}
