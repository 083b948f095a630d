# The commands of the project. CONTRIBUTING.md and docs/development/testing.md say when to use which.

.PHONY: run test chaos soak fuzz bench bench-peers lint deny tools openapi docs sdk deb test-deb

run:
	cargo build --release --locked
	target/release/mintkey serve --welcome

test: tools
	cargo test --workspace --locked
	MINTKEY_TEST_DATABASE=postgres cargo test --locked --test api -- --skip sqlite::

# Fault injection, for minutes, on a machine with nothing else to do. The variables set how much.
chaos:
	sh tests/e2e/tools.sh chaos
	CHAOS_KILLS=$${CHAOS_KILLS:-50} cargo test --locked --test chaos -- --nocapture --test-threads 1
	CHAOS_KILLS=$${CHAOS_KILLS:-50} MINTKEY_TEST_DATABASE=postgres cargo test --locked --test chaos -- --nocapture kill:: fairness::

# A steady mix of operations on SQLite and on two replicas on PostgreSQL, for SOAK_MINUTES (30) at SOAK_RATE (300) per second on each:
# exact counts at the end, growth, and latency. TEST_PROGRAM names another program than the one that is built.
soak: tools
	cargo test --release --locked --test soak -- --nocapture

# Random input, different each time: FUZZ_CASES for each property of the parsers, then requests generated from the document.
fuzz: tools
	PROPTEST_CASES=$${FUZZ_CASES:-100000} cargo test --locked --lib -- --nocapture
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-300} cargo test --locked --test e2e -- --nocapture schemathesis::

# Rates, growth, memory and start: see docs/performance.md. With arguments: make bench BENCH="--keys 10000000 --docs".
bench: tools
	cargo bench --locked --bench bench -- $(BENCH)

bench-peers: tools
	cargo bench --locked --bench bench -- --peers $(BENCH)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	cargo clippy --locked --test chaos --test soak -- --deny warnings
	scripts/check-architecture --self-test
	scripts/check-architecture
	scripts/check-words --self-test
	scripts/check-words
	$(MAKE) --no-print-directory deny

# Checks the dependencies by .deny.toml. The first run builds cargo-deny, which takes some minutes.
deny: target/tools/bin/cargo-deny
	$< --log-level error check bans licenses sources
	@if $< --log-level off fetch db; then $< --log-level error check --disable-fetch advisories; \
	else echo 'deny: the advisory database cannot be reached: advisories were not checked' >&2; fi

target/tools/bin/cargo-deny:
	cargo install --quiet --locked --debug --version 0.20.2 --no-default-features --root target/tools cargo-deny

# Installs what the tests run: PostgreSQL, a browser, proxies, linters, schemathesis, client generators.
tools:
	sh tests/e2e/tools.sh

# Builds a Debian package of a release build, in target/debian.
deb: target/tools/bin/cargo-deb
	cargo build --release --locked
	target/tools/bin/cargo-deb deb --no-build --locked

target/tools/bin/cargo-deb:
	cargo install cargo-deb --version 3.8.0 --locked --root target/tools

# Installs that package in a disposable root and lets systemd run its service. Needs root.
test-deb: deb
	sh tests/e2e/package.sh target/debian/mintkey_*.deb

# Rewrites the pages that are generated from --help.
docs:
	UPDATE_DOCS=1 cargo test --locked --lib cli::reference

openapi:
	cargo build --locked
	target/debug/mintkey openapi > openapi.yaml

# Generates clients in TypeScript, Python, Go, Java, PHP and Rust from openapi.yaml into target/sdk.
sdk: tools
	sh tests/e2e/clients/generate.sh
