//! TLS to PostgreSQL follows `sslmode` of the URL.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;
use crate::support::doctor::{assert_fails, assert_passes, run_doctor};
use crate::support::postgres::Postgres;
use crate::support::{run, succeed};

/// Creates a self-signed certificate for 127.0.0.1 and its key.
fn create_certificate(directory: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:false", "-keyout", "server.key", "-out", "server.crt"]);
    let made = run(openssl.current_dir(directory));
    assert!(made.status.success(), "{made:?}");
}

/// A PostgreSQL with TLS, whose certificate no CA that this machine trusts has signed.
fn start_with_tls(directory: &Path) -> Cluster {
    create_certificate(directory);
    let (cert, key) = (directory.join("server.crt"), directory.join("server.key"));
    let settings = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];
    Cluster::with_postgres(Postgres::start_with_files(&[&cert, &key], &settings))
}

#[tokio::test]
async fn tls_to_postgresql_verifies_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = start_with_tls(directory.path());
    let url = cluster.postgres.url(&cluster.database);
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", directory.path().join("server.crt").display());
    let server = cluster.replica_with_url(&verified, &[]);
    server.create_key_from(&server.token("alice"), serde_json::json!({ "name": "k" })).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'mintkey'";
    assert_eq!(cluster.query(encrypted), "t");

    // No CA that this machine trusts has signed it.
    let output = run(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", format!("{url}?sslmode=verify-full")));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("certificate"), "{stderr}");
}

#[test]
fn every_sslmode_protects_as_doctor_says() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = start_with_tls(directory.path());
    std::fs::set_permissions(cluster.data.path(), Permissions::from_mode(0o700)).unwrap();
    succeed(&mut cluster.command(&["migrate"]));
    let root = format!("sslrootcert={}", directory.path().join("server.crt").display());
    let doctor = |host: &str, parameters: &str| {
        let url = cluster.postgres.url(&cluster.database).replace("127.0.0.1", host);
        let mut command = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
        run_doctor(command.env("MINTKEY_DATABASE_URL", format!("{url}?{parameters}")))
    };
    let subject = "database encryption";
    for (parameters, expected) in [
        ("sslmode=disable", "not encrypted"),
        ("sslmode=allow", "not encrypted"),
        ("sslmode=prefer", "encrypted, but not verified"),
        ("sslmode=require", "encrypted, but not verified"),
        (&*format!("sslmode=verify-ca&{root}"), "certificate is verified, its host name is not"),
        (&*format!("sslmode=verify-full&{root}"), "certificate and host name are verified"),
    ] {
        assert_passes(&doctor("127.0.0.1", parameters), subject, &[expected]);
    }
    // The certificate does not name this host.
    assert_passes(&doctor("localhost", &format!("sslmode=verify-ca&{root}")), subject, &["host name is not"]);
    assert_fails(&doctor("localhost", &format!("sslmode=verify-full&{root}")), "database", &["no TLS", "certificate"]);
    // Without the root, it is not trusted.
    for parameters in ["sslmode=verify-ca", "sslmode=verify-full"] {
        assert_fails(&doctor("127.0.0.1", parameters), "database", &["no TLS", "certificate"]);
    }
}
