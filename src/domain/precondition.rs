//! Precondition: the revision that a client expects a key to have (RFC 9110, section 13.1.1).

use thiserror::Error;

use crate::domain::api_key::ApiKey;

/// What must hold of a key before a request reads or changes it.
#[derive(Debug, Clone, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// One of these tags names the key's revision.
    OneOf(Vec<RevisionTag>),
}

/// An entity tag, as a client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionTag {
    /// A tag of this service: it names this revision.
    Exact(i64),
    /// A tag of this service that something on the way to the client has altered, such as `W/"1"` or `"1-gzip"`. It
    /// names no revision: an altered tag stands for an altered body.
    Altered(String),
    /// A tag that this service did not issue.
    Unknown,
}

/// Why a key does not meet a precondition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PreconditionFailure {
    /// No tag names the key's revision, which is this.
    #[error("the key has another revision: {0}")]
    OtherRevision(i64),
    /// No tag names the key's revision, and this one was altered on its way to the client.
    #[error("the tag {0} was altered on its way to the client")]
    AlteredTag(String),
}

impl Precondition {
    /// Checks the precondition. A change calls this inside its transaction, with the key locked, before it does anything
    /// else.
    pub fn check(&self, key: &ApiKey) -> Result<(), PreconditionFailure> {
        let Self::OneOf(tags) = self else { return Ok(()) };
        if tags.contains(&RevisionTag::Exact(key.revision)) {
            return Ok(());
        }
        let altered = tags.iter().find_map(|tag| match tag {
            RevisionTag::Altered(text) => Some(text.clone()),
            RevisionTag::Exact(_) | RevisionTag::Unknown => None,
        });
        Err(altered.map_or(PreconditionFailure::OtherRevision(key.revision), PreconditionFailure::AlteredTag))
    }
}
