//! API keys and their secrets.

mod access;
mod change;
mod counted_insert;
mod descendants;
mod find;
mod insert;
mod list;
mod lookup;
mod rehash;
mod rows;
mod search;

pub use crate::store::api_keys::change::{ChangeOutcome, KeyChange, LockedKey};
pub use crate::store::api_keys::counted_insert::KeyInsert;
pub use crate::store::api_keys::descendants::{ChangedTree, revoke_all, revoke_descendants};
pub use crate::store::api_keys::insert::{InsertOutcome, QueuedInsert};
pub use crate::store::api_keys::list::{KeyFilter, key_condition, key_range};

#[cfg(test)]
pub use crate::store::api_keys::insert::tests::{audit_event, key_insert};
