//! Walkthrough: the `sh` blocks of README.md and docs/getting-started.md, run in order against one server. A `json` block
//! that follows one shows what it prints.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::support::{Server, mintkey_at, succeed};
use crate::tools::{project, system};

/// A server and the directory in which a reader would paste commands.
struct Session {
    server: Server,
    directory: tempfile::TempDir,
    last: Value,
}

impl Session {
    fn start() -> Self {
        let server = Server::start();
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        symlink(env!("CARGO_BIN_EXE_mintkey"), release.join("mintkey")).unwrap();
        fs::write(directory.path().join("variables"), "").unwrap();
        Self { server, directory, last: Value::Null }
    }

    /// Runs a block with the variables that the blocks before it set, and returns what it printed.
    fn run(&mut self, block: &str) -> String {
        let lines = block.lines().map(|line| self.filled(line)).collect::<Vec<_>>().join("\n");
        let script = format!(
            "set -eua; . ./variables; {}\nexport -p >variables",
            lines.replace("http://127.0.0.1:8080", &self.server.url)
        );
        let mut command = system("sh");
        command.args(["-c", &script]).current_dir(self.directory.path());
        for (name, value) in mintkey_at(&self.server.data).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let printed = succeed(&mut command);
        self.last = serde_json::from_str(&printed).unwrap_or_default();
        printed
    }

    /// `KEY=mk_...  # the key from the response` with that value.
    fn filled(&self, line: &str) -> String {
        let Some((variable, comment)) = line.split_once("...  # the ") else { return line.to_owned() };
        let (name, _) = variable.split_once('=').unwrap();
        let field = comment.split(' ').next().unwrap();
        format!("{name}={}", self.last[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.last)))
    }
}

/// The blocks of a page with their languages.
fn blocks(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(project().join(page)).unwrap();
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).map(|(name, text)| (name.into(), text.into())).collect()
}

/// Runs a page, and checks each `json` block that follows a command. Returns the commands.
fn walk(session: &mut Session, page: &str) -> Vec<String> {
    let blocks = blocks(page);
    let mut commands = Vec::new();
    for (n, (_, block)) in blocks.iter().enumerate().filter(|(_, (language, _))| language == "sh") {
        let before = session.last.clone();
        let printed = session.run(block);
        match blocks.get(n + 1) {
            Some((language, shown)) if language == "json" => {
                let shown = serde_json::from_str(shown).unwrap_or_else(|error| panic!("{page}: {error}: {shown}"));
                assert!(resembles(&shown, &session.last), "{page} shows\n{shown}\nand the command prints\n{printed}");
            }
            // A block that prints nothing keeps the response for the next one.
            _ if printed.is_empty() => session.last = before,
            _ => {}
        }
        commands.push(block.clone());
    }
    commands
}

/// True if both have the same fields and values. A shown text that ends with `...` stands for any text, or any secret.
fn resembles(shown: &Value, printed: &Value) -> bool {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => {
            shown.len() == printed.len()
                && shown.iter().all(|(name, value)| printed.get(name).is_some_and(|found| resembles(value, found)))
        }
        (Value::String(shown), Value::String(printed)) if shown.ends_with("...") => {
            let kind = |text: &str| text.starts_with("mk_");
            kind(shown) == kind(printed)
        }
        (shown, printed) => shown == printed,
    }
}

#[test]
fn docs_quick_start_of_readme_works() {
    let mut session = Session::start();
    let commands = walk(&mut session, "README.md");
    assert_eq!(commands.len(), 3, "{commands:?}");
    // "The same verification now returns ..."
    let verification = commands[1].split_once("curl").unwrap().1;
    session.run(&format!("curl{verification}"));
    assert_eq!((&session.last["valid"], &session.last["code"]), (&false.into(), &"REVOKED".into()));
}

#[test]
fn docs_getting_started_works() {
    let commands = walk(&mut Session::start(), "docs/getting-started.md");
    assert_eq!(commands.len(), 7, "{commands:?}");
}

#[test]
fn docs_server_starts_as_described() {
    let makefile = fs::read_to_string(project().join("Makefile")).unwrap();
    assert!(makefile.contains("\nrun:\n\tcargo build --release --locked\n\ttarget/release/mintkey serve --welcome\n"));
    assert!(blocks("README.md").contains(&("console".into(), "$ make run".into())));
}
