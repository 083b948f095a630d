//! Scopes as one parameter.

use poem_openapi::registry::MetaSchema;

use crate::domain::scope::{Scope, Scopes};
use crate::domain::validation::ValidationError;
use crate::http::values::schema_type;
use crate::http::values::scopes::SCOPE_CHARACTER;

/// Scopes, separated by spaces.
#[derive(Debug, Clone)]
pub struct ScopeList(pub Scopes);

schema_type!(
    ScopeList,
    "ScopeList",
    MetaSchema {
        // Without numbers of repetitions: RE2 takes at most 1000 in all.
        pattern: Some(format!("^{SCOPE_CHARACTER}+( {SCOPE_CHARACTER}+)*$")),
        max_length: Some(Scopes::MAX_CHARACTERS + Scopes::MAX - 1),
        ..MetaSchema::new("string")
    }
);

impl ScopeList {
    pub fn parse(text: &str) -> Result<Self, ValidationError> {
        let mut names: Vec<_> = text.split(' ').collect();
        names.sort_unstable();
        names.dedup();
        let scopes: Result<Vec<_>, _> = names.into_iter().map(Scope::new).collect();
        Ok(Self(Scopes::new(scopes?)?))
    }
}
