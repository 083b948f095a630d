//! API: the product over HTTP, by the reference in `openapi.yaml`. One `#[OpenApi]` implementation and its schemas a tag.

pub mod admin;
pub mod audit;
pub mod auth;
pub mod body;
pub mod boundary;
pub mod completion;
pub mod docs;
pub mod document;
mod examples;
pub mod forward;
pub mod headers;
pub mod health;
pub mod introspect;
pub mod keys;
pub mod metrics;
pub mod origin;
pub mod own_key;
pub mod parameters;
pub mod problem;
pub mod routes;
pub mod traced;
pub mod usage;
pub mod values;
pub mod verify;

use poem_openapi::{OpenApiService, Tags};

/// What every operation's path begins with.
pub const BASE: &str = "/api";

#[derive(Tags)]
pub enum Tag {
    /// Keys of the current user: made, looked after and ended by their owner.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// Whether a key is good: the same answer in the words of this service, of proxies and of OAuth.
    Verification,
    /// What was changed in keys, by whom, when and from where.
    Audit,
    /// Keys of all owners, for a caller with the scope `api-keys:admin`.
    Administration,
}

pub type Operations = (
    keys::KeyOperations,
    own_key::OwnKeyOperations,
    usage::UsageOperations,
    verify::VerifyOperations,
    forward::ForwardOperations,
    introspect::IntrospectOperations,
    audit::AuditOperations,
    admin::AdminOperations,
);

pub fn operations() -> Operations {
    (
        keys::KeyOperations,
        own_key::OwnKeyOperations,
        usage::UsageOperations,
        verify::VerifyOperations,
        forward::ForwardOperations,
        introspect::IntrospectOperations,
        audit::AuditOperations,
        admin::AdminOperations,
    )
}

/// The operations and what the document says of them as a whole.
pub fn service() -> OpenApiService<Operations, ()> {
    OpenApiService::new(operations(), "mintkey", env!("CARGO_PKG_VERSION"))
        .description(include_str!("description.md"))
        .contact(poem_openapi::ContactObject::new().name("The mintkey maintainers"))
        .license(poem_openapi::LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server(BASE)
}
