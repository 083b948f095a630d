//! Tests that need SQLite. The run on PostgreSQL skips every test with `sqlite::` in its path (see the Makefile).

mod access;
mod doctor;
mod outages;
