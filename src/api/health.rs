//! Health probes: liveness, and readiness by purpose with its checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::endpoint::{BoxEndpoint, make, make_sync};
use poem::{EndpointExt, IntoResponse, Request, Response};
use serde_json::{Value, json};

use crate::http::error_reason::ErrorReason;
use crate::http::problem::{JSON, Problem};
use crate::http::query_check::reject_value;
use crate::service::Services;
use crate::service::readiness::{Check, Purpose};

/// Set when the server begins to stop, so that readiness fails and load balancers send requests elsewhere.
pub type Draining = Arc<AtomicBool>;

/// The query parameter of readiness: what the server is to be ready for.
pub const PURPOSE_PARAM: &str = "for";

const PURPOSES: [(&str, Purpose); 2] = [("verifications", Purpose::Verifications), ("changes", Purpose::Changes)];

/// Responds as long as the process runs. Checks nothing, so that an outage elsewhere does not restart the process.
pub fn livez() -> BoxEndpoint<'static> {
    poem::get(make_sync(|_| json_response(&json!({ "status": "live", "checks": [] })))).map_to_response().boxed()
}

pub fn readyz(services: Arc<Services>, draining: Draining) -> BoxEndpoint<'static> {
    let ready = move |request: Request| {
        let (services, draining) = (services.clone(), draining.clone());
        async move {
            let (name, purpose) = purpose(request.uri().query().unwrap_or_default())?;
            let mut checks = services.health.check(purpose).await;
            let stopping = draining.load(Ordering::Relaxed);
            let detail = if stopping { "is shutting down" } else { "accepts requests" };
            checks.insert(0, Check::new("server", !stopping, detail));
            if checks.iter().all(|check| check.ok || !check.required) {
                let report = json!({ "status": "ready", PURPOSE_PARAM: name, "checks": public_checks(&checks) });
                Ok::<_, poem::Error>(json_response(&report))
            } else {
                Err(not_ready(name, &checks).into())
            }
        }
    };
    poem::get(make(ready)).map_to_response().boxed()
}

/// Reads the purpose and its name. The pipeline admits no other parameter, and this one at most once.
fn purpose(query: &str) -> Result<(&'static str, Purpose), Problem> {
    let Some(pair) = query.split('&').find(|pair| !pair.is_empty()) else { return Ok(PURPOSES[0]) };
    let (_, value) = pair.split_once('=').unwrap_or((pair, ""));
    PURPOSES.into_iter().find(|(name, _)| *name == value).ok_or_else(|| {
        let names = PURPOSES.map(|(name, _)| name).join(" or ");
        reject_value(PURPOSE_PARAM, value, &names)
    })
}

/// 503 with the checks that failed, so that a load balancer sends requests elsewhere.
fn not_ready(purpose: &str, checks: &[Check]) -> Problem {
    let failed = || checks.iter().filter(|check| check.required && !check.ok);
    let reasons: Vec<_> = failed().map(|check| format!("{} {}", check.name, check.detail)).collect();
    let causes: Vec<_> = checks.iter().filter(|check| !check.ok).filter_map(|check| check.cause.as_deref()).collect();
    let context = if causes.is_empty() { reasons.join("; ") } else { causes.join("; ") };
    Problem::unavailable(format!("Not ready for {purpose}: {}.", reasons.join("; ")), 1)
        .with_extension(PURPOSE_PARAM, purpose.into())
        .with_extension("checks", public_checks(checks))
        .with_reason(ErrorReason::NotReady.as_str())
        .with_log_context(context)
}

/// The checks without the causes, which are only logged.
fn public_checks(checks: &[Check]) -> Value {
    let public = |Check { name, ok, required, detail, .. }: &Check| json!({ "name": name, "ok": ok, "required": required, "detail": detail });
    checks.iter().map(public).collect()
}

fn json_response(body: &Value) -> Response {
    body.to_string().with_content_type(JSON).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purpose_is_verifications_unless_named() {
        let read = |query: &str| purpose(query).map(|(_, purpose)| purpose).map_err(|problem| problem.to_string());
        assert_eq!(read(""), Ok(Purpose::Verifications));
        assert_eq!(read("for=verifications"), Ok(Purpose::Verifications));
        assert_eq!(read("for=changes"), Ok(Purpose::Changes));
        for unknown in ["for=", "for=writes", "for"] {
            assert!(read(unknown).unwrap_err().contains("verifications or changes"), "{unknown}");
        }
    }
}
