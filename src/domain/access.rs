//! Access: the keys that a request may read or change.

use crate::domain::owner::Owner;

/// A restriction of queries on keys and audit events. Every such query of the store takes one, so that none can omit it.
#[derive(Debug, Clone, Copy)]
pub enum AccessFilter<'a> {
    /// The keys of one owner, without deleted ones.
    Owner(&'a Owner),
    /// The keys of every owner, deleted ones included: for administrators.
    Any,
}
