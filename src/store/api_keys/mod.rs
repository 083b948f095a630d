//! API keys and their secrets.

mod access;
mod change;
mod find;
mod insert;
mod list;
mod lookup;
mod rehash;
mod rows;
mod search;

pub use change::{ChangeOutcome, KeyChange};
pub use insert::{InsertOutcome, KeyInsert, QueuedInsert};
pub use list::KeyFilter;
