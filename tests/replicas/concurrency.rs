//! Concurrent requests at two replicas have the same result as at one.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens};
use crate::support::{KEYS, Response, Server, eventually, id, secret};

async fn pair() -> (Cluster, [Server; 2]) {
    let cluster = Cluster::new();
    let servers = [cluster.replica(&[]), cluster.replica(&[])];
    (cluster, servers)
}

/// Sends the same request several times at each replica, concurrently.
async fn send_to_both(servers: &[Server; 2], send: impl AsyncFn(&Server) -> Response) -> Vec<Response> {
    join_all((0..8).map(|n| send(&servers[n % 2]))).await
}

#[tokio::test]
async fn idempotency_key_at_two_replicas_makes_one_key() {
    let (cluster, servers) = pair().await;
    assert_one_key_per_round(&cluster, &servers).await;
}

/// Replicas in the middle of a change of the master secret have one in common, which is the newest at one of them only.
#[tokio::test]
async fn idempotency_key_under_other_newest_secret_makes_one_key() {
    let (new, old) = ("fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef");
    let (both, reversed) = (format!("{new}\n{old}"), format!("{old}\n{new}"));
    for (first, second) in [(old, &*both), (&*reversed, &*both)] {
        let cluster = Cluster::new();
        let servers = [first, second].map(|secrets| cluster.replica(&["--master-secret", secrets]));
        assert_one_key_per_round(&cluster, &servers).await;
    }
}

/// Sends creates and rotations with the same idempotency key to both replicas at the same time.
async fn assert_one_key_per_round(cluster: &Cluster, servers: &[Server; 2]) {
    let alice = servers[0].token("alice");
    for round in 0..5 {
        let name = format!("an-unguessable-request-key-{round}");
        let idempotent_request = |server: &Server, path: &str| {
            server.request(Method::POST, path, &alice).header("idempotency-key", &name).json(&json!({ "name": "k" }))
        };
        let made = send_to_both(servers, async |server| Response::to(idempotent_request(server, KEYS)).await).await;
        assert!(made.iter().all(|response| response.status == 201 && response.text == made[0].text), "{made:?}");
        let rotate = format!("{KEYS}{}/rotate", id(&made[0].body));
        let send = async |server: &Server| {
            let request = server.request(Method::POST, &rotate, &alice).header("idempotency-key", &name);
            Response::to(request).await
        };
        let rotated = send_to_both(servers, send).await;
        assert!(
            rotated.iter().all(|response| response.status == 201 && response.text == rotated[0].text),
            "{rotated:?}"
        );
    }
    assert_eq!(cluster.query("SELECT count(*) FROM api_keys"), "5");
    assert_eq!(cluster.query("SELECT count(*) FROM secrets"), "10");
    assert_eq!(cluster.query("SELECT count(*) FROM audit_events"), "10");
}

#[tokio::test]
async fn create_at_three_replicas_stays_exactly_within_the_limit() {
    const LIMIT: usize = 30;
    let cluster = Cluster::new();
    let servers = [0; 3].map(|_| cluster.replica(&["--max-keys-per-owner", "30"]));
    let [alice, bob] = ["alice", "bob"].map(|subject| servers[0].token(subject));
    for round in 1..=3 {
        let create = async |n: usize, credential: &str| {
            let response = servers[n % 3].create(credential, json!({ "name": "k" })).await;
            if response.status != 201 {
                response.assert_problem_type(409, "too-many-keys");
            }
            (response.status == 201).then(|| (credential.to_owned(), id(&response.body).to_owned()))
        };
        // Both owners share batches, and each has more requests than it may have keys.
        let creates = join_all((0..128).map(|n| create(n, if n % 2 == 0 { &alice } else { &bob })));
        let made: Vec<_> = creates.await.into_iter().flatten().collect();
        assert_eq!(made.len(), 2 * LIMIT, "round {round}");
        let counts =
            cluster.query("SELECT string_agg(subject || ' ' || keys, ', ' ORDER BY subject) FROM owner_key_counts");
        assert_eq!(counts, "alice 30, bob 30", "round {round}");
        // Concurrent revocations at every replica, each twice.
        for some in made.chunks(10) {
            let twice = some.iter().enumerate().flat_map(|(n, (owner, key))| [(n, owner, key), (n + 1, owner, key)]);
            let revocations = twice.map(|(n, owner, key)| servers[n % 3].revoke(key, owner, Value::Null));
            let revocations = join_all(revocations).await;
            assert!(revocations.iter().all(|response| response.status == 200), "{revocations:?}");
        }
        assert_eq!(cluster.query("SELECT sum(keys) FROM owner_key_counts"), "0", "round {round}");
    }
    assert_eq!(cluster.query("SELECT count(*) FROM api_keys"), (6 * LIMIT).to_string());
}

#[tokio::test]
async fn update_at_two_replicas_with_same_etag_applies_once() {
    let (cluster, servers) = pair().await;
    let alice = servers[0].token("alice");
    let key = servers[0].create_key(&alice, &[]).await;
    for round in 0..5 {
        let path = format!("{KEYS}{}", id(&key));
        let seen = servers[0].get(&path, &alice).await;
        let responses = join_all((0..8).map(|n| {
            let server = &servers[n % 2];
            let request = server.request(Method::PATCH, &path, &alice).header("if-match", seen.etag());
            Response::to(request.json(&json!({ "name": format!("round {round}, {n}") })))
        }))
        .await;
        let mut statuses: Vec<_> = responses.iter().map(|response| response.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    }
    assert_eq!(cluster.query("SELECT count(*) FROM audit_events WHERE action = 'updated'"), "5");
    assert_eq!(cluster.query("SELECT revision FROM api_keys"), "6");
}

#[tokio::test]
async fn rotate_and_revoke_at_two_replicas_apply_once() {
    let (cluster, servers) = pair().await;
    let (gateway, alice) = tokens(&servers[0]);
    for _ in 0..5 {
        let key = servers[0].create_key(&alice, &[]).await;
        let body = json!({ "grace_seconds": 0 });
        let rotated = send_to_both(&servers, async |server| server.rotate(id(&key), &alice, body.clone()).await).await;
        let made: Vec<_> = rotated.iter().filter(|response| response.status == 201).collect();
        assert!(!made.is_empty() && rotated.iter().all(|response| [201, 409].contains(&response.status.as_u16())));
        let codes =
            join_all(made.iter().map(|response| servers[1].verify_code(&gateway, secret(&response.body)))).await;
        assert_eq!(codes.iter().filter(|code| *code == "VALID").count(), 1, "{codes:?}");
        let revoked = send_to_both(&servers, async |server| server.revoke(id(&key), &alice, Value::Null).await).await;
        // The last use may be stored between the two responses.
        let stable = |response: &Response| {
            let mut body = response.body.clone();
            for secret in body["secrets"].as_array_mut().unwrap() {
                secret.as_object_mut().unwrap().remove("last_used_at");
            }
            body
        };
        assert!(
            revoked.iter().all(|response| response.status == 200 && stable(response) == stable(&revoked[0])),
            "{revoked:?}"
        );
    }
    let live = "SELECT count(*) FROM secrets WHERE expires_at IS NULL GROUP BY key_id HAVING count(*) <> 1";
    assert_eq!(cluster.query(live), "");
    assert_eq!(cluster.query("SELECT count(*) FROM audit_events WHERE action = 'revoked'"), "5");
    let (rotations, secrets) = ("action = 'rotated'", "(SELECT count(*) FROM secrets) - 5");
    assert_eq!(cluster.query(&format!("SELECT count(*) = {secrets} FROM audit_events WHERE {rotations}")), "t");
}

/// No key that a replica creates for a key of the tree may escape a revocation at another.
#[tokio::test]
async fn revoke_of_tree_at_one_replica_leaves_no_descendant_at_other() {
    let (cluster, servers) = pair().await;
    let alice = servers[0].token("alice");
    let body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write"] });
    let alice_with_scopes = servers[0].token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    for _ in 0..5 {
        let root = servers[0].create_key_from(&alice_with_scopes, body.clone()).await;
        let child = servers[0].create_key_from(secret(&root), body.clone()).await;
        let creates = (0..64).map(|n| {
            let creator = secret(if n % 3 == 0 { &root } else { &child });
            servers[n % 2].create(creator, body.clone())
        });
        let mut creates: FuturesUnordered<_> = creates.collect();
        let first = creates.next().await.unwrap();
        let revoke = servers[1].revoke(id(&root), &alice, json!({ "descendants": true }));
        let (rest, revoked) = tokio::join!(creates.collect::<Vec<_>>(), revoke);
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        let made: Vec<_> = rest.into_iter().chain([first]).filter(|response| response.status == 201).collect();
        assert!(!made.is_empty());
        let alive = "creation_actor_key_id IS NOT NULL AND revoked_at IS NULL";
        assert_eq!(cluster.query(&format!("SELECT count(*) FROM api_keys WHERE {alive}")), "0");
        for response in &made {
            servers[1].get(KEYS, secret(&response.body)).await.assert_problem(401);
            let refused = async || (servers[0].get(KEYS, secret(&response.body)).await.status == 401).then_some(());
            eventually(std::time::Duration::from_secs(3), "401", refused).await;
        }
    }
}

#[tokio::test]
async fn usage_of_two_replicas_adds_up() {
    let (cluster, mut servers) = pair().await;
    let (gateway, alice) = tokens(&servers[0]);
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(servers[0].create_key(&alice, &[]).await);
    }
    for _ in 0..3 {
        for server in &servers {
            for key in &keys {
                assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID");
            }
        }
    }
    let [first, second] = &mut servers;
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(first.terminate().success()));
        scope.spawn(|| assert!(second.terminate().success()));
    });
    assert_eq!(cluster.query("SELECT sum(count) FROM key_usage"), "120");
    assert_eq!(cluster.query("SELECT count(*) FROM key_usage"), "20");
    assert!(!first.log().contains("usage flush failed"), "{}", first.log());
}

#[tokio::test]
async fn create_at_one_replica_is_valid_at_other_at_once() {
    let (_cluster, servers) = pair().await;
    let (gateway, alice) = tokens(&servers[0]);
    for _ in 0..20 {
        let key = servers[0].create_key(&alice, &[]).await;
        assert_eq!(servers[1].verify_code(&gateway, secret(&key)).await, "VALID");
    }
}

/// During the rollout of a new master secret, the newest secret of one replica is still the old one.
#[tokio::test]
async fn revoke_reaches_replica_with_other_newest_master_secret() {
    let cluster = Cluster::new();
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let behind = cluster.replica(&["--master-secret", &format!("{old}\n{new}")]);
    let ahead = cluster.replica(&["--master-secret", &format!("{new}\n{old}")]);
    let (gateway, alice) = tokens(&ahead);
    for round in 0..6 {
        let key = behind.create_key(&alice, &[]).await;
        let (first, last) = if round % 2 == 0 { (&behind, &ahead) } else { (&ahead, &behind) };
        for server in [first, last, first] {
            assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
        }
        assert_eq!(last.revoke(id(&key), &alice, Value::Null).await.status, 200);
        for server in [first, last] {
            let revoked = async || (server.verify_code(&gateway, secret(&key)).await == "REVOKED").then_some(());
            eventually(std::time::Duration::from_secs(3), "REVOKED", revoked).await;
        }
    }
}
