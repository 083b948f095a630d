# The commands of the project; README.md tells when to use which.

.PHONY: run test lint tools openapi deb test-deb

run:
	cargo build --release --locked
	target/release/mintkey serve --welcome

test: tools
	cargo test --workspace --locked

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	sh tests/house.sh

# What the end-to-end tests drive: a browser, linters, schemathesis.
tools:
	sh tests/e2e/tools.sh

# A Debian package of a release build, in target/debian.
deb: target/tools/bin/cargo-deb
	cargo build --release --locked
	target/tools/bin/cargo-deb deb --no-build --locked

target/tools/bin/cargo-deb:
	cargo install cargo-deb --version 3.8.0 --locked --root target/tools

# Installs that package in a copy of this machine that is forgotten afterwards, and has systemd run its service; as root.
test-deb: deb
	sh tests/e2e/package.sh target/debian/mintkey_*.deb

openapi:
	cargo build --locked
	target/debug/mintkey openapi > openapi.yaml
