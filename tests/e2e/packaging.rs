//! Packaging: linters and validators of the files in packaging/.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::dockerfile;
use crate::support::{mintkey, run, succeed};
use crate::tools::{project, python, system};

fn packaging(name: &str) -> std::path::PathBuf {
    project().join("packaging").join(name)
}

#[test]
fn dockerfile_passes_hadolint() {
    succeed(python("hadolint").args(["--no-color", "--failure-threshold", "info"]).arg(packaging("Dockerfile")));
}

#[test]
fn compose_file_and_its_caddyfile_are_valid() {
    succeed(
        python("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(packaging("compose/compose.yaml")),
    );
    let caddyfile = packaging("compose/Caddyfile");
    succeed(system("caddy").args(["validate", "--adapter", "caddyfile", "--config"]).arg(&caddyfile));
}

#[test]
fn kubernetes_manifests_are_valid() {
    succeed(python("kubernetes-validate").arg("--strict").arg(packaging("kubernetes.yaml")));
}

#[test]
fn package_scripts_pass_shellcheck() {
    let test_scripts = ["package.sh", "package_check.sh"].map(|name| project().join("tests/e2e").join(name));
    let maintainers = fs::read_dir(packaging("debian")).unwrap().map(|entry| entry.unwrap().path());
    for script in maintainers.chain(test_scripts) {
        succeed(system("shellcheck").arg("--shell=sh").arg(script));
    }
}

/// The unit with the path of the program under test, because the analysis checks that it exists.
fn unit(directory: &Path) -> std::path::PathBuf {
    let program = mintkey().get_program().to_str().unwrap().to_owned();
    let text = fs::read_to_string(packaging("mintkey.service")).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/mintkey serve\n"));
    let unit = directory.join("mintkey.service");
    fs::write(&unit, text.replace("/usr/bin/mintkey", &program)).unwrap();
    unit
}

#[test]
fn systemd_unit_passes_verification_and_security_analysis() {
    let directory = tempfile::tempdir().unwrap();
    let unit = unit(directory.path());
    let verified = run(system("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let stderr = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !stderr.contains("mintkey.service"), "{stderr}");
    // The exposure of an unrestricted service is 10; up to 2 is "OK".
    succeed(system("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(&unit));
}

#[test]
fn systemd_unit_restarts_without_giving_up() {
    let text = fs::read_to_string(packaging("mintkey.service")).unwrap();
    let (unit, service) = text.split_once("[Service]").unwrap();
    assert!(unit.contains("\nStartLimitIntervalSec=0\n"), "{unit}");
    assert!(service.contains("\nRestart=always\n") && service.contains("\nRestartSec=2\n"), "{service}");
    assert!(service.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"), "{service}");
}

/// The ignore file leaves everything out and takes paths back in, one a line.
#[test]
fn dockerfile_copies_only_what_the_ignore_file_includes() {
    let ignored = fs::read_to_string(packaging("Dockerfile.dockerignore")).unwrap();
    let (everything, included): (Vec<_>, Vec<_>) = ignored.lines().partition(|line| !line.starts_with('!'));
    assert_eq!(everything, ["*"]);
    let included: Vec<_> = included.into_iter().map(|line| &line[1..]).collect();
    let copies = dockerfile::stages().into_iter().flat_map(|stage| stage.copies).filter(|copy| !copy.from_build);
    let sources: Vec<_> = copies.flat_map(|copy| copy.sources).collect();
    assert!(sources.len() >= 7, "{sources:?}");
    for source in sources {
        assert!(project().join(&source).exists(), "{source} is copied and does not exist");
        let includes = |path: &&str| source == *path || source.starts_with(&format!("{path}/"));
        assert!(included.iter().any(includes), "{source} is copied and ignored");
    }
}

/// What the Dockerfile copies is enough for cargo: every member and every dependency by path is there.
#[test]
fn dockerfile_copies_a_whole_workspace() {
    let context = tempfile::tempdir().unwrap();
    let copies = dockerfile::stages().into_iter().flat_map(|stage| stage.copies).filter(|copy| !copy.from_build);
    for source in copies.flat_map(|copy| copy.sources) {
        let target = context.path().join(&source);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        succeed(Command::new("cp").arg("-r").arg(project().join(&source)).arg(target));
    }
    let mut metadata = Command::new(env!("CARGO"));
    succeed(metadata.args(["metadata", "--format-version=1", "--locked", "--offline"]).current_dir(context.path()));
}

#[test]
fn package_settings_are_settings_of_serve() {
    let help = succeed(mintkey().args(["serve", "--help"]));
    for file in ["Dockerfile", "compose/compose.yaml", "kubernetes.yaml", "mintkey.env", "mintkey.service"] {
        let text = fs::read_to_string(packaging(file)).unwrap();
        let word = |c: char| c.is_ascii_uppercase() || c == '_';
        let settings = text.split(|c| !word(c)).filter(|word| word.starts_with("MINTKEY_") && *word != "MINTKEY_PORT");
        let mut seen = 0;
        for setting in settings {
            assert!(help.contains(&format!("[env: {setting}")), "{setting} in {file}");
            seen += 1;
        }
        assert!(seen > 0, "{file} sets nothing");
    }
}
