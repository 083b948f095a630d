//! Scopes as one parameter.

use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseFromParameter, ParseResult};

use crate::domain::scope::{Scope, Scopes};
use crate::http::values::schema_type;

/// Scopes, separated by spaces.
#[derive(Debug, Clone)]
pub struct ScopeList(pub Scopes);

schema_type!(
    ScopeList,
    "ScopeList",
    MetaSchema {
        pattern: Some("^[a-z0-9:._*-]{1,100}( [a-z0-9:._*-]{1,100}){0,99}$".to_owned()),
        ..MetaSchema::new("string")
    }
);

impl ParseFromParameter for ScopeList {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let mut names: Vec<_> = text.split(' ').collect();
        names.sort_unstable();
        names.dedup();
        let scopes: Result<Vec<_>, _> = names.into_iter().map(Scope::new).collect();
        Ok(Self(Scopes::new(scopes?)?))
    }
}
