# The commands of the project; README.md tells when to use which.

.PHONY: run test chaos lint tools openapi sdk

run:
	cargo build --release --locked
	target/release/mintkey serve --welcome

test: tools
	cargo test --workspace --locked

# Faults and overload: some minutes, on a machine with nothing else to do.
chaos: tools
	cargo test --locked --test chaos -- --test-threads=1

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	sh tests/house.sh

# What the end-to-end tests drive: a browser, proxies, linters, schemathesis, generators of clients.
tools:
	sh tests/e2e/tools.sh

openapi:
	cargo build --locked
	target/debug/mintkey openapi > openapi.yaml

# Clients in TypeScript, Python, Go and Rust, generated from openapi.yaml into target/sdk.
sdk: tools
	sh tests/e2e/clients/generate.sh
