//! The curl command that `serve --welcome` prints works when pasted.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{mintkey, succeed};
use crate::tools::system;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curl_command(output: ChildStdout) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let _ = lines.find(|line| line.starts_with("curl ")).map(|line| sender.send(line));
        lines.for_each(drop);
    });
    receiver.recv_timeout(Duration::from_secs(20)).expect("the server prints a curl command")
}

#[test]
fn welcome_curl_command_creates_key() {
    let data = tempfile::tempdir().unwrap();
    let mut server = mintkey()
        .args(["serve", "--welcome", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .unwrap();
    let command = curl_command(server.0.stdout.take().unwrap());

    let output_text =
        succeed(system("sh").args(["-c", &format!("{command} --silent --write-out '\\n%{{http_code}}'")]));
    let (body, status) = output_text.rsplit_once('\n').unwrap();
    assert_eq!(status, "201", "{body}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["key"].as_str().unwrap().starts_with("mk_"), "{body}");
    assert_eq!(body["name"], "example");
}
