//! Files that editors and shells of Windows saved: with a byte-order mark, or in UTF-16.

use std::fs;

use super::{assert_contains, error_of, serve_error};
use crate::support::mintkey;

const MASTER: &str = "canary-0123456789abcdef0123456789abcdef";

/// The same text as other programs save it, and a word of the advice.
fn saved_otherwise(text: &str) -> [(Vec<u8>, &'static str); 3] {
    let utf16 = |text: String| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    [
        (format!("\u{feff}{text}").into_bytes(), "sed -i"),
        (format!("{text}\n\u{feff}{text}").into_bytes(), "sed -i"),
        (utf16(format!("\u{feff}{text}")), "iconv"),
    ]
}

#[test]
fn config_file_with_byte_order_mark_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let path = file.to_str().unwrap();
    let pem = "-----BEGIN PRIVATE KEY-----\n";
    let issuer = format!("https://id.example.com,audience=a,jwks-file={path}");
    for (arguments, setting, text) in [
        (vec!["--master-secret-file", path], "--master-secret-file (MINTKEY_MASTER_SECRET_FILE)", MASTER),
        (vec!["--signing-key-file", path], "--signing-key-file (MINTKEY_SIGNING_KEY_FILE)", pem),
        (
            vec!["--database-url-file", path],
            "--database-url-file (MINTKEY_DATABASE_URL_FILE)",
            "postgres://u:canary@h/d",
        ),
        (vec!["--tls-cert", path, "--tls-key", path], "--tls-cert (MINTKEY_TLS_CERT)", pem),
        (vec!["--issuer", &issuer], "--issuer", r#"{"keys":[]}"#),
    ] {
        for (bytes, advice) in saved_otherwise(text) {
            fs::write(&file, bytes).unwrap();
            let error = serve_error(&arguments, &[]);
            assert_contains(&error, &[setting, path, "byte-order mark", "UTF-8", advice]);
            assert!(!error.contains("canary"), "{error}");
        }
    }
}

#[test]
fn config_generated_file_with_byte_order_mark_is_refused() {
    for (name, text) in [("master.secret", MASTER), ("signing.key", "-----BEGIN PRIVATE KEY-----\n")] {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join(name);
        for (bytes, advice) in saved_otherwise(text) {
            fs::write(&file, &bytes).unwrap();
            let mut serve = mintkey();
            let error = error_of(serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path()));
            assert_contains(
                &error,
                &["--data-dir (MINTKEY_DATA_DIR)", file.to_str().unwrap(), "byte-order mark", advice],
            );
            assert!(!error.contains("canary"), "{error}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "the file is unchanged");
        }
    }
}

#[test]
fn config_value_with_byte_order_mark_is_refused() {
    for (flag, variable, text) in [
        ("--master-secret", "MINTKEY_MASTER_SECRET", MASTER),
        ("--signing-key", "MINTKEY_SIGNING_KEY", "-----BEGIN PRIVATE KEY-----\n"),
        ("--database-url", "MINTKEY_DATABASE_URL", "postgres://u:canary@h/d"),
    ] {
        let error = serve_error(&[], &[(variable, &format!("\u{feff}{text}"))]);
        assert_contains(&error, &[flag, variable, "byte-order mark"]);
        assert!(!error.contains("canary"), "{error}");
    }
}
