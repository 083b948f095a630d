//! API: the product over HTTP, as `openapi.yaml` describes it. One file per operation: its request, its response and
//! its handler.

pub mod admin;
pub mod audit;
pub mod auth;
mod enums;
pub mod errors;
pub mod health;
pub mod keys;
pub mod oauth;
pub mod page;
pub mod routes;
pub mod schema_rules;
pub mod self_key;
pub mod tag;
pub mod usage;
pub mod verification;

use std::collections::HashMap;

use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::registry::{MetaApi, MetaPath, Registry};
use poem_openapi::{OpenApi, OpenApiService};

use schema_rules::{NamedRules, rules_of};
use tag::BASE;

/// Every operation of the API.
#[derive(Clone, Copy)]
pub struct Operations;

/// Gathers the operations, each a unit struct with an `#[OpenApi]` implementation of its own.
macro_rules! operations {
    ($($operation:path),* $(,)?) => {
        impl OpenApi for Operations {
            fn meta() -> Vec<MetaApi> {
                merge_paths([$(<$operation>::meta()),*])
            }

            fn register(registry: &mut Registry) {
                $(<$operation>::register(registry);)*
            }

            fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
                $($operation.add_routes(routes);)*
            }
        }
    };
}

operations![
    keys::create::CreateKey,
    keys::list::ListKeys,
    keys::get::GetKey,
    keys::update::UpdateKey,
    keys::revoke::RevokeKey,
    keys::delete::DeleteKey,
    keys::rotate::RotateKey,
    self_key::SelfOperations,
    usage::GetKeyUsage,
    verification::verify::VerifyKey,
    verification::forward_auth::CheckForwarded,
    oauth::introspect::IntrospectToken,
    oauth::revoke::RevokeToken,
    audit::ListMyAuditEvents,
    admin::audit::ListAllAuditEvents,
    admin::keys::AdminKeyOperations,
    admin::bulk_revoke::BulkRevokeKeys,
    admin::revocation_jobs::RevocationJobOperations,
];

/// Merges the operations on one path. poem-openapi writes a path once per implementation, and of equal names in a JSON
/// object most readers keep the last.
fn merge_paths(apis: impl IntoIterator<Item = Vec<MetaApi>>) -> Vec<MetaApi> {
    let mut paths: Vec<MetaPath> = Vec::new();
    for path in apis.into_iter().flatten().flat_map(|api| api.paths) {
        match paths.iter_mut().find(|merged| merged.path == path.path) {
            Some(merged) => merged.operations.extend(path.operations),
            None => paths.push(path),
        }
    }
    vec![MetaApi { paths }]
}

/// Returns the operations with the general part of the document.
pub fn service() -> OpenApiService<Operations, ()> {
    OpenApiService::new(Operations, "mintkey", env!("CARGO_PKG_VERSION"))
        .description(include_str!("../openapi/description.md"))
        .contact(poem_openapi::ContactObject::new().name("The mintkey maintainers"))
        .license(poem_openapi::LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server(BASE)
}

/// The schemas with rules that poem-openapi cannot derive.
pub fn all_schema_rules() -> [NamedRules; 2] {
    [rules_of::<admin::bulk_revoke::ApiKeyBulkRevokeRequest>(), rules_of::<audit::AuditEvent>()]
}
