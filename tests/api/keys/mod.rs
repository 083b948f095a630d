//! `/api/auth/api-keys`: the keys of the caller's owner, one file an operation.

mod create;
mod idempotency;
mod list;
mod revoke;
mod rotate;
mod update;
