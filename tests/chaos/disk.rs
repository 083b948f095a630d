//! Disk: SQLite's file system is full, and later has space again.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{assert_unavailable, tokens};
use crate::support::{Server, eventually, id, run, secret};

/// A file system of 8 MB.
struct SmallDisk(TempDir);

fn as_root(command: &[&str]) {
    let is_root = run(Command::new("id").arg("-u")).stdout == b"0\n";
    let command = if is_root { command.to_vec() } else { [&["sudo"], command].concat() };
    let output = run(Command::new(command[0]).args(&command[1..]));
    assert!(output.status.success(), "{command:?} (it takes the right to mount): {output:?}");
}

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        as_root(&["mount", "-t", "tmpfs", "-o", "size=8m,mode=1777", "mintkey", directory.path().to_str().unwrap()]);
        Self(directory)
    }

    /// Fills the file system up to this many free bytes.
    fn fill(&self, free: u64) {
        let ballast = fs::File::create(self.0.path().join("ballast")).unwrap();
        let mut written = std::io::BufWriter::new(ballast);
        while std::io::Write::write_all(&mut written, &[0; 4096]).is_ok() {}
        let (ballast, _) = written.into_parts();
        ballast.set_len(ballast.metadata().unwrap().len().saturating_sub(free)).unwrap();
    }

    fn clear(&self) {
        fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "--lazy", self.0.path().to_str().unwrap()]);
    }
}

#[tokio::test]
async fn full_disk_is_503_until_freed_and_loses_nothing() {
    let disk = SmallDisk::new();
    let data = disk.0.path().join("data");
    let mut server = Server::start_in(&data, &["--max-keys-per-owner", "unlimited"]);
    let (gateway, alice) = tokens(&server);
    let warm = server.create_key_from(&alice, json!({ "name": "warm" })).await;
    assert_eq!(server.verify_code(&gateway, secret(&warm)).await, "VALID");
    let (mut made, mut revoked) = (vec![id(&warm).to_owned()], Vec::new());
    let metadata = json!({ "a": "x".repeat(4000) });
    for round in 0..6 {
        disk.fill(round * 100_000);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let started = Instant::now();
            let response = server.create(&alice, json!({ "name": "k", "metadata": metadata })).await;
            if response.status != 201 {
                assert_unavailable(&response, started);
                break;
            }
            made.push(id(&response.body).to_owned());
            let response = server.revoke(made.last().unwrap(), &alice, Value::Null).await;
            if response.status == 200 {
                revoked.push(made.last().unwrap().clone());
            }
            assert!(Instant::now() < deadline, "the disk is not full");
        }
        for _ in 0..20 {
            assert_eq!(server.verify_code(&gateway, secret(&warm)).await, "VALID");
        }
        if round == 5 {
            assert_eq!(server.get("/readyz", "").await.status, 200);
            let changes = server.get("/readyz?for=changes", "").await;
            assert!(changes.assert_problem(503).contains("its disk is full"), "{}", changes.text);
            assert!(server.get("/metrics", "").await.text.contains("mintkey_store_writable 0\n"));
        }
        disk.clear();
        let again = async || {
            let response = server.create(&alice, json!({ "name": "y" })).await;
            (response.status == 201).then(|| id(&response.body).to_owned())
        };
        made.push(eventually(Duration::from_secs(10), "a create", again).await);
    }
    let ready = async || (server.get("/readyz?for=changes", "").await.status == 200).then_some(());
    eventually(Duration::from_secs(30), "readiness for changes", ready).await;
    assert!(server.terminate().success(), "{}", server.log());
    let server = Server::start_in(&data, &[]);
    server.assert_integrity().await;
    for id in &made {
        let expected: &[&str] = if revoked.contains(id) { &["created", "revoked"] } else { &["created"] };
        let actions = server.audit_actions(id).await;
        assert!(actions == expected || actions.len() == 2 && !revoked.contains(id), "{id}: {actions:?}");
    }
    println!("disk full: {} keys and {} revocations acknowledged, none lost", made.len(), revoked.len());
}
