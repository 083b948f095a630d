//! Access: which keys a request may read or change.

use crate::domain::owner::Owner;

/// The keys and audit events that a request may see. Every query on them takes one, so that no query can forget it.
#[derive(Debug, Clone, Copy)]
pub enum AccessFilter<'a> {
    /// Those of one owner, without deleted keys.
    Owner(&'a Owner),
    /// Those of every owner, deleted keys included: for administrators.
    Any,
}
