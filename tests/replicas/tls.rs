//! TLS to PostgreSQL follows `sslmode` of the URL.

use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;
use crate::support::postgres::Postgres;
use crate::support::run;

/// Creates a self-signed certificate for 127.0.0.1 and its key.
fn create_certificate(directory: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:false", "-keyout", "server.key", "-out", "server.crt"]);
    let made = run(openssl.current_dir(directory));
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test]
async fn tls_to_postgresql_verifies_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    create_certificate(directory.path());
    let (cert, key) = (directory.path().join("server.crt"), directory.path().join("server.key"));
    let postgres =
        Postgres::start_with_files(&[&cert, &key], &["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"]);
    let cluster = Cluster::with_postgres(postgres);
    let url = cluster.postgres.url(&cluster.database);
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", cert.display());
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
