//! TLS, with curl and openssl.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{self, KEYS, Server, succeed};

/// A tool with a timeout, which connects only to this machine.
fn tool(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "2m", name]);
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

/// Creates `cert.pem` and its `key.pem` for this name in the directory.
fn make_certificate(directory: &Path, name: &str) {
    let mut openssl = tool("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1"]);
    succeed(openssl.arg("-keyout").arg(directory.join("key.pem")).arg("-out").arg(directory.join("cert.pem")));
}

struct Tls {
    server: Server,
    url: String,
    files: TempDir,
}

impl Tls {
    fn start(arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        make_certificate(files.path(), "first");
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.path().join(name).to_str().unwrap().to_owned());
        let data = files.path().join("data");
        let mut serve = support::mintkey_at(&data);
        // The address in the certificate.
        serve.args(["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]).args(arguments);
        let server = Server::spawn(&mut serve, &data);
        let url = server.url.replacen("http:", "https:", 1);
        Self { server, url, files }
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut curl = tool("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(self.files.path().join("cert.pem"));
        succeed(curl.args(arguments).arg(format!("{}/openapi.json", self.url)))
    }

    /// The subject of the certificate that the server presents.
    fn certificate_subject(&self) -> String {
        let mut curl = tool("curl");
        curl.args(["--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{certs}"]);
        let certificates = succeed(curl.arg(format!("{}/docs", self.url)));
        let subject = certificates.lines().find_map(|line| line.strip_prefix("Subject:")).expect("a subject");
        subject.replace("CN = ", "").replace("CN=", "").trim().to_owned()
    }

    fn wait_for_certificate(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.certificate_subject() != name {
            assert!(Instant::now() < deadline, "not shown: {name}\n{}", self.server.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }
}

#[test]
fn tls_serves_http_2_and_1_with_tls_1_2_and_1_3() {
    let tls = Tls::start(&[]);
    for (arguments, version) in
        [(&["--http2", "--tlsv1.3"][..], "2"), (&["--http2", "--tls-max", "1.2"], "2"), (&["--http1.1"], "1.1")]
    {
        let response = tls.curl(&[arguments, &["--write-out", "\n%{http_version}"]].concat());
        let (document, spoken) = response.rsplit_once('\n').unwrap();
        assert_eq!(spoken, version, "{arguments:?}");
        assert!(document.starts_with('{'), "{document}");
    }
    let mut clear = TcpStream::connect(tls.address()).unwrap();
    clear.write_all(b"GET /docs HTTP/1.1\r\nHost: mintkey\r\n\r\n").unwrap();
    let mut response = Vec::new();
    let _reset = clear.read_to_end(&mut response);
    assert!(!String::from_utf8_lossy(&response).contains("HTTP"), "{response:?}");
}

#[test]
fn tls_reloads_replaced_certificate_but_not_a_broken_one() {
    let tls = Tls::start(&[]);
    tls.wait_for_certificate("first");
    let files = tls.files.path();
    let next = tempfile::tempdir().unwrap();
    make_certificate(next.path(), "second");

    // The new certificate does not fit the old key.
    fs::copy(next.path().join("cert.pem"), files.join("cert.pem")).unwrap();
    tls.server.wait_for_log(&[
        "WARN",
        "TLS certificate reload failed",
        "--tls-key (MINTKEY_TLS_KEY)",
        "belong together",
    ]);
    assert_eq!(tls.certificate_subject(), "first");
    fs::copy(next.path().join("key.pem"), files.join("key.pem")).unwrap();
    tls.wait_for_certificate("second");
    tls.curl(&[]);

    fs::write(files.join("key.pem"), "no key").unwrap();
    tls.server.wait_for_log(&["WARN", "TLS certificate reload failed", "private key in PEM"]);
    fs::remove_file(files.join("cert.pem")).unwrap();
    tls.server.wait_for_log(&["WARN", "TLS certificate reload failed", "--tls-cert", "can be read"]);
    assert_eq!(tls.certificate_subject(), "second");

    make_certificate(files, "third");
    tls.wait_for_certificate("third");
}

#[test]
fn tls_sighup_reloads_certificate_and_reports_the_result() {
    let tls = Tls::start(&[]);
    tls.server.sighup();
    tls.server.wait_for_log(&["INFO", "received SIGHUP"]);
    tls.server.wait_for_log(&["INFO", "TLS certificate reloaded"]);
    fs::write(tls.files.path().join("key.pem"), "no key").unwrap();
    let failures = || tls.server.log().matches("TLS certificate reload failed").count();
    for _ in 0..2 {
        let before = failures();
        tls.server.sighup();
        let deadline = Instant::now() + Duration::from_secs(15);
        while failures() == before {
            assert!(Instant::now() < deadline, "{}", tls.server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(tls.certificate_subject(), "first");
}

#[test]
fn tls_unusable_files_are_refused_at_start() {
    let good = tempfile::tempdir().unwrap();
    make_certificate(good.path(), "good");
    let other = tempfile::tempdir().unwrap();
    make_certificate(other.path(), "other");
    let (cert, key) = (good.path().join("cert.pem"), good.path().join("key.pem"));
    for (cert, key, words) in [
        (Some(&cert), None, ["--tls-key", "required"]),
        (None, Some(&key), ["--tls-cert", "required"]),
        (Some(&good.path().join("none")), Some(&key), ["--tls-cert (MINTKEY_TLS_CERT)", "give a file that exists"]),
        (Some(&key), Some(&key), ["--tls-cert (MINTKEY_TLS_CERT)", "give a certificate in PEM"]),
        (Some(&cert), Some(&cert), ["--tls-key (MINTKEY_TLS_KEY)", "private key in PEM"]),
        (Some(&cert), Some(&other.path().join("key.pem")), ["--tls-key (MINTKEY_TLS_KEY)", "belong together"]),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut serve = support::mintkey();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        for (flag, file) in [("--tls-cert", cert), ("--tls-key", key)] {
            if let Some(file) = file {
                serve.arg(flag).arg(file);
            }
        }
        let output = support::run(&mut serve);
        let output_text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && words.iter().all(|word| output_text.contains(word)),
            "{words:?}: {output_text}"
        );
    }
}

#[tokio::test]
async fn tls_sigterm_finishes_request_in_flight() {
    let mut tls = Tls::start(&[]);
    let token = tls.server.token("alice");
    let mut curl = tool("curl");
    curl.args(["--verbose", "--http1.1", "--request", "POST", "--upload-file", "-", "--cacert"]);
    curl.arg(tls.files.path().join("cert.pem")).arg(format!("{}{KEYS}", tls.url));
    for header in ["Content-Type: application/json", "Expect: 100-continue", &format!("Authorization: Bearer {token}")]
    {
        curl.args(["--header", header]);
    }
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut body = curl.stdin.take().unwrap();
    let mut output_text = BufReader::new(curl.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun = output_text.by_ref().take_while(|line| !line.contains("HTTP/1.1 100")).count();
    body.write_all(b"{\"name\":").unwrap();

    tls.server.sigterm();
    tls.server.wait_for_log(&["SIGTERM"]);
    body.write_all(b"\"slow\"}").unwrap();
    drop(body);
    let output = curl.wait_with_output().unwrap();
    let response = String::from_utf8(output.stdout).unwrap();
    assert!(response.contains("\"name\":\"slow\""), "{response:?} after {begun} lines");
    assert_eq!(tls.server.exit_within(Duration::from_secs(10)).unwrap().code(), Some(0));
    assert_eq!(tls.server.count("api_keys").await, 1);
}

#[test]
fn tls_stalled_handshake_is_closed_and_delays_no_shutdown() {
    let mut tls = Tls::start(&["--head-timeout", "500ms"]);
    for output_text in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(tls.address()).unwrap();
        stream.write_all(output_text).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.is_ok() || ended.is_err_and(|error| error.raw_os_error() == Some(104)), "{output_text:?}");
    }
    let _silent = TcpStream::connect(tls.address()).unwrap();
    tls.curl(&[]);
    tls.server.sigterm();
    assert_eq!(tls.server.exit_within(Duration::from_secs(10)).unwrap().code(), Some(0));
    assert!(!tls.server.log().contains("dropped in-flight"), "{}", tls.server.log());
}
