# What a person or CI runs here; `make` alone lists it. Each target sets up what it needs.

CARGO_BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PATH := $(CARGO_BIN):$(PATH)
TARGET := $(or $(CARGO_TARGET_DIR),target)
GUESTS := -p entity-key -p geo -p redact -p field-key -p payload-key -p rogue

.PHONY: help dev test check dist bench bench-overload bench-plugins bench-recent chaos-plugins chaos-recent fuzz-api h2spec build plugins toolchain services

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 22

dev: build plugins ## build all and run `weir dev` (more flags in ARGS=)
	exec $(TARGET)/release/weir dev $(ARGS)

test: toolchain plugins services ## fetch the services it needs and run the whole suite
	cargo build --release --workspace --bins
	sh tests/run.sh

check: toolchain ## formatting, lints, documentation, dependencies
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --document-private-items
	sh deploy/deny.sh

dist: toolchain plugins services ## target/dist/weir, the gateway as it is deployed: guided by a profile; 40 minutes from nothing
	cargo build --release --workspace --bins
	sh deploy/dist.sh

bench: dist ## measure target/dist/weir beside the textbook gateway, results in target/bench
	WEIR_BIN=$(abspath $(TARGET))/dist/weir $(TARGET)/release/bench $(ARGS)

bench-overload: plugins ## offer a capped gateway 2x and 10x, and another 10 000 slow heads; results in target/bench
	cargo build --release --workspace --bins
	$(TARGET)/release/overload $(ARGS)

bench-plugins: plugins services ## what a plugin call costs, and what events cost that break one down; in target/plugins
	cargo build --release --workspace --bins
	$(TARGET)/release/plugins cost; cost=$$?; $(TARGET)/release/plugins storm && exit $$cost

chaos-plugins: plugins services ## every rogue guest beside good traffic, and 1 000 reloads under load; in target/plugins
	cargo build --release --workspace --bins
	$(TARGET)/release/plugins rogues; rogues=$$?; $(TARGET)/release/plugins reloads && exit $$rogues

bench-recent: services ## the read model's figures: hits, load, failover, Valkey away, cold start; in target/recent
	cargo build --release --workspace --bins
	worst=0; for figures in hits load failover away cold "cold --valkey-first"; do \
	    $(TARGET)/release/recent $$figures $(ARGS) || { code=$$?; [ $$code -le $$worst ] || worst=$$code; }; \
	done; exit $$worst

chaos-recent: plugins services ## lookups under faults, each answer held against the log; in target/chaos (flags in ARGS=)
	cargo build --release --workspace --bins
	$(TARGET)/release/recent chaos $(ARGS)

fuzz-api: build ## schemathesis against the OpenAPI document, all checks, five and a half minutes; in target/api
	sh tests/api/fuzz.sh

h2spec: build ## h2spec against the ingest listener, every case; in target/api
	sh tests/api/h2spec.sh

build: toolchain ## the gateway, in release mode
	cargo build --release -p weir

plugins: toolchain ## the example plugins, as WebAssembly
	cargo build --profile plugin --target wasm32-unknown-unknown $(GUESTS)

toolchain:
	@sh deploy/toolchain.sh

services:
	@sh tests/setup.sh
