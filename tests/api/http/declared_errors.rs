//! Declared errors: whatever is wrong with a request, the document lists the status of the response.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Server, id, secret};
use crate::wire;

struct Operation {
    name: String,
    method: String,
    path: String,
    statuses: BTreeSet<u16>,
    takes_a_body: bool,
}

async fn operations(server: &Server) -> Vec<Operation> {
    let document = server.get("/openapi.json", "").await.body;
    let base = document["servers"][0]["url"].as_str().unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            operations.push(Operation {
                name: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: format!("{base}{path}"),
                statuses: statuses.map(|status| status.parse().unwrap()).collect(),
                takes_a_body: operation["requestBody"].is_object(),
            });
        }
    }
    assert!(operations.len() > 15);
    operations
}

impl Operation {
    fn path_of(&self, id: &str) -> String {
        self.path.replace("{id}", id)
    }

    /// Sends a request as these bytes and returns the status, which the document must list.
    fn assert_declared(&self, server: &Server, target: &str, headers: &[u8], body: &[u8]) -> u16 {
        let start = format!("{} {target} HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\n", self.method);
        let request = [start.as_bytes(), headers, b"\r\n", body].concat();
        let reply = wire::exchange(server, &request);
        let sent = String::from_utf8_lossy(&request).chars().take(300).collect::<String>();
        assert!(self.statuses.contains(&reply.status), "{}: {} after {sent}", self.name, reply.status);
        reply.status
    }
}

async fn server_and_credentials() -> (Server, String, [String; 4]) {
    let server = Server::start_with(&["--request-timeout", "300ms"]);
    let scopes = "api-keys:read api-keys:write api-keys:verify api-keys:admin";
    let all = server.token_with("alice", &["--scopes", scopes]);
    let target = server.create_key_from(&all, json!({ "name": "target" })).await;
    let key = server.create_key_from(&all, json!({ "name": "caller" })).await;
    let credentials = [all, server.token("bob"), secret(&key).to_owned(), "garbage".to_owned()];
    (server, id(&target).to_owned(), credentials)
}

#[tokio::test]
async fn errors_of_bad_credentials_are_declared() {
    let (server, id, [_, bob, key, garbage]) = server_and_credentials().await;
    for operation in operations(&server).await {
        let path = operation.path_of(&id);
        let bearer = |credential: &str| format!("Authorization: Bearer {credential}\r\n");
        let long = bearer(&"a".repeat(17_000));
        let twice = bearer(&bob) + &bearer(&key);
        let headers: [&[u8]; 8] = [
            b"",
            b"Authorization: Basic YTpi\r\n",
            b"Authorization: Bearer \xff\xfe\r\n",
            long.as_bytes(),
            twice.as_bytes(),
            &bearer(&garbage).into_bytes(),
            &bearer(&bob).into_bytes(),
            &bearer(&key).into_bytes(),
        ];
        for headers in headers {
            operation.assert_declared(&server, &path, headers, b"");
        }
    }
}

#[tokio::test]
async fn errors_of_bad_requests_are_declared() {
    let (server, id, [all, ..]) = server_and_credentials().await;
    let large = vec![b' '; 70_000];
    for operation in operations(&server).await {
        let path = operation.path_of(&id);
        let headers = |more: &str| format!("Authorization: Bearer {all}\r\n{more}").into_bytes();
        for target in [format!("{path}?unknown=1"), format!("{path}?limit=-1"), operation.path_of("not-an-id")] {
            operation.assert_declared(&server, &target, &headers(""), b"");
        }
        for media_type in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
            for body in [&b"{"[..], b"[]", b"{\"name\":1,\"name\":2,\"x\":3}", b"token=a&token=b", &large] {
                let more = format!("Content-Type: {media_type}\r\nContent-Length: {}\r\n", body.len());
                operation.assert_declared(&server, &path, &headers(&more), body);
            }
        }
        for name in ["If-Match", "If-None-Match", "Idempotency-Key"] {
            operation.assert_declared(&server, &path, &headers(&format!("{name}: ,\r\n")), b"");
        }
    }
}

#[tokio::test]
async fn errors_of_slow_and_short_bodies_are_declared() {
    let (server, id, [all, ..]) = server_and_credentials().await;
    for operation in operations(&server).await {
        let media_type = match operation.name.as_str() {
            "introspect_token" | "revoke_token" => "application/x-www-form-urlencoded",
            _ => "application/json",
        };
        let headers = format!("Authorization: Bearer {all}\r\nContent-Type: {media_type}\r\nContent-Length: 18\r\n");
        let status = operation.assert_declared(&server, &operation.path_of(&id), headers.as_bytes(), b"{");
        assert_eq!(status == 408, operation.takes_a_body, "{}: {status}", operation.name);
    }
}

#[tokio::test]
async fn unfinished_body_without_credential_is_401_at_once() {
    // The body would be waited for longer than the response.
    let server = Server::start_with(&["--request-timeout", "10m"]);
    let operations = operations(&server).await;
    assert!(operations.iter().filter(|operation| operation.takes_a_body).count() > 6);
    for operation in operations {
        for framing in ["Content-Length: 60000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"] {
            let target = operation.path_of("0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11");
            let request = format!("{} {target} HTTP/1.1\r\nHost: mintkey\r\n{framing}", operation.method);
            let reply = wire::exchange(&server, request.as_bytes());
            // A token can be revoked without a credential, in a form alone.
            let status = if operation.name == "revoke_token" { 415 } else { 401 };
            assert_eq!(reply.status, status, "{}: {}", operation.name, reply.head);
            assert!(reply.head.contains("\r\nconnection: close"), "{}: {}", operation.name, reply.head);
        }
    }
}
