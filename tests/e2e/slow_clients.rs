//! Slow clients: slowhttptest, a tool that tries to exhaust the connections of a server.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Server, VERIFY, succeed};
use crate::tools::system;

/// The time for which the tool keeps its connections.
const ATTACK: Duration = Duration::from_secs(10);

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

fn attack(server: &Server, arguments: &[&str], path: &str) -> Command {
    let mut tool = system("slowhttptest");
    tool.args(arguments).args(["-c", "300", "-r", "300", "-p", "2", "-l", &ATTACK.as_secs().to_string()]);
    tool.args(["-u", &format!("{}{path}", server.url)]);
    tool
}

/// Checks that other clients are served during the attack, and that the server closes the connections of the attacker
/// well before the attack ends.
fn assert_survives(server: &Server, arguments: &[&str], path: &str) {
    let before = descriptors(server);
    let mut tool = attack(server, arguments, path);
    let start = Instant::now();
    let attack = std::thread::spawn(move || succeed(&mut tool));
    let (mut most, mut free_after) = (before, ATTACK);
    while !attack.is_finished() {
        let started = Instant::now();
        succeed(system("curl").args(["--silent", "--fail", "--output", "/dev/null", &format!("{}/docs", server.url)]));
        assert!(started.elapsed() < Duration::from_secs(3), "{arguments:?}: others waited {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
        let now = descriptors(server);
        most = most.max(now);
        if most > before + 100 && now < before + 20 {
            free_after = free_after.min(start.elapsed());
        }
    }
    let report = attack.join().unwrap();
    assert!(most > before + 100, "{arguments:?}: no attack, only {most} descriptors: {report}");
    assert!(free_after < ATTACK - Duration::from_secs(2), "{arguments:?}: free after {free_after:?}: {report}");
}

#[test]
fn slow_clients_do_not_keep_their_connections() {
    let limits = ["--head-timeout", "1s", "--request-timeout", "2s", "--idle-timeout", "3s"];
    let server = Server::start_with(&limits);
    assert_survives(&server, &["-H", "-i", "1"], "/docs");
    // The tool sends no credential, so that no connection waits for its body.
    let report = succeed(&mut attack(&server, &["-B", "-i", "1", "-s", "8192"], VERIFY));
    assert!(report.contains("No open connections left"), "{report}");
    assert_survives(&server, &["-X", "-w", "8", "-y", "16", "-n", "1", "-z", "1", "-k", "3"], "/docs/swagger-ui.js");
}
