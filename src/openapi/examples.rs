//! Examples of the schemas whose types do not carry their own.

use serde_json::{Map, Value, json};

use crate::api::errors::EXAMPLE_REQUEST_ID;
use crate::openapi::passes::{entries, operation, schema};

const ID: &str = "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11";
const CURSOR: &str = "AZmzoFwefMKdXi9vfBuPEQ";

/// Gives every such schema its example. The example key is the type's own, and appears in the others.
pub fn add_examples(document: &mut Value) {
    let key = schema(document, "ApiKey")["example"].clone();
    let presented = schema(document, "ApiKeyVerifyRequest")["example"]["key"].clone();
    let owner = key["owner"].clone();
    let event = json!({
        "id": "0199b3a0-6a20-7d3e-8b1c-94d0c2f3a7e5",
        "at": "2026-04-15T12:00:00Z",
        "action": "created",
        "actor": { "kind": "user", "issuer": owner["issuer"], "subject": owner["subject"] },
        "key_id": ID,
        "owner": owner,
        "request_id": EXAMPLE_REQUEST_ID,
        "client_address": "192.0.2.1",
        "user_agent": "curl/8.5.0",
        "changes": { "name": "example", "scopes": ["projects:read"], "metadata": { "team": "billing" } },
    });
    let job = json!({
        "id": "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f22",
        "status": "completed",
        "filter": { "subject": owner["subject"] },
        "reason": "leaked in a build log",
        "descendants": false,
        "requested_by": { "kind": "user", "issuer": owner["issuer"], "subject": "carol" },
        "examined": 1200,
        "revoked": 3,
        "revoked_descendants": 0,
        "created_at": "2026-04-15T12:00:00Z",
        "updated_at": "2026-04-15T12:00:01Z",
        "completed_at": "2026-04-15T12:00:01Z",
    });
    let denied = json!({ "revoked": 0, "disabled": 0, "expired": 0, "insufficient_scope": 2 });
    let examples = json!({
        "ApiKeyBulkRevokeRequest": { "subject": "alice", "reason": "leaked in a build log", "dry_run": true },
        "ApiKeyBulkRevokeResponse": { "job": job },
        "ApiKeyList": { "items": [key], "next_cursor": CURSOR },
        "ApiKeyRevokeRequest": { "reason": "leaked in a build log" },
        "ApiKeyRotateRequest": { "grace_seconds": 3600 },
        "ApiKeyUsage": {
            "from": "2026-04-01",
            "to": "2026-04-30",
            "days": [{ "date": "2026-04-15", "allowed": 1205, "denied": denied }],
        },
        "ApiKeyVerifyResponse": verified(&key),
        "AuditEvent": event,
        "AuditEventList": { "items": [event], "next_cursor": CURSOR },
        "BulkRevocation": job,
        "BulkRevocationList": { "items": [job], "next_cursor": CURSOR },
        "BulkRevocationFilter": { "subject": owner["subject"] },
        "IntrospectionForm": { "token": presented },
        "IntrospectionResponse": {
            "active": true,
            "scope": "projects:read",
            "client_id": ID,
            "sub": owner["subject"],
            "iss": owner["issuer"],
            "iat": 1_776_254_400,
            "exp": 1_893_456_000,
            "token_type": "Bearer",
        },
        "TokenRevocationForm": { "token": presented },
        "TokenRevocationResponse": {},
        // The old secret, an hour before its end.
        "SecretSummary": {
            "start": key["start"],
            "last4": key["last4"],
            "created_at": key["created_at"],
            "expires_at": "2026-05-20T09:30:00Z",
            "last_used_at": "2026-05-20T08:29:00Z",
        },
    });
    let Value::Object(examples) = examples else { unreachable!("it is an object") };
    for (name, example) in examples {
        schema(document, &name)["example"] = example;
    }
    let counted = json!({ "count": { "matched": 3, "descendants": 0, "complete": true } });
    operation(document, "revoke_api_keys")["responses"]["200"]["content"]["application/json"]["example"] = counted;
    let property_examples = [
        ("ApiKey", "revoked_at", "2026-05-20T08:30:00Z"),
        ("ApiKey", "deleted_at", "2026-05-20T08:30:00Z"),
        ("ApiKeyBulkRevokeRequest", "issuer", "https://id.example.com"),
        ("ApiKeyBulkRevokeRequest", "organization", "acme"),
        ("BulkRevocationFilter", "issuer", "https://id.example.com"),
        ("BulkRevocationFilter", "organization", "acme"),
    ];
    for (name, property, example) in property_examples {
        schema(document, name)["properties"][property]["example"] = json!(example);
    }
    entries(&mut document["components"], "schemas").for_each(|(_, schema)| agree_with_example(schema));
}

/// Replaces the examples of properties, which come from their types, by the values in the example of the schema.
fn agree_with_example(schema: &mut Value) {
    let Some(Value::Object(example)) = schema.get("example").cloned() else { return };
    for (name, property) in entries(schema, "properties") {
        let has_type = property.get("type").is_some_and(|kind| kind != "array") || property.get("example").is_some();
        if let (Some(value), true) = (example.get(name), has_type) {
            property["example"] = value.clone();
        }
    }
}

/// The example response of verify: the fields that it shares with a key.
fn verified(key: &Value) -> Value {
    let shared = ["id", "name", "owner", "scopes", "metadata", "expires_at"];
    let entries = shared.iter().map(|name| ((*name).to_owned(), key[name].clone()));
    let verdict = [("valid".to_owned(), json!(true)), ("code".to_owned(), json!("VALID"))];
    Value::Object(verdict.into_iter().chain(entries).collect::<Map<_, _>>())
}
