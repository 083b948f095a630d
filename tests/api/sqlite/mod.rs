//! Tests that reach into SQLite's file. `make test` leaves out what has `sqlite::` in its path when it runs the others on
//! PostgreSQL.

mod canaries;
mod doctor;
mod growth;
mod outages;
