//! Boundaries: an administrator finds the keys of its own issuer, and only those of its organization if it has one. Every
//! other key looks like one that does not exist.

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{EVENTS_OF_ALL, KEYS_OF_ALL, revoke};
use crate::revocation_jobs::end_of_job;
use crate::support::{Response, Server, id, secret, unknown_key};
use crate::tokens::{self, Forge};

const HOME: &str = "urn:mintkey:standalone";
const PARTNER: &str = "https://partner.example";

/// A server with two issuers, the built-in one and one whose tokens the test signs.
struct TwoIssuers {
    server: Server,
    partner: Forge,
    _jwks: TempDir,
}

impl TwoIssuers {
    /// Starts with these options of the second issuer.
    fn start(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        let partner = Forge::generate();
        std::fs::write(&file, json!({ "keys": [partner.jwk()] }).to_string()).unwrap();
        let issuer = format!("{PARTNER},audience=mintkey,organization=org,jwks-file={}{options}", file.display());
        let server = Server::start_with(&["--standalone-issuer", "--issuer", &issuer]);
        server.wait_for_log(&["JWKS refreshed", PARTNER]);
        Self { server, partner, _jwks: directory }
    }

    fn token(&self, issuer: &str, organization: &str, subject: &str, scopes: &str) -> String {
        if issuer == PARTNER {
            let claims = tokens::claims(|claims| {
                claims["iss"] = PARTNER.into();
                claims["sub"] = subject.into();
                claims["scope"] = scopes.into();
                if !organization.is_empty() {
                    claims["org"] = organization.into();
                }
            });
            return self.partner.sign(&tokens::header(), &claims);
        }
        let arguments = ["--scopes", scopes, "--organization", organization];
        self.server.token_with(subject, if organization.is_empty() { &arguments[..2] } else { &arguments })
    }

    /// A key of alice's in each issuer, with and without an organization.
    async fn keys(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut keys = Vec::new();
        for (issuer, organization) in OWNERS {
            let alice = self.token(issuer, organization, "alice", "");
            let key = self.server.create_key_from(&alice, json!({ "name": "k" })).await;
            keys.push((issuer, organization, key));
        }
        keys
    }
}

const OWNERS: [(&str, &str); 6] =
    [(HOME, ""), (HOME, "acme"), (HOME, "other"), (PARTNER, ""), (PARTNER, "acme"), (PARTNER, "other")];

/// Everything by which a client can distinguish two responses to the same request.
fn observable(response: &Response) -> (u16, String) {
    (response.status.as_u16(), response.text.clone())
}

#[tokio::test]
async fn admin_reaches_own_issuer_and_organization_alone() {
    let deployment = TwoIssuers::start("");
    let server = &deployment.server;
    let keys = deployment.keys().await;
    for (issuer, organization) in OWNERS {
        let token = deployment.token(issuer, organization, "carol", "api-keys:admin");
        let admin_key = server.create_key_from(&token, json!({ "name": "a", "scopes": ["api-keys:admin"] })).await;
        let reached =
            |owner: &(&str, &str, Value)| owner.0 == issuer && (organization.is_empty() || owner.1 == organization);
        let expected: Vec<_> =
            keys.iter().rev().filter(|key| reached(key)).map(|(_, _, key)| key["id"].clone()).collect();
        for credential in [&*token, secret(&admin_key)] {
            assert_finds(server, credential, &expected).await;
            let before = server.dump().await;
            for (_, _, foreign) in keys.iter().filter(|key| !reached(key)) {
                assert_looks_unknown(server, credential, id(foreign)).await;
            }
            assert_eq!(server.dump().await, before);
        }
        assert_eq!(revoke(server, &token, id(&admin_key), Value::Null).await.status, 200);
    }
}

/// Checks that each way of asking for alice's keys finds exactly these, newest first.
async fn assert_finds(server: &Server, credential: &str, expected: &[Value]) {
    let list = async |path: String, member: &str| {
        let list = server.get(&path, credential).await;
        assert_eq!(list.status, 200, "{path}: {}", list.text);
        list.body["items"].as_array().unwrap().iter().map(|item| item[member].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(format!("{KEYS_OF_ALL}?subject=alice"), "id").await, expected);
    let events = list(format!("{EVENTS_OF_ALL}?limit=100"), "key_id").await;
    assert!(expected.iter().all(|id| events.contains(id)), "{events:?}");
    let filter = json!({ "subject": "alice", "dry_run": true });
    let counted = server.call(Method::POST, &format!("{KEYS_OF_ALL}/revoke"), credential, filter).await;
    let count = json!({ "count": { "matched": expected.len(), "descendants": 0, "complete": true } });
    assert_eq!(counted.body, count, "{}", counted.text);
    for key in expected {
        let path = format!("{KEYS_OF_ALL}/{}", key.as_str().unwrap());
        assert_eq!(server.get(&path, credential).await.body["id"], *key);
    }
}

/// Checks that operations by id do not distinguish this key from one that never was, and that lists leave it out.
async fn assert_looks_unknown(server: &Server, credential: &str, foreign: &str) {
    let unknown = unknown_key();
    for (method, tail) in [(Method::GET, ""), (Method::POST, "/revoke")] {
        let call = async |id: &str| {
            let path = format!("{KEYS_OF_ALL}/{id}{tail}");
            let request = server.request(method.clone(), &path, credential).header("x-request-id", "the-same");
            Response::to(if tail.is_empty() { request } else { request.json(&json!({ "reason": "r" })) }).await
        };
        let response = call(foreign).await;
        response.assert_problem(404);
        assert_eq!(observable(&response), observable(&call(&unknown).await), "{method} {tail}");
    }
    let events = server.get(&format!("{EVENTS_OF_ALL}?key_id={foreign}"), credential).await;
    assert_eq!(events.body, json!({ "items": [] }), "{}", events.text);
    let all = server.get(&format!("{EVENTS_OF_ALL}?limit=100"), credential).await;
    assert!(!all.text.contains(foreign), "{}", all.text);
}

#[tokio::test]
async fn admin_bulk_revoke_stays_within_the_reach() {
    let deployment = TwoIssuers::start("");
    let server = &deployment.server;
    let keys = deployment.keys().await;
    let revoked = async || {
        let mut revoked = Vec::new();
        for (issuer, organization, key) in &keys {
            if server.audit_actions(id(key)).await.contains(&"revoked".to_owned()) {
                revoked.push((*issuer, *organization));
            }
        }
        revoked
    };
    let bulk_revoke = async |issuer: &str, organization: &str, filter: Value| {
        let token = deployment.token(issuer, organization, "carol", "api-keys:admin");
        server.call(Method::POST, &format!("{KEYS_OF_ALL}/revoke"), &token, filter).await
    };
    let revoke_all = async |issuer: &str, organization: &str, filter: Value| {
        let token = deployment.token(issuer, organization, "carol", "api-keys:admin");
        let response = bulk_revoke(issuer, organization, filter).await;
        end_of_job(server, &token, &response).await["revoked"].clone()
    };
    for filter in
        [json!({ "issuer": HOME }), json!({ "issuer": HOME, "subject": "alice" }), json!({ "organization": "other" })]
    {
        assert_eq!(revoke_all(PARTNER, "acme", filter.clone()).await, 0, "{filter}");
    }
    let counted = json!({ "created_before": "2999-01-01T00:00:00Z", "dry_run": true });
    assert_eq!(bulk_revoke(PARTNER, "acme", counted).await.body["count"]["matched"], 1);
    assert!(revoked().await.is_empty());
    let everything = json!({ "created_before": "2999-01-01T00:00:00Z" });
    assert_eq!(revoke_all(PARTNER, "acme", everything.clone()).await, 1);
    assert_eq!(revoked().await, [(PARTNER, "acme")]);
    assert_eq!(revoke_all(PARTNER, "", everything).await, 2);
    assert_eq!(revoked().await, [(PARTNER, ""), (PARTNER, "acme"), (PARTNER, "other")]);
}

#[tokio::test]
async fn admin_of_an_issuer_of_operators_reaches_every_owner() {
    let deployment = TwoIssuers::start(",operators");
    let server = &deployment.server;
    let keys = deployment.keys().await;
    let expected: Vec<_> = keys.iter().rev().map(|(_, _, key)| key["id"].clone()).collect();
    for organization in ["", "acme"] {
        let token = deployment.token(PARTNER, organization, "carol", "api-keys:admin");
        assert_finds(server, &token, &expected).await;
        let key = server.create_key_from(&token, json!({ "name": "a", "scopes": ["api-keys:admin"] })).await;
        assert_finds(server, secret(&key), &expected).await;
    }
    let of_home: Vec<_> = expected[3..].to_vec();
    let token = deployment.token(HOME, "", "carol", "api-keys:admin");
    assert_finds(server, &token, &of_home).await;

    let everywhere = json!({ "organization": "acme" });
    let token = deployment.token(PARTNER, "", "carol", "api-keys:admin");
    let revoked = server.call(Method::POST, &format!("{KEYS_OF_ALL}/revoke"), &token, everywhere).await;
    let job = end_of_job(server, &token, &revoked).await;
    assert_eq!(job["revoked"], 3, "alice's in both issuers, and the administrator's own: {job}");
}
