//! Fields of a create request: well-formed JSON that violates a rule.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id};

/// Checks that each body gets a 422 with violations at exactly these pointers, and changes nothing.
async fn assert_violations_at(cases: &[(Value, &[&str])]) {
    let server = Server::start();
    let token = server.token("alice");
    for (body, pointers) in cases {
        let response = server.create(&token, body.clone()).await;
        assert_eq!(response.status, 422, "{body}: {}", response.text);
        response.assert_problem(422);
        let mut violations = response.pointers();
        violations.sort_unstable();
        assert_eq!(violations, *pointers, "{body}: {}", response.text);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

fn body_with(member: &str, value: impl Into<Value>) -> Value {
    let mut body = json!({ "name": "example" });
    body[member] = value.into();
    body
}

#[tokio::test]
async fn create_without_string_name_is_rejected() {
    assert_violations_at(&[
        (json!({}), &["/name"]),
        (json!({ "scopes": [] }), &["/name"]),
        (json!({ "name": 5 }), &["/name"]),
        (json!({ "name": 5.5 }), &["/name"]),
        (json!({ "name": true }), &["/name"]),
        (json!({ "name": null }), &["/name"]),
        (json!({ "name": ["example"] }), &["/name"]),
        (json!({ "name": { "name": "example" } }), &["/name"]),
        (json!({ "Name": "example" }), &["/Name", "/name"]),
    ])
    .await;
}

#[tokio::test]
async fn create_with_empty_or_long_name_is_rejected() {
    let cases: Vec<_> = ["", " ", "\u{3000}\u{a0} ", &"x".repeat(256), &"é".repeat(256), &"🔑".repeat(256)]
        .map(|name| (json!({ "name": name }), ["/name"].as_slice()))
        .into();
    assert_violations_at(&cases).await;
}

#[tokio::test]
async fn create_with_invisible_character_in_name_is_rejected() {
    let invisible = [
        '\0',
        '\u{1}',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{80}',
        '\u{85}',
        '\u{9f}',
        '\u{ad}',
        '\u{61c}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
    ];
    let cases: Vec<_> = invisible
        .iter()
        .flat_map(|c| [format!("{c}"), format!("{c}name"), format!("na{c}me"), format!("name{c}")])
        .map(|name| (json!({ "name": name }), ["/name"].as_slice()))
        .collect();
    assert_violations_at(&cases).await;
}

#[tokio::test]
async fn create_trims_and_composes_name() {
    let server = Server::start();
    let token = server.token("alice");
    let longest = ["x".repeat(255), "é".repeat(255), "🔑".repeat(255)];
    let names =
        [("  build bot\u{3000}", "build bot"), ("cafe\u{301}", "café"), ("ключ 鍵 🔑 \"\\/<b>", "ключ 鍵 🔑 \"\\/<b>")];
    let composed = ("e\u{301}".repeat(255), "é".repeat(255));
    let names = names.into_iter().chain(longest.iter().map(|name| (name.as_str(), name.as_str())));
    for (sent, kept) in names.chain([(composed.0.as_str(), composed.1.as_str())]) {
        let key = server.create_key_from(&token, json!({ "name": sent })).await;
        assert_eq!(key["name"], kept);
        let row = &server.rows("SELECT name FROM api_keys ORDER BY id DESC LIMIT 1").await[0];
        assert_eq!(row.try_get::<String>("", "name").unwrap(), kept);
    }
    assert_eq!(server.counts().await, [7, 7, 7]);
}

#[tokio::test]
async fn create_with_unknown_field_is_rejected_at_its_pointer() {
    assert_violations_at(&[
        (body_with("owner", "bob"), &["/owner"]),
        (body_with("owner_subject", "bob"), &["/owner_subject"]),
        (body_with("organization", "acme"), &["/organization"]),
        (body_with("issuer", "https://evil.example"), &["/issuer"]),
        (body_with("id", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"), &["/id"]),
        (body_with("key", "mine"), &["/key"]),
        (body_with("enabled", true), &["/enabled"]),
        (body_with("created_at", "2030-01-01T00:00:00Z"), &["/created_at"]),
        (body_with("__proto__", json!({})), &["/__proto__"]),
        (body_with("", 1), &[""]),
        (json!({ "name": "x", "b": 1, "a": 2 }), &["/a", "/b"]),
    ])
    .await;
}

#[tokio::test]
async fn create_with_duplicate_field_is_rejected_at_any_depth() {
    let server = Server::start();
    let token = server.token("alice");
    for (body, pointer) in [
        (r#"{"name":"a","name":"b"}"#, "/name"),
        (r#"{"name":"a","n\u0061me":"b"}"#, "/name"),
        (r#"{"name":"a","name":"a"}"#, "/name"),
        (r#"{"name":"a","metadata":{},"metadata":{}}"#, "/metadata"),
        (r#"{"name":"a","metadata":{"a":1,"a":2}}"#, "/metadata/a"),
        (r#"{"name":"a","metadata":{"a":[{"b":{"c":1,"c":1}}]}}"#, "/metadata/a/0/b/c"),
    ] {
        let response = server.create_raw(&token, body).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), [pointer], "{body}");
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn create_with_scopes_not_distinct_array_is_rejected() {
    let many: Vec<_> = (0..101).map(|n| format!("s{n}")).collect();
    assert_violations_at(&[
        (body_with("scopes", "projects:read"), &["/scopes"]),
        (body_with("scopes", json!({})), &["/scopes"]),
        (body_with("scopes", 5), &["/scopes"]),
        (body_with("scopes", many), &["/scopes"]),
        (body_with("scopes", json!(["a", "b", "a"])), &["/scopes"]),
    ])
    .await;
}

const UNKNOWN_SECRET: &str = "mk_00000000000000000000000000000000000000000004NvClr";

#[tokio::test]
async fn create_with_invalid_scope_is_rejected_at_its_index() {
    let cases: Vec<_> = ["", " ", "a b", "é", "a\"b", "a\\b", "a\n", "a\u{7f}", &"x".repeat(256), UNKNOWN_SECRET]
        .map(|scope| (body_with("scopes", json!(["good", scope])), ["/scopes/1"].as_slice()))
        .into_iter()
        .chain(
            [5.into(), Value::Null, json!(["a"])]
                .map(|scope| (body_with("scopes", json!(["good", scope])), ["/scopes/1"].as_slice())),
        )
        .chain([(body_with("scopes", json!(["A B", "good", "\\B"])), ["/scopes/0", "/scopes/2"].as_slice())])
        .collect();
    assert_violations_at(&cases).await;
}

#[tokio::test]
async fn create_keeps_order_of_scopes() {
    let server = Server::start();
    let longest = "x".repeat(255);
    let mut scopes: Vec<_> = (0..98).map(|n| format!("scope-{}", 98 - n)).collect();
    scopes.extend(["!#$%&'()*+,-./0:;<=>?@AZ[]^_`az{|}~".to_owned(), longest]);
    let key = server.create_key_from(&server.token("alice"), body_with("scopes", scopes.clone())).await;
    assert_eq!(key["scopes"], json!(scopes));
    let row = &server.rows("SELECT scopes FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "scopes").unwrap(), json!(scopes).to_string());
}

#[tokio::test]
async fn create_accepts_metadata_objects_up_to_4096_bytes() {
    let of_size = |bytes: usize| json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) });
    assert_violations_at(&[
        (body_with("metadata", json!([])), &["/metadata"]),
        (body_with("metadata", "x"), &["/metadata"]),
        (body_with("metadata", 5), &["/metadata"]),
        (body_with("metadata", false), &["/metadata"]),
        (body_with("metadata", of_size(4097)), &["/metadata"]),
        (body_with("metadata", json!({ "a": "é".repeat(2045) })), &["/metadata"]),
    ])
    .await;

    let server = Server::start();
    let token = server.token("alice");
    for metadata in [of_size(4096), json!({}), json!({ "b": [1, null, { "c": "\u{0}é" }], "a": 1.5 })] {
        let key = server.create_key_from(&token, body_with("metadata", metadata.clone())).await;
        assert_eq!(key["metadata"], metadata);
        let row = &server.rows("SELECT metadata FROM api_keys ORDER BY id DESC LIMIT 1").await[0];
        assert_eq!(row.try_get::<String>("", "metadata").unwrap(), metadata.to_string());
    }
    let spaced = format!(r#"{{"name":"x","metadata":{{"a":{}1}}}}"#, " ".repeat(5_000));
    assert_eq!(server.create_raw(&token, spaced).await.status, 201, "white space is not counted");
}

#[tokio::test]
async fn create_reports_all_violations_at_once() {
    let body = json!({
        "name": " ", "scopes": "x", "metadata": [], "expires_at": "soon", "expires_in_seconds": 0, "owner": "bob",
    });
    let pointers = ["/expires_at", "/expires_in_seconds", "/metadata", "/name", "/owner", "/scopes"];
    assert_violations_at(&[(body, &pointers)]).await;
}

#[tokio::test]
async fn create_with_scope_not_allowed_is_rejected() {
    let server = Server::start_with(&["--allowed-scopes", "projects:read projects:list"]);
    let token = server.token_with("alice", &["--scopes", "api-keys:verify"]);
    for (scopes, pointers) in [
        (json!(["projects:write"]), ["/scopes/0"].as_slice()),
        (json!(["projects:*"]), &["/scopes/0"]),
        (json!(["projects:read", "other"]), &["/scopes/1"]),
        (json!(["other", "projects:read", "another"]), &["/scopes/0", "/scopes/2"]),
    ] {
        let response = server.create(&token, json!({ "name": "x", "scopes": scopes })).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), pointers, "{scopes}");
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
    for scopes in [json!([]), json!(["projects:list", "projects:read"]), json!(["api-keys:verify"])] {
        server.create_key_from(&token, json!({ "name": "x", "scopes": scopes })).await;
    }
}

/// A number that serde_json or a double changes does not get into a key.
#[tokio::test]
async fn metadata_number_is_kept_or_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let request = |number: &str| format!(r#"{{"name":"x","metadata":{{"deep":[{{"n":{number}}}]}}}}"#);
    let kept = server.create_key(&token, &[]).await;
    for number in ["18446744073709551616", "-0", "1e400", "-1e400", "1e-400", "3.141592653589793238462643383279"] {
        let created = server.create_raw(&token, request(number)).await;
        created.assert_violations(&["/metadata/deep/0/n"]);
        let patch = server.request(Method::PATCH, &format!("{KEYS}{}", id(&kept)), &token);
        let body = format!(r#"{{"metadata":{{"n":{number}}}}}"#);
        let patched = Response::to(patch.header("content-type", "application/json").body(body)).await;
        patched.assert_violations(&["/metadata/n"]);
    }
    assert_eq!(server.count("api_keys").await, 1);
    for number in ["18446744073709551615", "-9223372036854775808", "1.5", "-0.0", "31.245270191439438", "0.1", "1.1"] {
        let created = server.create_raw(&token, request(number)).await;
        assert_eq!(created.status, 201, "{number}: {}", created.text);
        let got = server.get(&format!("{KEYS}{}", id(&created.body)), &token).await;
        for response in [&created, &got] {
            assert!(response.text.contains(&format!(r#"{{"n":{number}}}"#)), "{number}: {}", response.text);
        }
    }
    // Written in another way, but with the same value.
    for (number, same) in [("1.10", "1.1"), ("1E2", "100.0"), ("1e-7", "1e-7")] {
        let created = server.create_raw(&token, request(number)).await;
        assert!(created.text.contains(&format!(r#"{{"n":{same}}}"#)), "{number}: {}", created.text);
    }
}
