//! The API as a client meets it: one theme a file.

#[path = "../support/mod.rs"]
mod support;

mod tokens;
mod wire;

mod administration;
mod audit;
mod backup;
mod bad_bodies;
mod bad_credentials;
mod bad_fields;
mod cache;
mod connections;
mod console;
mod create;
mod document;
mod durability;
mod errors;
mod expiry;
mod forward;
mod get_and_update;
mod health;
mod http2;
mod idempotency;
mod idempotency_under_load;
mod introspect;
mod key_callers;
mod kill;
mod list;
mod logs;
mod metrics;
mod own_key;
mod pepper_rotation;
mod revoke_and_delete;
mod rotate;
mod rotate_by_keys;
mod secret_settings;
mod settings;
mod sizes;
mod sqlite;
mod tenancy;
mod updates;
mod usage_counts;
mod usage_writes;
mod verify;
mod verify_requests;
