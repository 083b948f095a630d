//! Tokens as well-known providers make them: each is accepted with the options shown, or refused with the cure.

use reqwest::Method;
use serde_json::{Value, json};

use crate::ops::logs::line_of_request;
use crate::support::{KEYS, Response, Server};
use crate::tokens::{Forge, now};

/// An issuer with the options that suit its tokens.
const ISSUERS: [(&str, &str); 17] = [
    ("https://id.example.com/realms/acme", "audience=mintkey,typ=compatible,scopes=realm_access.roles"),
    ("https://acme.eu.auth0.com/", "audience=https://api.example.com"),
    ("https://profile.eu.auth0.com/", "audience=https://api.example.com,typ=compatible,organization=org_id"),
    ("https://login.microsoftonline.com/tenant/v2.0", "audience=client,typ=compatible,require=scp,organization=tid"),
    ("https://sts.windows.net/graph/", "audience=00000003-0000-0000-c000-000000000000,typ=compatible"),
    ("https://acme.okta.com/oauth2/default", "audience=api://default,typ=compatible"),
    ("https://acme.okta.com", "audience=https://acme.okta.com,typ=compatible"),
    (
        "https://cognito-idp.eu-west-1.amazonaws.com/pool",
        "audience=client,audience=https://api.example.com,typ=compatible",
    ),
    ("https://acme.zitadel.cloud", "audience=project,typ=compatible"),
    ("https://authelia.example.com", "audience=https://api.example.com"),
    ("https://dex.example.com", "audience=app,typ=compatible"),
    ("https://hydra.example.com", "audience=https://api.example.com,typ=compatible"),
    ("https://ref.supabase.co/auth/v1", "audience=authenticated,typ=compatible"),
    ("https://clerk.example.com", "audience=https://api.example.com,typ=compatible"),
    ("https://securetoken.google.com/project", "audience=project,typ=compatible"),
    ("https://id.example.com/application/o/mintkey/", "audience=https://api.example.com,typ=compatible"),
    ("https://kubernetes.default.svc.cluster.local", "audience=mintkey,typ=compatible"),
];

/// A server that trusts all of them, with one key.
struct Deployment {
    server: Server,
    forge: Forge,
    _directory: tempfile::TempDir,
}

impl Deployment {
    fn start() -> Self {
        let (directory, forge) = (tempfile::tempdir().unwrap(), Forge::generate());
        let (file, mut jwk) = (directory.path().join("jwks.json"), forge.jwk());
        jwk["kid"] = json!("kid");
        std::fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
        let issuers = ISSUERS.map(|(issuer, options)| format!("{issuer},{options},jwks-file={}", file.display()));
        let server = Server::start_with(&["--log-format", "json", "--issuer", &issuers.join(";")]);
        Self { server, forge, _directory: directory }
    }

    /// A token with these claims and a usual `sub`, `iat` and `exp`; `null` leaves one out.
    fn token(&self, header: Value, issuer: &str, claims: Value) -> String {
        let mut all = json!({ "iss": issuer, "sub": "alice", "iat": now(), "exp": now() + 300 });
        for (name, value) in claims.as_object().unwrap() {
            match value {
                Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name] = value.clone(),
            }
        }
        let mut signed = json!({ "alg": "EdDSA", "kid": "kid" });
        signed.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        self.forge.sign(&signed, &all)
    }

    async fn list(&self, token: &str) -> Response {
        Response::to(self.server.request(Method::GET, KEYS, token)).await
    }

    /// Checks the response's `detail` and the log's `reason` and `cause`.
    async fn assert_refused(&self, token: &str, reason: &str, detail: &str, cause: &str) {
        let response = self.list(token).await;
        response.assert_invalid_token();
        let shown = response.body["detail"].as_str().unwrap();
        assert!(shown.contains(detail), "{reason}: {shown}");
        let line = line_of_request(&self.server, response.header("x-request-id").unwrap());
        assert_eq!(line["reason"], reason, "{line:?}");
        assert!(line["cause"].contains(cause), "{reason}: {line:?}");
        let signature = token.rsplit('.').next().unwrap();
        assert!(!self.server.log().contains(signature) && !response.text.contains(signature), "{reason}");
    }
}

#[tokio::test]
async fn token_of_a_known_provider_is_accepted() {
    let deployment = Deployment::start();
    let (jwt, at_jwt) = (json!({ "typ": "JWT" }), json!({ "typ": "at+jwt" }));
    let api = "https://api.example.com";
    for (header, issuer, claims) in [
        (
            &jwt,
            0,
            json!({ "aud": ["mintkey", "account"], "typ": "Bearer", "azp": "spa", "realm_access": { "roles": ["a"] } }),
        ),
        (&at_jwt, 1, json!({ "aud": [api, "https://acme.eu.auth0.com/userinfo"], "client_id": "spa", "jti": "1" })),
        (&jwt, 2, json!({ "aud": api, "azp": "spa", "org_id": "org_1", "gty": "password" })),
        (
            &json!({ "typ": "JWT", "x5t": "kid" }),
            3,
            json!({ "aud": "client", "scp": "keys", "tid": "t", "ver": "2.0" }),
        ),
        (&json!({}), 5, json!({ "aud": "api://default", "cid": "spa", "uid": "1", "scp": ["openid"], "ver": 1 })),
        (&json!({}), 7, json!({ "aud": api, "client_id": "client", "token_use": "access", "scope": "openid" })),
        (&jwt, 8, json!({ "aud": ["1@acme", "project"], "client_id": "1@acme", "jti": "1" })),
        (&at_jwt, 9, json!({ "aud": [api], "client_id": "spa", "scope": "openid" })),
        (&jwt, 11, json!({ "aud": [api], "client_id": "spa", "ext": {}, "scp": ["openid"] })),
        (&jwt, 12, json!({ "aud": "authenticated", "role": "authenticated", "aal": "aal1", "session_id": "1" })),
        (&jwt, 13, json!({ "aud": api, "azp": "http://localhost", "sid": "1", "nbf": now() })),
        (
            &jwt,
            14,
            json!({ "aud": "project", "auth_time": now(), "user_id": "alice", "firebase": { "identities": {} } }),
        ),
        (
            &json!({ "typ": "JWT", "x5t": "kid" }),
            15,
            json!({ "aud": api, "azp": "client", "uid": "1", "acr": "goauthentik.io/providers/oauth2/default" }),
        ),
        (
            &json!({}),
            16,
            json!({ "aud": ["mintkey"], "sub": "system:serviceaccount:a:b", "kubernetes.io": { "namespace": "a" } }),
        ),
    ] {
        let (issuer, _) = ISSUERS[issuer];
        let response = deployment.list(&deployment.token(header.clone(), issuer, claims)).await;
        assert_eq!(response.status, 200, "{issuer}: {}", response.text);
    }
}

#[tokio::test]
async fn token_rejection_shows_the_value_that_decided() {
    let deployment = Deployment::start();
    let jwt = json!({ "typ": "JWT" });
    for (issuer, header, claims, reason, detail, cause) in [
        (
            0,
            &jwt,
            json!({ "aud": "account", "typ": "Bearer" }),
            "wrong_audience",
            r#"`aud` is "account"; this service accepts "mintkey""#,
            "audience=...",
        ),
        (0, &jwt, json!({ "aud": "mintkey", "typ": "ID" }), "id_token", r#"`typ` is "ID""#, ""),
        (
            0,
            &jwt,
            json!({ "aud": "mintkey", "typ": "Bearer", "sub": null }),
            "missing_sub",
            "no `sub`",
            "client_credentials",
        ),
        (0, &jwt, json!({ "aud": "mintkey", "cnf": { "jkt": "x" } }), "sender_constrained_token", "DPoP", "bearer"),
        (1, &jwt, json!({ "aud": "https://api.example.com" }), "wrong_typ", r#"`typ` is "JWT""#, "typ=compatible"),
        (3, &jwt, json!({ "aud": "client", "idtyp": "app" }), "missing_claim", "no claim `scp`", "`require`"),
        (
            7,
            &json!({}),
            json!({ "client_id": "client", "token_use": "access" }),
            "missing_aud",
            r#"no `aud`; this service accepts "client" or "https://api"#,
            "have the issuer write it",
        ),
        (7, &json!({}), json!({ "aud": "client", "token_use": "id" }), "id_token", r#"`token_use` is "id""#, ""),
        (10, &json!({}), json!({ "aud": "app", "at_hash": "x" }), "id_token", "`at_hash`", ""),
        (11, &jwt, json!({ "aud": [], "scp": [] }), "missing_aud", "no `aud`", ""),
        (
            12,
            &json!({ "typ": "JWT", "alg": "HS256" }),
            json!({ "aud": "authenticated" }),
            "alg_not_allowed",
            r#"`alg` is "HS256""#,
            "can also forge",
        ),
        (
            12,
            &json!({ "typ": "JWT", "alg": "ES512" }),
            json!({ "aud": "authenticated" }),
            "alg_not_allowed",
            r#"`alg` is "ES512""#,
            "algorithms=RS256 PS256 ES256 EdDSA ES512",
        ),
        (13, &jwt, json!({ "azp": "http://localhost" }), "missing_aud", "no `aud`", ""),
        (15, &jwt, json!({ "aud": "https://api.example.com", "exp": now() - 90 }), "expired", "1m", "NTP"),
        (15, &jwt, json!({ "aud": "https://api.example.com", "nbf": now() + 600 }), "not_yet_valid", "from now", "NTP"),
        (
            6,
            &json!({ "kid": "own" }),
            json!({ "aud": "https://acme.okta.com", "cid": "spa" }),
            "unknown_kid",
            r#""own""#,
            r#"publishes "kid""#,
        ),
    ] {
        let (issuer, _) = ISSUERS[issuer];
        let token = deployment.token(header.clone(), issuer, claims);
        deployment.assert_refused(&token, reason, detail, cause).await;
    }
}

#[tokio::test]
async fn token_of_another_issuer_names_the_similar_one() {
    let deployment = Deployment::start();
    let jwt = json!({ "typ": "JWT" });
    for (issuer, cause) in [
        ("https://acme.eu.auth0.com", "--issuer has \"https://acme.eu.auth0.com/\""),
        ("http://securetoken.google.com/project", "--issuer has \"https://securetoken.google.com/project\""),
        ("https://sts.windows.net/tenant/", "add --issuer \"https://sts.windows.net/tenant/\""),
        ("urn:mintkey:standalone", "--standalone-issuer"),
    ] {
        let token = deployment.token(jwt.clone(), issuer, json!({ "aud": "client" }));
        deployment.assert_refused(&token, "untrusted_issuer", issuer, cause).await;
    }
}

#[tokio::test]
async fn token_for_graph_is_named_when_its_signature_fails() {
    let deployment = Deployment::start();
    let graph = deployment.token(
        json!({ "typ": "JWT", "nonce": "n" }),
        "https://sts.windows.net/graph/",
        json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
    );
    let (signed, _) = graph.rsplit_once('.').unwrap();
    let graph = format!("{signed}.{}", "A".repeat(86));
    deployment.assert_refused(&graph, "bad_signature", "header has `nonce`", "none of Graph").await;
}

#[tokio::test]
async fn token_that_is_no_signed_jwt_is_named() {
    let deployment = Deployment::start();
    let encrypted = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVydGV4dA.dGFnLXRhZy10YWc";
    let detail = r#"encrypted (JWE, `alg` "dir", `enc` "A256GCM")"#;
    deployment.assert_refused(encrypted, "encrypted_token", detail, "`audience`").await;
    let neither = "neither a JWT nor a key of this service";
    for opaque in
        ["ya29.a0AfB_byC-googles", "ory_at_abcdefgh.ijklmnop-hydra", "auth0sOpaqueTokenOfManyCharacters", "gho_githubs"]
    {
        deployment.assert_refused(opaque, "opaque_token", neither, "signed JWTs").await;
    }
    let token = deployment.token(json!({}), ISSUERS[0].0, json!({ "aud": "mintkey" }));
    let (cut, _) = token.rsplit_once('.').unwrap();
    deployment.assert_refused(cut, "not_a_jwt", "2 parts instead of 3", "").await;
    let (head, rest) = token.split_once('.').unwrap();
    deployment.assert_refused(&format!("{head}=.{rest}"), "not_a_jwt", "the first part, its header,", "").await;
    deployment.assert_refused(&format!("{head}.e30x.{rest}"), "not_a_jwt", "4 parts", "").await;
    // What the sender made up is cut, escaped, and never looks like a credential.
    let issuer = format!("https://a/\n{}\u{202e}", "x".repeat(200));
    let long = deployment.token(json!({}), &issuer, json!({}));
    deployment.assert_refused(&long, "untrusted_issuer", r#"https://a/\nxxx"#, "xxx...").await;
    let inner = deployment.token(json!({}), &token, json!({}));
    deployment.assert_refused(&inner, "untrusted_issuer", "(looks like a credential)", "").await;
}
