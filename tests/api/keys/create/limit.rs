//! Limit: an owner has at most as many keys as `--max-keys-per-owner` says, revoked and deleted ones aside. Never one
//! more, and never one less, however many requests compete for the last ones.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::revocation_jobs::end_of_job;
use crate::support::{KEYS, Response, Server, id, mintkey_at, run, secret};

const TOO_MANY: &str = "too-many-keys";

fn limited(limit: &str) -> Server {
    Server::start_with(&["--max-keys-per-owner", limit])
}

/// Checks that each stored count is the number of the owner's keys that are neither revoked nor deleted.
async fn assert_counts_exact(server: &Server) {
    let live = "SELECT count(*) FROM api_keys k WHERE revoked_at IS NULL AND deleted_at IS NULL \
                AND owner_issuer = issuer AND owner_subject = subject AND owner_organization = organization";
    let wrong = server.rows(&format!("SELECT subject FROM owner_key_counts c WHERE keys <> ({live})")).await;
    assert!(wrong.is_empty(), "{} counts are wrong", wrong.len());
    let owners = server.rows("SELECT DISTINCT owner_issuer, owner_subject, owner_organization FROM api_keys").await;
    assert_eq!(server.count("owner_key_counts").await, owners.len() as i64);
}

async fn idempotent_create(server: &Server, token: &str, name: &str) -> Response {
    let request = server.request(Method::POST, KEYS, token).header("idempotency-key", name);
    Response::to(request.json(&json!({ "name": "k" }))).await
}

fn statuses(responses: &[Response]) -> [usize; 2] {
    let count = |status: u16| responses.iter().filter(|response| response.status == status).count();
    let [created, rejected] = [count(201), count(409)];
    assert_eq!(created + rejected, responses.len(), "{responses:?}");
    responses.iter().filter(|response| response.status == 409).for_each(|one| one.assert_problem_type(409, TOO_MANY));
    [created, rejected]
}

#[tokio::test]
async fn create_beyond_the_limit_is_409_until_a_key_is_revoked() {
    let server = limited("3");
    let alice = server.token_with("alice", &["--scopes", "api-keys:write api-keys:admin"]);
    let writer = server.create_key_from(&alice, json!({ "name": "w", "scopes": ["api-keys:write"] })).await;
    let mut keys = vec![server.create_key(&alice, &[]).await];
    keys.push(server.create_key_from(secret(&writer), json!({ "name": "made by a key" })).await);
    assert_eq!(server.patch(id(&keys[0]), &alice, json!({ "enabled": false })).await.status, 200);

    let before = server.dump().await;
    for credential in [&*alice, secret(&writer)] {
        let rejected = server.create(credential, json!({ "name": "k" })).await;
        rejected.assert_problem_type(409, TOO_MANY);
        let detail = rejected.body["detail"].as_str().unwrap();
        assert!(detail.contains("limit of 3 keys") && detail.contains("--max-keys-per-owner"), "{detail}");
    }
    assert_eq!(server.dump().await, before);
    for other in [server.token("bob"), server.token_with("alice", &["--organization", "acme"])] {
        server.create_key(&other, &[]).await;
    }

    let full = async || server.create(&alice, json!({ "name": "k" })).await.assert_problem_type(409, TOO_MANY);
    assert_eq!(server.revoke(id(&keys[0]), &alice, Value::Null).await.status, 200);
    assert_eq!(server.revoke(id(&keys[0]), &alice, Value::Null).await.status, 200, "again, to no effect");
    assert_eq!(server.delete(id(&keys[0]), &alice).await.status, 204, "a revoked key does not count already");
    keys.push(server.create_key(&alice, &[]).await);
    full().await;
    assert_eq!(server.delete(id(&keys[1]), &alice).await.status, 204);
    keys.push(server.create_key(&alice, &[]).await);
    full().await;
    let self_revoked = server.call(Method::DELETE, &format!("{KEYS}self"), secret(&keys[2]), Value::Null).await;
    assert_eq!(self_revoked.status, 204, "{}", self_revoked.text);
    keys.push(server.create_key(&alice, &[]).await);
    full().await;
    assert_counts_exact(&server).await;

    let everything = json!({ "subject": "alice" });
    let revoked = server.call(Method::POST, "/api/admin/api-keys/revoke", &alice, everything).await;
    let job = end_of_job(&server, &alice, &revoked).await;
    assert_eq!(job["revoked"], 4, "three of alice's, and one of alice's in acme: {job}");
    assert_counts_exact(&server).await;
    for _ in 0..3 {
        server.create_key(&alice, &[]).await;
    }
    full().await;
}

#[tokio::test]
async fn create_in_a_race_for_the_last_keys_is_exact() {
    const LIMIT: usize = 40;
    let server = limited("40");
    let owners = ["alice", "bob", "carol"].map(|subject| server.token(subject));
    let [alice, bob, carol] = &owners;
    // Bob stays within the limit, and his keys share batches with those of owners that do not.
    let alices = join_all((0..64).map(|_| server.create(alice, json!({ "name": "k" }))));
    let bobs = join_all((0..LIMIT).map(|_| server.create(bob, json!({ "name": "k" }))));
    let carols = join_all((0..64).map(|n| {
        let (server, name) = (&server, format!("an-unguessable-request-key-{n}"));
        async move { idempotent_create(server, carol, &name).await }
    }));
    let (alices, bobs, carols) = tokio::join!(alices, bobs, carols);
    assert_eq!(statuses(&alices), [LIMIT, 64 - LIMIT]);
    assert_eq!(statuses(&bobs), [LIMIT, 0]);
    assert_eq!(statuses(&carols), [LIMIT, 64 - LIMIT]);
    assert_eq!(server.counts().await, [3 * LIMIT as i64; 3]);
    assert_eq!(server.count("idempotency_records").await, LIMIT as i64, "only of keys that were created");
    assert_counts_exact(&server).await;

    // Creates race with revocations: as many succeed as there is room for in the end.
    let revoked: Vec<_> = alices.iter().filter(|response| response.status == 201).take(10).collect();
    let revocations = join_all(revoked.iter().map(|key| server.revoke(id(&key.body), alice, Value::Null)));
    let creates = join_all((0..32).map(|_| server.create(alice, json!({ "name": "k" }))));
    let (revocations, creates) = tokio::join!(revocations, creates);
    assert!(revocations.iter().all(|response| response.status == 200));
    let [created, _] = statuses(&creates);
    let rest = join_all((created..10).map(|_| server.create(alice, json!({ "name": "k" })))).await;
    assert!(created <= 10 && statuses(&rest) == [10 - created, 0], "{created}");
    assert_eq!(statuses(&[server.create(alice, json!({ "name": "k" })).await]), [0, 1]);
    assert_counts_exact(&server).await;
}

#[tokio::test]
async fn idempotent_replay_at_the_limit_counts_no_key() {
    let server = limited("1");
    let alice = server.token("alice");
    let (first, second) = ("an-unguessable-request-key-1", "an-unguessable-request-key-2");
    let created = idempotent_create(&server, &alice, first).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let before = server.dump().await;
    for _ in 0..3 {
        assert_eq!(idempotent_create(&server, &alice, first).await.text, created.text);
        idempotent_create(&server, &alice, second).await.assert_problem_type(409, TOO_MANY);
    }
    assert_eq!(server.dump().await, before, "a rejected request saves no response");
    assert_eq!(server.revoke(id(&created.body), &alice, Value::Null).await.status, 200);
    assert_eq!(idempotent_create(&server, &alice, second).await.status, 201);
    assert_eq!(idempotent_create(&server, &alice, first).await.text, created.text);
    assert_counts_exact(&server).await;
}

#[tokio::test]
async fn keys_cli_counts_and_can_lift_the_limit() {
    let server = limited("1");
    let alice = server.token("alice");
    server.create_key(&alice, &[]).await;
    let create = |limit: &str| {
        let arguments = ["keys", "create", "--owner", "alice", "--name", "n", "--max-keys-per-owner", limit];
        run(mintkey_at(&server.data).args(arguments))
    };
    let rejected = create("1");
    let error = String::from_utf8(rejected.stderr).unwrap();
    assert!(!rejected.status.success() && error.contains("limit of 1 keys"), "{error}");
    assert!(create("unlimited").status.success());
    assert_counts_exact(&server).await;
    for row in server.get(KEYS, &alice).await.body["items"].as_array().unwrap() {
        assert!(run(mintkey_at(&server.data).args(["keys", "revoke", id(row)])).status.success());
    }
    server.create_key(&alice, &[]).await;
    assert_counts_exact(&server).await;
    let invalid = create("0");
    let error = String::from_utf8(invalid.stderr).unwrap();
    assert!(!invalid.status.success() && error.contains("give a number from 1"), "{error}");
}
