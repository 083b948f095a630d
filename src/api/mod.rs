//! API: the product over HTTP, by the reference in `openapi.yaml`. One `#[OpenApi]` implementation and its schemas a tag.

pub mod admin;
pub mod audit;
pub mod auth;
pub mod health;
pub mod keys;
pub mod self_key;
pub mod usage;
pub mod verification;

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
    self_key::SelfOperations,
    usage::UsageOperations,
    verification::verify::VerifyOperations,
    verification::forward_auth::ForwardOperations,
    verification::introspect::IntrospectOperations,
    audit::AuditOperations,
    admin::AdminOperations,
);

pub fn operations() -> Operations {
    (
        keys::KeyOperations,
        self_key::SelfOperations,
        usage::UsageOperations,
        verification::verify::VerifyOperations,
        verification::forward_auth::ForwardOperations,
        verification::introspect::IntrospectOperations,
        audit::AuditOperations,
        admin::AdminOperations,
    )
}

/// The operations and what the document says of them as a whole.
pub fn service() -> OpenApiService<Operations, ()> {
    OpenApiService::new(operations(), "mintkey", env!("CARGO_PKG_VERSION"))
        .description(include_str!("../openapi/description.md"))
        .contact(poem_openapi::ContactObject::new().name("The mintkey maintainers"))
        .license(poem_openapi::LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server(BASE)
}
