//! Routes: how each operation is dispatched, cancelled and logged. The facts are declared beside the operations.

use crate::api::oauth::{introspect, revoke};
use crate::api::verification::{forward_auth, verify};
use crate::api::{admin, audit, keys, self_key, usage};
use crate::http::route_spec::RouteSpec;

/// One spec for each operation of [`Operations`](crate::api::Operations).
pub const ROUTES: [RouteSpec; 23] = [
    keys::create::CREATE_KEY_ROUTE,
    keys::list::LIST_KEYS_ROUTE,
    keys::get::GET_KEY_ROUTE,
    keys::update::UPDATE_KEY_ROUTE,
    keys::revoke::REVOKE_KEY_ROUTE,
    keys::delete::DELETE_KEY_ROUTE,
    keys::rotate::ROTATE_KEY_ROUTE,
    self_key::GET_SELF_ROUTE,
    self_key::REVOKE_SELF_ROUTE,
    usage::GET_USAGE_ROUTE,
    verify::VERIFY_ROUTE,
    forward_auth::FORWARD_AUTH_ROUTE,
    introspect::INTROSPECT_ROUTE,
    revoke::REVOKE_TOKEN_ROUTE,
    audit::LIST_EVENTS_ROUTE,
    admin::audit::LIST_ALL_EVENTS_ROUTE,
    admin::keys::LIST_ALL_KEYS_ROUTE,
    admin::keys::GET_ANY_KEY_ROUTE,
    admin::keys::REVOKE_ANY_KEY_ROUTE,
    admin::bulk_revoke::BULK_REVOKE_ROUTE,
    admin::revocation_jobs::LIST_JOBS_ROUTE,
    admin::revocation_jobs::GET_JOB_ROUTE,
    admin::revocation_jobs::CANCEL_JOB_ROUTE,
];

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use poem_openapi::OpenApi;

    use super::*;
    use crate::api::Operations;
    use crate::http::route_spec::{Cancellation, Dispatch};

    /// The operations that change nothing although they are not GET.
    const READ_ONLY: [&str; 2] = ["verify_api_key", "introspect_token"];

    fn operations() -> Vec<(&'static str, Method)> {
        let operations = Operations::meta().into_iter().flat_map(|api| api.paths).flat_map(|path| path.operations);
        operations.map(|operation| (operation.operation_id.expect("it has an id"), operation.method)).collect()
    }

    fn spec(id: &str) -> RouteSpec {
        *ROUTES.iter().find(|spec| spec.operation_id == id).unwrap_or_else(|| panic!("{id} has no route spec"))
    }

    #[test]
    fn route_of_every_spec_is_one_operation_of_the_document() {
        for RouteSpec { operation_id, .. } in ROUTES {
            assert_eq!(operations().iter().filter(|(id, _)| *id == operation_id).count(), 1, "{operation_id}");
        }
    }

    #[test]
    fn route_of_every_operation_is_declared_once() {
        for (id, _) in operations() {
            assert_eq!(ROUTES.iter().filter(|spec| spec.operation_id == id).count(), 1, "{id}");
        }
    }

    #[test]
    fn route_of_every_change_runs_to_completion() {
        let changes = operations().into_iter().filter(|(id, method)| method != Method::GET && !READ_ONLY.contains(id));
        for (id, _) in changes {
            assert_eq!(spec(id).cancellation, Cancellation::RunToCompletion, "{id}");
        }
        assert!(READ_ONLY.iter().all(|id| operations().iter().any(|(operation, _)| operation == id)));
    }

    #[test]
    fn route_of_only_verify_is_inline() {
        // The server has one inline operation, and it must not outlive its request.
        let inline = ROUTES.iter().filter(|spec| spec.dispatch == Dispatch::Inline);
        let inline: Vec<_> = inline.map(|spec| (spec.operation_id, spec.cancellation)).collect();
        assert_eq!(inline, [("verify_api_key", Cancellation::Allowed)]);
    }
}
