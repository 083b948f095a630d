//! Precondition: the revision that a client expects a key to have (RFC 9110, section 13.1.1).

use crate::domain::api_key::ApiKey;

/// What must hold of a key before a request reads or changes it.
#[derive(Debug, Clone, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The key's revision is one of these.
    Revision(Vec<i64>),
}

impl Precondition {
    /// True if the key meets the precondition.
    pub fn is_met_by(&self, key: &ApiKey) -> bool {
        match self {
            Self::None => true,
            Self::Revision(revisions) => revisions.contains(&key.revision),
        }
    }
}
