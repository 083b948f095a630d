//! Revoke: OAuth 2.0 token revocation (RFC 7009) of API keys.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::{FORM, GATEWAY, REVOKE, assert_oauth_error, authorized, challenges, form};
use crate::support::{KEYS, Response, Server, id, secret};

/// A well-formed secret that belongs to no key.
const UNKNOWN: &str = "mk_00000000000000000000000000000000000000000004NvClr";

/// Sends a token for revocation, with a bearer credential unless it is empty.
async fn revoke(server: &Server, credential: &str, token: &str) -> Response {
    Response::to(form(server, REVOKE, credential, format!("token={token}"))).await
}

/// Checks the whole response: it does not tell whether there was such a token.
#[track_caller]
fn assert_done(response: &Response) {
    assert_eq!((response.status.as_u16(), &*response.text), (200, "{}"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

/// The actor's kind, subject and key, and the key's owner, of the only event `revoked`.
async fn revocation_event(server: &Server, key: &Value) -> (String, String, Option<String>, String) {
    let id = crate::support::database::uuid(id(key));
    let sql = format!("SELECT * FROM audit_events WHERE action = 'revoked' AND key_id = {id}");
    let rows = server.rows(&sql).await;
    assert_eq!(rows.len(), 1);
    let text = |column: &str| rows[0].try_get::<String>("", column).unwrap();
    let key_id = rows[0].try_get::<Option<uuid::Uuid>>("", "actor_key_id").unwrap();
    (text("actor_kind"), text("actor_subject"), key_id.map(|id| id.to_string()), text("owner_subject"))
}

#[tokio::test]
async fn revoke_without_client_ends_the_key_of_the_token() {
    let server = Server::start();
    let (alice, gateway) = (server.token("alice"), server.token_with("gateway", GATEWAY));
    let leaked = server.create_key(&alice, &["projects:read"]).await;
    let other = server.create_key(&alice, &[]).await;
    assert_eq!(server.verify_code(&gateway, secret(&leaked)).await, "VALID");

    let fields = format!("token={}&token_type_hint=access_token&client_id=spa&x=1", secret(&leaked));
    let request = form(&server, REVOKE, "", fields).header("user-agent", "scanner/1");
    assert_done(&Response::to(request).await);
    assert_eq!(server.verify_code(&gateway, secret(&leaked)).await, "REVOKED", "from memory");
    assert_eq!(server.verify_code(&gateway, secret(&other)).await, "VALID");

    let shown = server.get(&format!("{KEYS}{}", id(&leaked)), &alice).await.body;
    assert_eq!(
        (&shown["status"], &shown["revoke_reason"]),
        (&json!("revoked"), &json!("by token revocation (RFC 7009)"))
    );
    assert_eq!(server.audit_actions(id(&leaked)).await, ["created", "revoked"]);
    let key_itself = ("key".to_owned(), "alice".to_owned(), Some(id(&leaked).to_owned()), "alice".to_owned());
    assert_eq!(revocation_event(&server, &leaked).await, key_itself);
    let event = &server.rows("SELECT * FROM audit_events WHERE action = 'revoked'").await[0];
    assert_eq!(event.try_get::<String>("", "client_address").unwrap(), "127.0.0.1");
    assert_eq!(event.try_get::<String>("", "user_agent").unwrap(), "scanner/1");
    assert!(event.try_get::<String>("", "changes").unwrap().contains("RFC 7009"));
}

#[tokio::test]
async fn revoke_again_or_of_unknown_token_is_200_and_changes_nothing() {
    let server = Server::start();
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for name in ["revoked", "deleted", "rotated", "revoked here"] {
        keys.push(server.create_key_from(&alice, json!({ "name": name })).await);
    }
    assert_eq!(server.revoke(id(&keys[0]), &alice, json!({ "reason": "first" })).await.status, 200);
    assert_eq!(server.delete(id(&keys[1]), &alice).await.status, 204);
    assert_eq!(server.rotate(id(&keys[2]), &alice, Value::Null).await.status, 201);
    assert_done(&revoke(&server, "", secret(&keys[3])).await);
    let before = server.dump().await;
    for token in keys.iter().map(secret).chain([UNKNOWN, "garbage", "%FF", "a+b", &"x".repeat(16_000)]) {
        assert_done(&revoke(&server, "", token).await);
        assert_done(&revoke(&server, &alice, token).await);
    }
    // A key that authenticates its client with the token itself, repeated.
    assert_done(&revoke(&server, secret(&keys[3]), secret(&keys[3])).await);
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revoke_by_client_names_it_as_the_actor() {
    let server = Server::start();
    let alice = server.token("alice");
    let gateway = server.token_with("gateway", GATEWAY);
    let verifier = server.create_key(&gateway, &["api-keys:verify"]).await;
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("any:{password}")));
    let operator = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let strong = server.create_key(&operator, &["api-keys:admin"]).await;
    for (key, authorization, field, kind, subject, acting) in [
        (&server.create_key(&alice, &[]).await, Some(format!("Bearer {alice}")), "", "user", "alice", None),
        (&server.create_key(&alice, &[]).await, Some(basic(secret(&verifier))), "", "key", "gateway", Some(&verifier)),
        (&server.create_key(&alice, &[]).await, None, secret(&verifier), "key", "gateway", Some(&verifier)),
        // Knowing the secret suffices, however much the key may do.
        (&strong, Some(format!("Bearer {}", secret(&verifier))), "", "key", "gateway", Some(&verifier)),
    ] {
        let owner = if *key == strong { "carol" } else { "alice" };
        let body = format!("token={}&client_id=x&client_secret={field}", secret(key));
        let response = match &authorization {
            Some(authorization) => authorized(&server, REVOKE, authorization, &body).await,
            None => Response::to(form(&server, REVOKE, "", body)).await,
        };
        assert_done(&response);
        let acting = acting.map(|key| id(key).to_owned());
        let expected = (kind.to_owned(), subject.to_owned(), acting, owner.to_owned());
        assert_eq!(revocation_event(&server, key).await, expected);
        assert_eq!(server.verify_code(&gateway, secret(key)).await, "REVOKED");
    }
    assert_eq!(server.verify_code(&gateway, secret(&verifier)).await, "VALID", "the actor itself");
}

#[tokio::test]
async fn revoke_by_key_of_itself_needs_no_scope() {
    let server = Server::start();
    let (alice, gateway) = (server.token("alice"), server.token_with("gateway", GATEWAY));
    for way in ["bearer", "basic", "field"] {
        let key = server.create_key(&alice, &[]).await;
        let body = format!("token={}", secret(&key));
        let response = match way {
            "bearer" => revoke(&server, secret(&key), secret(&key)).await,
            "basic" => {
                let basic = format!("Basic {}", STANDARD.encode(format!("x:{}", secret(&key))));
                authorized(&server, REVOKE, &basic, &body).await
            }
            _ => Response::to(form(&server, REVOKE, "", format!("{body}&client_secret={}", secret(&key)))).await,
        };
        assert_done(&response);
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "REVOKED", "{way}");
        assert_eq!(revocation_event(&server, &key).await.2.as_deref(), Some(id(&key)), "{way}");
    }
}

/// A key that leaked while it could not be used does not come back.
#[tokio::test]
async fn revoke_ends_disabled_and_expired_keys_and_those_in_grace() {
    let server = Server::start();
    let (alice, gateway) = (server.token("alice"), server.token_with("gateway", GATEWAY));
    let disabled = server.create_key(&alice, &[]).await;
    assert_eq!(server.patch(id(&disabled), &alice, json!({ "enabled": false })).await.status, 200);
    let expired = server.create_key_from(&alice, json!({ "name": "k", "expires_in_seconds": 1 })).await;
    let rotated = server.create_key(&alice, &[]).await;
    let new = server.rotate(id(&rotated), &alice, json!({ "grace_seconds": 3600 })).await.body;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for key in [&disabled, &expired, &rotated] {
        assert_done(&revoke(&server, "", secret(key)).await);
        assert_eq!(server.audit_actions(id(key)).await.last().unwrap(), "revoked");
        assert_eq!(server.verify_code(&gateway, secret(key)).await, "REVOKED");
    }
    assert_eq!(server.verify_code(&gateway, secret(&new)).await, "REVOKED", "the key itself ends");
    let again = server.patch(id(&disabled), &alice, json!({ "enabled": true })).await;
    again.assert_problem_type(409, "key-revoked");
}

/// A secret that was replaced long ago proves nothing about the key as it is now.
#[tokio::test]
async fn revoke_of_replaced_secret_leaves_the_key() {
    let server = Server::start_with(&["--revoke-descendants"]);
    let alice = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&alice, &["api-keys:write"]).await;
    let child = server.create_key(secret(&key), &[]).await;
    let new = server.rotate(id(&key), &alice, Value::Null).await.body;
    let before = server.dump().await;
    assert_done(&revoke(&server, "", secret(&key)).await);
    assert_eq!(server.dump().await, before);
    for valid in [&new, &child] {
        assert_eq!(server.verify_code(&gateway, secret(valid)).await, "VALID");
    }
    assert_done(&revoke(&server, "", secret(&new)).await);
    assert_eq!(server.verify_code(&gateway, secret(&child)).await, "REVOKED", "by the setting");
}

#[tokio::test]
async fn revoke_with_invalid_client_is_401_and_changes_nothing() {
    let server = Server::start();
    let alice = server.token("alice");
    let key = server.create_key(&alice, &[]).await;
    let ended = server.create_key(&alice, &[]).await;
    assert_eq!(server.revoke(id(&ended), &alice, Value::Null).await.status, 200);
    let before = server.dump().await;
    for credential in ["garbage", UNKNOWN, "a.b.c", secret(&ended)] {
        for response in [
            revoke(&server, credential, secret(&key)).await,
            Response::to(form(&server, REVOKE, "", format!("token={}&client_secret={credential}", secret(&key)))).await,
        ] {
            assert_oauth_error(&response, 401, "invalid_client");
            assert_eq!(challenges(&response).len(), 2);
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revoke_of_access_token_is_unsupported() {
    let server = Server::start();
    let alice = server.token("alice");
    for token in [&*alice, "a.b.c"] {
        let response = revoke(&server, "", token).await;
        assert_oauth_error(&response, 400, "unsupported_token_type");
        response.assert_problem_type(400, "unsupported-token-type");
    }
    assert_eq!(server.get(KEYS, &alice).await.status, 200);
}

#[tokio::test]
async fn revoke_of_malformed_request_is_rejected() {
    let server = Server::start();
    let alice = server.token("alice");
    let key = server.create_key(&alice, &[]).await;
    let k = secret(&key);
    let before = server.dump().await;
    for body in ["".to_owned(), "token=".to_owned(), format!("token={k}&token={k}"), format!("Token={k}")] {
        for credential in ["", &alice] {
            let response = Response::to(form(&server, REVOKE, credential, body.clone())).await;
            assert_oauth_error(&response, 400, "invalid_request");
            assert!(!response.text.contains(k), "{body}");
        }
    }
    let query = format!("{REVOKE}?token={k}");
    assert_oauth_error(&Response::to(form(&server, &query, &alice, "")).await, 400, "invalid_request");
    let json = server.request(Method::POST, REVOKE, &alice).json(&json!({ "token": k }));
    assert_oauth_error(&Response::to(json).await, 415, "invalid_request");
    for method in [Method::GET, Method::DELETE] {
        let response = server.request(method, REVOKE, &alice).header("content-type", FORM);
        Response::to(response).await.assert_problem(405);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revoke_at_once_by_many_is_audited_once() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    let responses = futures_util::future::join_all((0..8).map(|_| revoke(&server, "", secret(&key)))).await;
    responses.iter().for_each(assert_done);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn revoke_while_the_database_is_locked_is_503() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let lock = server.lock().await;
    let response = revoke(&server, "", secret(&key)).await;
    assert!(response.header("retry-after").is_some());
    assert_oauth_error(&response, 503, "temporarily_unavailable");
    sea_orm::ConnectionTrait::execute_unprepared(&lock, "ROLLBACK").await.unwrap();
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    assert_done(&revoke(&server, "", secret(&key)).await);
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "REVOKED");
}
