//! Pepper rotation: a key hashed under an older master secret is rehashed at its next verification, without any other
//! change.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, database, id, secret};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

struct Fixture {
    directory: TempDir,
    gateway: String,
    alice: String,
    keys: Vec<Value>,
}

/// Creates this many keys under the old master secret, and starts a server with the new and the old one.
async fn fixture(count: usize) -> (Fixture, Server) {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Server::start_in(directory.path(), &["--master-secret", OLD]);
    let gateway = old.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let alice = old.token("alice");
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(old.create_key(&alice, &[]).await);
    }
    assert!(old.terminate().success());
    let both = Server::start_in(directory.path(), &["--master-secret", &format!("{NEW}\n{OLD}")]);
    (Fixture { directory, gateway, alice, keys }, both)
}

/// The pepper id and the hash of the key's only secret.
async fn stored_hash(server: &Server, key: &Value) -> (String, Vec<u8>) {
    let id = database::uuid(id(key));
    let row = &server.rows(&format!("SELECT pepper_id, hash FROM secrets WHERE key_id = {id}")).await[0];
    (row.try_get("", "pepper_id").unwrap(), row.try_get("", "hash").unwrap())
}

#[tokio::test]
async fn pepper_rotation_rehashes_key_on_verify() {
    let (fixture, mut both) = fixture(2).await;
    let Fixture { directory, gateway, alice, keys } = &fixture;
    let new_key = both.create_key_from(alice, json!({ "name": "new" })).await;
    let before = stored_hash(&both, &keys[0]).await;
    let (new_pepper, _) = stored_hash(&both, &new_key).await;
    assert_ne!(before.0, new_pepper);
    let rest = both.rows("SELECT start || CAST(created_at AS text) AS rest FROM secrets ORDER BY id").await;
    let rest: Vec<String> = rest.iter().map(|row| row.try_get("", "rest").unwrap()).collect();
    let events = both.count("audit_events").await;

    let first = both.verify(gateway, json!({ "key": secret(&keys[0]) })).await;
    assert_eq!((first.status.as_u16(), &first.body["code"]), (200, &json!("VALID")));
    let after = stored_hash(&both, &keys[0]).await;
    assert_eq!(after.0, new_pepper);
    assert_ne!(after.1, before.1);
    let again = both.verify(gateway, json!({ "key": secret(&keys[0]) })).await;
    assert_eq!(again.text, first.text);
    assert_eq!(stored_hash(&both, &keys[0]).await, after, "once");
    assert_eq!(stored_hash(&both, &keys[1]).await.0, before.0, "a key that was not verified keeps its hash");
    let rest_after = both.rows("SELECT start || CAST(created_at AS text) AS rest FROM secrets ORDER BY id").await;
    assert_eq!(rest_after.iter().map(|row| row.try_get("", "rest").unwrap()).collect::<Vec<String>>(), rest);
    assert_eq!(both.count("audit_events").await, events, "a rehash is not audited");
    assert!(both.terminate().success());

    let new = Server::start_in(directory.path(), &["--master-secret", NEW, "--allow-missing-master-secret"]);
    assert_eq!(new.verify_code(gateway, secret(&keys[0])).await, "VALID");
    assert_eq!(new.verify_code(gateway, secret(&keys[1])).await, "NOT_FOUND");
}

#[tokio::test]
async fn pepper_rotation_change_after_rehash_takes_effect_at_once() {
    let (fixture, server) = fixture(4).await;
    let Fixture { gateway, alice, keys, .. } = &fixture;
    for key in keys {
        assert_eq!(server.verify_code(gateway, secret(key)).await, "VALID");
    }
    assert_eq!(server.revoke(id(&keys[0]), alice, Value::Null).await.status, 200);
    assert_eq!(server.delete(id(&keys[1]), alice).await.status, 204);
    assert_eq!(server.patch(id(&keys[2]), alice, json!({ "enabled": false })).await.status, 200);
    let new = server.rotate(id(&keys[3]), alice, Value::Null).await.body;
    for (key, code) in keys.iter().zip(["REVOKED", "REVOKED", "DISABLED", "EXPIRED"]) {
        assert_eq!(server.verify_code(gateway, secret(key)).await, code);
    }
    assert_eq!(server.verify_code(gateway, secret(&new)).await, "VALID");
}

#[tokio::test]
async fn pepper_rotation_keeps_revoked_key_revoked() {
    let (fixture, server) = fixture(2).await;
    let Fixture { gateway, alice, keys, .. } = &fixture;
    assert_eq!(server.revoke(id(&keys[0]), alice, Value::Null).await.status, 200);
    let new = server.rotate(id(&keys[1]), alice, json!({ "grace_seconds": 3600 })).await.body;
    for _ in 0..2 {
        assert_eq!(server.verify_code(gateway, secret(&keys[0])).await, "REVOKED");
        assert_eq!(server.verify_code(gateway, secret(&keys[1])).await, "VALID", "in its grace");
        assert_eq!(server.verify_code(gateway, secret(&new)).await, "VALID");
    }
    assert_eq!(server.revoke(id(&keys[1]), alice, Value::Null).await.status, 200);
    for key in [&keys[1], &new] {
        assert_eq!(server.verify_code(gateway, secret(key)).await, "REVOKED");
    }
}

/// The rehash inserts a new cache key while the change, which invalidates only the old one, is committed.
#[tokio::test]
async fn pepper_rotation_change_during_rehash_takes_effect_at_once() {
    let (fixture, server) = fixture(60).await;
    let Fixture { gateway, alice, keys, .. } = &fixture;
    for (round, key) in keys.iter().enumerate() {
        let revoke = async {
            tokio::time::sleep(std::time::Duration::from_micros(round as u64 % 12 * 250)).await;
            server.revoke(id(key), alice, Value::Null).await
        };
        let (code, revoked) = tokio::join!(server.verify_code(gateway, secret(key)), revoke);
        assert!(["VALID", "REVOKED"].contains(&&*code), "{code}");
        assert_eq!(revoked.status, 200);
        assert_eq!(server.verify_code(gateway, secret(key)).await, "REVOKED", "round {round}");
    }
}

#[tokio::test]
async fn pepper_rotation_concurrent_verifies_succeed() {
    let (fixture, server) = fixture(5).await;
    let Fixture { gateway, keys, .. } = &fixture;
    for key in keys {
        let codes = (0..40).map(|_| server.verify_code(gateway, secret(key)));
        assert!(futures_util::future::join_all(codes).await.iter().all(|code| code == "VALID"));
    }
    assert_eq!(server.rows("SELECT DISTINCT pepper_id FROM secrets").await.len(), 1);
}
