//! Organizations: a user in another organization, or in none, is another owner.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{cases_with_an_id, response_like_unknown_id, victims};
use crate::support::{KEYS, Response, Server, id, secret};

const SCOPES: &str = "api-keys:read api-keys:write";

/// A token of alice's in this organization, or in none if it is empty.
fn alice_of(server: &Server, organization: &str) -> String {
    let arguments = ["--scopes", SCOPES, "--organization", organization];
    server.token_with("alice", if organization.is_empty() { &arguments[..2] } else { &arguments })
}

/// A key of alice's in an organization that can do what its owner can.
async fn key_of(server: &Server, token: &str) -> String {
    let body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write"] });
    secret(&server.create_key_from(token, body).await).to_owned()
}

#[tokio::test]
async fn tenancy_other_organizations_id_looks_like_unknown_id() {
    let server = Server::start_with(&["--log-format", "json"]);
    let mut tokens = Vec::new();
    for organization in ["acme", "evil", ""] {
        let token = alice_of(&server, organization);
        let key = key_of(&server, &token).await;
        tokens.push((organization, token, key));
    }
    let of_acme = victims(&server, &tokens[0].1).await;
    let of_none = victims(&server, &tokens[2].1).await;
    let before = server.dump().await;

    let mut twins = 0;
    for (case, _) in cases_with_an_id(&server).await.filter(|(_, administration)| !administration) {
        for (owner, victims) in [("acme", &of_acme), ("", &of_none)] {
            for (caller, token, key) in tokens.iter().filter(|(organization, ..)| *organization != owner) {
                for ((state, victim), credential) in victims.iter().zip([token, key].into_iter().cycle()) {
                    twins += 1;
                    let context = format!("{} by {caller:?} of {owner:?}'s key that is {state}", case.operation);
                    let foreign = response_like_unknown_id(&server, case, credential, victim, twins, &context).await;
                    let expected: &[u16] = match case.operation {
                        "list_my_api_keys" | "list_my_audit_events" => &[200],
                        "update_my_api_key" => &[404, 422],
                        _ => &[404],
                    };
                    assert!(expected.contains(&foreign.status.as_u16()), "{context}: {}", foreign.text);
                    if foreign.status == 200 {
                        assert_eq!(foreign.body, json!({ "items": [] }), "{context}");
                    }
                }
            }
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn tenancy_lists_show_only_the_organizations_own() {
    let server = Server::start();
    let mut made = Vec::new();
    for organization in ["acme", "evil", ""] {
        let token = alice_of(&server, organization);
        let key = server.create_key_from(&token, json!({ "name": "k", "scopes": ["api-keys:read"] })).await;
        made.push((organization, token, key));
    }
    for (organization, token, key) in &made {
        for credential in [token, secret(key)] {
            for (path, member) in [(KEYS, "id"), ("/api/auth/audit-events", "key_id")] {
                let list = server.get(path, credential).await;
                let ids: Vec<_> = list.body["items"].as_array().unwrap().iter().map(|item| &item[member]).collect();
                assert_eq!(ids, [&key["id"]], "{path} by {organization:?}: {}", list.text);
                let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice" });
                let mut expected = owner;
                if !organization.is_empty() {
                    expected["organization"] = (*organization).into();
                }
                assert_eq!(list.body["items"][0]["owner"], expected, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn tenancy_idempotency_key_belongs_to_one_organization() {
    let server = Server::start();
    let send = async |token: &str, path: &str, body: Value| {
        let request: RequestBuilder = server.request(Method::POST, path, token);
        Response::to(request.header("idempotency-key", "an-unguessable-request-key").json(&body)).await
    };
    let mut secrets = Vec::new();
    for organization in ["acme", "evil", ""] {
        let token = alice_of(&server, organization);
        let made = send(&token, KEYS, json!({ "name": "k" })).await;
        assert_eq!(made.status, 201, "{organization:?}: {}", made.text);
        assert_eq!(send(&token, KEYS, json!({ "name": "k" })).await.text, made.text, "the same organization");
        secrets.push(secret(&made.body).to_owned());

        let path = format!("{KEYS}{}/rotate", id(&made.body));
        let rotated = send(&token, &path, json!({ "grace_seconds": 0 })).await;
        assert_eq!(rotated.status, 201, "{organization:?}: {}", rotated.text);
        for other in ["acme", "evil", ""].iter().filter(|other| **other != organization) {
            send(&alice_of(&server, other), &path, json!({ "grace_seconds": 0 })).await.assert_problem(404);
        }
        secrets.push(secret(&rotated.body).to_owned());
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 6, "a secret for each organization and operation");
    assert_eq!(server.counts().await, [3, 6, 6]);
}
