# The commands of the project; README.md tells when to use which.

.PHONY: run test chaos lint tools openapi

run:
	cargo build --release --locked
	target/release/mintkey serve --welcome

test: tools
	cargo test --workspace --locked
	MINTKEY_TEST_DATABASE=postgres cargo test --locked --test api -- --skip sqlite::

# The same promises while things go wrong, for longer; the sizes are the reader's to choose.
chaos: tools
	CHAOS_KILLS=$${CHAOS_KILLS:-50} cargo test --locked --test chaos -- --nocapture --test-threads 1
	CHAOS_KILLS=$${CHAOS_KILLS:-50} MINTKEY_TEST_DATABASE=postgres cargo test --locked --test chaos kill:: -- --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	sh tests/house.sh

# What the tests drive: PostgreSQL, a browser, linters, schemathesis.
tools:
	sh tests/e2e/tools.sh

openapi:
	cargo build --locked
	target/debug/mintkey openapi > openapi.yaml
