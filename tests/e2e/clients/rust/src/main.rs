//! The life of a key, with a client by progenitor: base URL and token are the arguments.

use mintkey::types::{ApiKeyVerifyResponse, ProblemDetail, VerificationCode};
use mintkey::{Client, Error, ResponseValue};
use reqwest::header::{AUTHORIZATION, HeaderMap};

pub mod mintkey {
    include!(concat!(env!("OUT_DIR"), "/mintkey.rs"));
}

type Failure = Box<dyn std::error::Error>;

/// A client that sends this credential.
fn connect(base_url: &str, credential: &str) -> Result<Client, Failure> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {credential}").parse()?)]);
    Ok(Client::new_with_client(base_url, reqwest::Client::builder().default_headers(headers).build()?))
}

/// What the service has against a request.
fn problem<T>(result: Result<ResponseValue<T>, Error<ProblemDetail>>, status: u16) -> ProblemDetail {
    match result {
        Err(Error::ErrorResponse(problem)) => {
            assert_eq!((problem.status().as_u16(), problem.status), (status, status.into()), "{problem:?}");
            let traced = problem.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
            assert_eq!(traced, problem.request_id);
            problem.into_inner()
        }
        Err(error) => panic!("no problem, but {error}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn verify(mintkey: &Client, key: &str, scopes: &[&str]) -> Result<ApiKeyVerifyResponse, Failure> {
    let scopes = scopes.iter().map(|scope| scope.parse()).collect::<Result<Vec<_>, _>>()?;
    let question = mintkey.verify_api_key().body_map(|body| body.key(key).scopes(scopes));
    Ok(question.send().await?.into_inner())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [base_url, token] = &arguments[..] else { return Err("base URL and token, please".into()) };
    let mintkey = connect(base_url, token)?;

    // Create: only this response and that of a rotation contain the secret. The same request twice
    // creates one key.
    let metadata = serde_json::json!({ "team": "billing" }).as_object().cloned().unwrap_or_default();
    let idempotency_key = uuid::Uuid::new_v4().to_string();
    let create = || {
        let metadata = metadata.clone();
        mintkey
            .create_my_api_key()
            .idempotency_key(&*idempotency_key)
            .body_map(|body| body.name("ci").scopes(vec!["projects:read".parse().unwrap()]).metadata(metadata))
    };
    let created = create().send().await?;
    let replayed = create().send().await?;
    assert_eq!(replayed.key, created.key);
    assert_eq!(replayed.headers()["idempotency-replayed"], "true");
    let second = mintkey.create_my_api_key().body_map(|body| body.name("second")).send().await?;

    // List, a key a page.
    let mut names = Vec::new();
    let mut page = mintkey.list_my_api_keys().limit(1).send().await?.into_inner();
    loop {
        names.extend(page.items.into_iter().map(|key| key.name));
        let Some(cursor) = page.next_cursor else { break };
        page = mintkey.list_my_api_keys().limit(1).cursor(cursor).send().await?.into_inner();
    }
    assert_eq!(names, ["second", "ci"]);

    // Update, unless the key was changed in between.
    let got = mintkey.get_my_api_key().id(created.id).send().await?;
    let etag = got.headers()["etag"].to_str()?;
    let update = || mintkey.update_my_api_key().id(created.id).if_match(etag);
    let change = update().body_map(|body| body.name(Some("deploy".parse().unwrap())));
    assert_eq!(change.send().await?.name, "deploy");
    let stale = update().body_map(|body| body.name(Some("lost".parse().unwrap())));
    problem(stale.send().await, 412);

    // Rotate: both secrets are good for a while, and a second rotation waits until then.
    let rotation = mintkey.rotate_my_api_key().id(created.id).body_map(|body| body.grace_seconds(3600));
    let rotated = rotation.send().await?;
    let again = problem(mintkey.rotate_my_api_key().id(created.id).send().await, 409);
    assert_eq!(again.type_.as_deref(), Some("urn:mintkey:problem:rotation-in-progress"));

    // Rotate without a body, and retry: the same Idempotency-Key returns the same secret.
    let attempt = uuid::Uuid::new_v4().to_string();
    let retried = || mintkey.rotate_my_api_key().id(second.id).idempotency_key(&*attempt).send();
    assert_eq!(retried().await?.key, retried().await?.key);

    // Verify, as a gateway does.
    let verdict = verify(&mintkey, &rotated.key, &["projects:read"]).await?;
    assert!(verdict.valid && verdict.owner.is_some_and(|owner| owner.subject == "alice"));
    assert_eq!(verdict.metadata["team"], "billing");
    assert_eq!(verify(&mintkey, &created.key, &[]).await?.code, VerificationCode::Valid);
    let short = verify(&mintkey, &created.key, &["projects:write"]).await?;
    assert_eq!(short.code, VerificationCode::InsufficientScope);
    assert_eq!(verify(&mintkey, "mk_nonsense", &[]).await?.code, VerificationCode::NotFound);

    // Usage, day by day, up to a minute behind.
    let usage = mintkey.get_my_api_key_usage().id(created.id).send().await?;
    assert_eq!((usage.to - usage.from).num_days(), 29);

    // Revoke permanently.
    let reason = "leaked".parse()?;
    let revoked = mintkey.revoke_my_api_key().id(created.id).body_map(|body| body.reason(Some(reason))).send().await?;
    assert_eq!(revoked.revoke_reason.as_deref(), Some("leaked"));
    assert_eq!(verify(&mintkey, &rotated.key, &[]).await?.code, VerificationCode::Revoked);

    // Delete.
    mintkey.delete_my_api_key().id(second.id).send().await?;
    problem(mintkey.get_my_api_key().id(second.id).send().await, 404);

    // Audit.
    let events = mintkey.list_my_audit_events().key_id(created.id).send().await?.into_inner();
    let actions: Vec<_> = events.items.into_iter().map(|event| event.action).collect();
    assert_eq!(actions, ["revoked", "rotated", "updated", "created"]);

    // Problems say what to change. A name without a character does not even leave this client.
    problem(connect(base_url, "not-a-token")?.list_my_api_keys().send().await, 401);
    let unnamed = mintkey.create_my_api_key().body_map(|body| body.name("")).send().await;
    assert!(matches!(unnamed, Err(Error::InvalidRequest(_))));
    let past = chrono::DateTime::UNIX_EPOCH;
    let ended = mintkey.create_my_api_key().body_map(|body| body.name("ended").expires_at(past)).send().await;
    assert_eq!(problem(ended, 422).errors[0].pointer, "/expires_at");
    Ok(())
}
