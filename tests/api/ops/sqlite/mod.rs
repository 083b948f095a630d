//! Tests that need SQLite. `make test` leaves out what has `sqlite::` in its path when it runs the others on PostgreSQL.

mod canaries;
mod doctor;
mod outages;
