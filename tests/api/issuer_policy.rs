//! Issuer policy: what the options of an issuer let its tokens do.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{KEYS, Response, Server, id, mintkey_at, run, secret};
use crate::tokens::{Forge, claims, header};

const ISSUER: &str = "https://id.example.com";

/// A server that trusts one issuer, whose tokens the test signs.
struct Deployment {
    server: Server,
    forge: Forge,
    _directory: TempDir,
}

impl Deployment {
    /// Starts it with additional options of the issuer and arguments of the server.
    fn start(options: &str, arguments: &[&str]) -> Self {
        let (directory, forge) = (tempfile::tempdir().unwrap(), Forge::generate());
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, json!({ "keys": [forge.jwk()] }).to_string()).unwrap();
        let issuer = format!("{ISSUER},audience=mintkey,jwks-file={}{options}", file.display());
        let server = Server::start_with(&[&["--issuer", &issuer], arguments].concat());
        Self { server, forge, _directory: directory }
    }

    /// A token of alice.
    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let claims = claims(|claims| {
            claims["iss"] = json!(ISSUER);
            change(claims);
        });
        self.forge.sign(&header(), &claims)
    }

    fn token_with_scopes(&self, scopes: &str) -> String {
        self.token(|claims| claims["scope"] = json!(scopes))
    }

    async fn create(&self, token: &str, scopes: &[&str]) -> Response {
        self.server.create(token, json!({ "name": "x", "scopes": scopes })).await
    }
}

fn assert_insufficient_scope(response: &Response, scope: &str) {
    response.assert_problem(403);
    let challenge = response.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("insufficient_scope") && challenge.contains(&format!("scope=\"{scope}\"")),
        "{challenge}"
    );
}

#[tokio::test]
async fn token_grants_only_its_own_scopes_by_default() {
    let deployment = Deployment::start("", &[]);
    let token = deployment.token_with_scopes("projects:read");
    let response = deployment.create(&token, &["projects:read", "projects:admin"]).await;
    assert_insufficient_scope(&response, "projects:admin");
    assert!(response.assert_problem(403).contains("`grants`"), "{}", response.text);
    assert_eq!(deployment.server.count("api_keys").await, 0);
    let key = deployment.server.create_key(&token, &["projects:read"]).await;

    let patch = deployment.server.patch(id(&key), &token, json!({ "scopes": ["billing:write"] })).await;
    assert_insufficient_scope(&patch, "billing:write");
    let other = deployment.token_with_scopes("");
    assert_insufficient_scope(&deployment.server.rotate(id(&key), &other, json!({})).await, "projects:read");
    assert_eq!(deployment.server.patch(id(&key), &other, json!({ "name": "renamed" })).await.status, 200);
    assert_eq!(deployment.server.revoke(id(&key), &other, json!({})).await.status, 200);
}

#[tokio::test]
async fn token_grants_any_scope_but_reserved_ones_if_set() {
    let deployment = Deployment::start(",grants=any", &[]);
    let token = deployment.token_with_scopes("");
    assert_eq!(deployment.create(&token, &["projects:admin", "*"]).await.status, 201);
    assert_insufficient_scope(&deployment.create(&token, &["api-keys:verify"]).await, "api-keys:verify");
    let verifier = deployment.token_with_scopes("api-keys:verify");
    assert_eq!(deployment.create(&verifier, &["api-keys:verify"]).await.status, 201);
}

#[tokio::test]
async fn token_grants_the_allowed_scopes_if_there_are_some() {
    for options in ["", ",grants=allowed-scopes", ",grants=any"] {
        let deployment = Deployment::start(options, &["--allowed-scopes", "projects:read"]);
        let token = deployment.token_with_scopes("");
        assert_eq!(deployment.create(&token, &["projects:read"]).await.status, 201, "{options}");
        let outside = deployment.create(&token, &["projects:admin"]).await;
        outside.assert_problem(422);
        assert_eq!(outside.pointers(), ["/scopes/0"]);
        assert_eq!(deployment.server.count("api_keys").await, 1);
    }
    let deployment = Deployment::start(",grants=token", &["--allowed-scopes", "projects:read"]);
    let token = deployment.token_with_scopes("");
    assert_insufficient_scope(&deployment.create(&token, &["projects:read"]).await, "projects:read");
}

#[tokio::test]
async fn key_grants_only_its_own_scopes_under_any_policy() {
    let deployment = Deployment::start(",grants=any", &[]);
    let token = deployment.token_with_scopes("api-keys:write");
    let key = deployment.server.create_key(&token, &["api-keys:write", "projects:read"]).await;
    assert_eq!(deployment.create(secret(&key), &["projects:read"]).await.status, 201);
    assert_insufficient_scope(&deployment.create(secret(&key), &["projects:admin"]).await, "projects:admin");
}

#[tokio::test]
async fn token_needs_the_write_scope_only_to_give_if_required() {
    let deployment = Deployment::start(",grants=any,require-write", &[]);
    let server = &deployment.server;
    let (writer, reader) = (deployment.token_with_scopes("api-keys:write"), deployment.token_with_scopes(""));
    let [first, second] = [server.create_key(&writer, &[]).await, server.create_key(&writer, &[]).await];
    let before = server.count("audit_events").await;
    assert_insufficient_scope(&deployment.create(&reader, &[]).await, "api-keys:write");
    let patched = server.patch(id(&first), &reader, json!({ "name": "y" })).await;
    assert_insufficient_scope(&patched, "api-keys:write");
    assert_insufficient_scope(&server.rotate(id(&first), &reader, json!({})).await, "api-keys:write");
    assert_eq!((server.count("api_keys").await, server.count("audit_events").await), (2, before));

    assert_eq!(server.get(KEYS, &reader).await.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(server.revoke(id(&first), &reader, json!({})).await.status, 200);
    assert_eq!(server.delete(id(&second), &reader).await.status, 204);
}

#[tokio::test]
async fn token_without_the_required_claim_is_rejected() {
    let deployment = Deployment::start(",typ=compatible,require=scp", &[]);
    let id_token = deployment.token(|claims| {
        claims.as_object_mut().unwrap().remove("scope");
    });
    deployment.create(&id_token, &[]).await.assert_invalid_token();
    deployment.server.wait_for_log(&["reason=\"missing_claim\"", "`scp`"]);
    assert_eq!(deployment.server.count("api_keys").await, 0);
    let access_token = deployment.token(|claims| claims["scp"] = json!("access_as_user"));
    assert_eq!(deployment.create(&access_token, &[]).await.status, 201);
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

#[tokio::test]
async fn key_lives_at_most_as_long_as_the_shorter_maximum() {
    for (options, arguments) in [
        (",max-lifetime=1d", ["--max-lifetime", "30d"]),
        (",max-lifetime=30d", ["--max-lifetime", "1d"]),
        (",max-lifetime=1d", ["--default-lifetime", "30d"]),
    ] {
        let deployment = Deployment::start(options, &arguments);
        let (server, token) = (&deployment.server, deployment.token_with_scopes(""));
        let key = server.create_key(&token, &[]).await;
        let latest = time(&key["created_at"]) + TimeDelta::days(1);
        assert_eq!(time(&key["expires_at"]), latest, "{options}");

        for field in [json!({ "expires_in_seconds": 86_401 }), json!({ "expires_at": "2200-01-01T00:00:00Z" })] {
            let mut body = field.clone();
            body["name"] = json!("x");
            let response = server.create(&token, body).await;
            assert!(response.assert_problem(422).contains("max-lifetime"), "{}", response.text);
            let pointer = format!("/{}", field.as_object().unwrap().keys().next().unwrap());
            assert_eq!(response.pointers(), [pointer]);
        }
        assert_eq!(server.count("api_keys").await, 1);
        let within = server.create(&token, json!({ "name": "x", "expires_in_seconds": 86_400 })).await;
        assert_eq!(within.status, 201, "{}", within.text);
    }
}

#[tokio::test]
async fn update_beyond_the_maximum_shows_the_latest_expiry() {
    let deployment = Deployment::start("", &["--max-lifetime", "30d", "--default-lifetime", "1d"]);
    let (server, token) = (&deployment.server, deployment.token_with_scopes(""));
    let key = server.create_key(&token, &[]).await;
    let created = time(&key["created_at"]);
    assert_eq!(time(&key["expires_at"]), created + TimeDelta::days(1));
    let latest = created + TimeDelta::days(30);
    let patch = async |expires_at: Value| server.patch(id(&key), &token, json!({ "expires_at": expires_at })).await;

    let beyond = patch(json!(latest + TimeDelta::microseconds(1))).await;
    assert!(beyond.assert_problem(422).contains(&format!("{latest:?}")), "{}", beyond.text);
    assert_eq!(beyond.pointers(), ["/expires_at"]);
    assert_eq!(server.audit_actions(id(&key)).await, ["created"]);
    assert_eq!(time(&patch(json!(latest)).await.body["expires_at"]), latest);
    assert_eq!(patch(json!(created + TimeDelta::days(2))).await.status, 200);
    assert_eq!(time(&patch(Value::Null).await.body["expires_at"]), latest, "cleared: as long as is allowed");

    let rotated = server.rotate(id(&key), &token, json!({})).await;
    assert_eq!(time(&rotated.body["expires_at"]), latest);
}

#[tokio::test]
async fn command_line_keeps_within_the_maximum_lifetime() {
    let server = Server::start();
    let create = |arguments: &[&str]| {
        let mut command = mintkey_at(&server.data);
        command.args(["keys", "create", "--json", "--owner", "alice", "--name", "x", "--max-lifetime", "30d"]);
        run(command.args(arguments))
    };
    let refused = create(&["--expires-in", "31d"]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("max-lifetime"), "{error}");
    let created = create(&[]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let key: Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!(time(&key["expires_at"]) - time(&key["created_at"]), TimeDelta::days(30));
    let token = server.token("alice");
    let list = server.call(Method::GET, KEYS, &token, Value::Null).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
}
