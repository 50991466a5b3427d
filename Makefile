# Everything a developer types. Caches live outside the clone, so that a fresh clone builds warm.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export AUDITMILL_CACHE ?= $(HOME)/.cache/auditmill
export CARGO_TARGET_DIR ?= $(AUDITMILL_CACHE)/target

# Seconds for each fuzz target.
export FUZZ_SECONDS ?= 15

.PHONY: help run check test fuzz soak bench release detections cluster-bin kafka-lib s3-bin alertmanager-bin note-bin readers jdbc tools

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## build and start the service with a recorded sample fed in
	cargo build --locked --no-default-features
	./deployments/demo.sh "$(CARGO_TARGET_DIR)/debug/auditmill"

check: ## the quick loop: format, lints, tests that need nothing else
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked

test: tools cluster-bin kafka-lib s3-bin alertmanager-bin note-bin readers jdbc ## everything, also against real servers; what CI runs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --locked --no-deps --lib --document-private-items
	"$(AUDITMILL_CACHE)/bin/cargo-deny" --locked check bans licenses sources
	./tests/fuzz/run.sh
	AUDITMILL_CLUSTER_BIN="$(AUDITMILL_CACHE)/bin" AUDITMILL_KAFKA_LIB="$(AUDITMILL_CACHE)/kafka" \
	  AUDITMILL_S3_BIN="$(AUDITMILL_CACHE)/bin" AUDITMILL_READERS="$(AUDITMILL_CACHE)/readers" \
	  AUDITMILL_JDBC="$(AUDITMILL_CACHE)/jdbc" \
	  AUDITMILL_ALERTMANAGER_BIN="$(AUDITMILL_CACHE)/bin" AUDITMILL_NOTE_BIN="$(AUDITMILL_CACHE)/bin" \
	  cargo test --locked --no-fail-fast

fuzz: tools ## each fuzz target for FUZZ_SECONDS
	./tests/fuzz/run.sh

soak: tools cluster-bin ## what takes longer than a test may: an hour of fuzzing, kill -9, full disks, ...
	FUZZ_SECONDS=900 ./tests/fuzz/run.sh
	PROPTEST_CASES=1000 AUDITMILL_STORIES=30 cargo test --locked --test auditmill oracle
	AUDITMILL_ROUNDS=200 cargo test --locked --test auditmill -- --nocapture what_was_acknowledged_survives an_import_survives
	AUDITMILL_FILLINGS=50 cargo test --locked --test auditmill -- --nocapture a_full_disk_loses_nothing
	AUDITMILL_SENDERS=64 cargo test --locked --test auditmill -- --nocapture memory_stays_within
	AUDITMILL_CLUSTER_BIN="$(AUDITMILL_CACHE)/bin" cargo test --locked --test auditmill -- --nocapture real_apiserver_outage
	AUDITMILL_CLUSTER_BIN="$(AUDITMILL_CACHE)/bin" AUDITMILL_POLICIES=100 cargo test --locked --test auditmill -- --nocapture real_apiserver_feeds

bench: readers ## figures, one per line
	AUDITMILL_READERS="$(AUDITMILL_CACHE)/readers" cargo bench --locked \
	  --bench end_to_end --bench acknowledge --bench finding --bench decode --bench detect --bench history

detections: ## run the detections' own tests
	cargo run --locked --quiet -- test

release: ## the binary to ship
	cargo build --locked --release

# The real cluster's parts, built from Go modules once per version.
cluster-bin:
	./tests/cluster/build.sh

# A real broker, copied from Maven once per version; Maven comes with the tools.
kafka-lib: tools
	./tests/kafka/build.sh

# An S3 server, from a Go module.
s3-bin:
	./tests/s3/build.sh

# Prometheus Alertmanager, from a Go module.
alertmanager-bin:
	./tests/alertmanager/build.sh

# Go's own check of signed notes, over our evidence.
note-bin:
	./tests/note/build.sh

# Other programs that read Delta tables.
readers: tools
	./tests/readers/build.sh

# A JDBC driver, copied from Maven once per version.
jdbc: tools
	./tests/clients/build.sh

# Debian packages and cargo tools, each only when it is missing.
tools:
	./tests/tools.sh
