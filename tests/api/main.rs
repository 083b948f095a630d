//! The API as a client meets it: one theme a file.

#[path = "../support/mod.rs"]
mod support;

mod create;
