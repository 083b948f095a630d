//! The API as a client meets it: one theme a file.

#[path = "../support/mod.rs"]
mod support;

mod tokens;
mod wire;

mod bad_bodies;
mod bad_credentials;
mod bad_fields;
mod canaries;
mod create;
mod document;
mod durability;
mod errors;
mod expiry;
mod key_callers;
mod logs;
mod outages;
mod rotate;
mod rotate_by_keys;
mod secret_settings;
mod settings;
mod sizes;
mod tenancy;
