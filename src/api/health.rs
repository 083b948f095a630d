//! Health probes: liveness, and readiness with its checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::endpoint::{BoxEndpoint, make, make_sync};
use poem::{EndpointExt, IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::problem::{JSON, Problem};
use crate::service::Services;
use crate::service::readiness::Check;

/// Set when the server begins to stop, so that readiness fails and load balancers send requests elsewhere.
pub type Draining = Arc<AtomicBool>;

/// Responds as long as the process runs. Checks nothing, so that an outage elsewhere does not restart the process.
pub fn livez() -> BoxEndpoint<'static> {
    poem::get(make_sync(|_| json_response(&json!({ "status": "live", "checks": [] })))).map_to_response().boxed()
}

pub fn readyz(services: Arc<Services>, draining: Draining) -> BoxEndpoint<'static> {
    let ready = move |_| {
        let (services, draining) = (services.clone(), draining.clone());
        async move {
            let mut checks = services.health.check().await;
            let stopping = draining.load(Ordering::Relaxed);
            let detail = if stopping { "is shutting down" } else { "accepts requests" };
            checks.insert(0, Check { name: "server", ok: !stopping, detail: detail.to_owned(), cause: None });
            if checks.iter().all(|check| check.ok) {
                Ok::<_, poem::Error>(json_response(&json!({ "status": "ready", "checks": public_checks(&checks) })))
            } else {
                Err(not_ready(&checks).into())
            }
        }
    };
    poem::get(make(ready)).map_to_response().boxed()
}

/// 503 with the checks that failed, so that a load balancer sends requests elsewhere.
fn not_ready(checks: &[Check]) -> Problem {
    let failed = || checks.iter().filter(|check| !check.ok);
    let reasons: Vec<_> = failed().map(|check| format!("{} {}", check.name, check.detail)).collect();
    let causes: Vec<_> = failed().map(|check| check.cause.as_deref().unwrap_or(&check.detail)).collect();
    Problem::unavailable(format!("Not ready to receive requests: {}.", reasons.join("; ")), 1)
        .with_extension("checks", public_checks(checks))
        .with_log_context(causes.join("; "))
}

/// The checks without the causes, which are only logged.
fn public_checks(checks: &[Check]) -> Value {
    let public = |Check { name, ok, detail, .. }: &Check| json!({ "name": name, "ok": ok, "detail": detail });
    checks.iter().map(public).collect()
}

fn json_response(body: &Value) -> Response {
    body.to_string().with_content_type(JSON).into_response()
}
