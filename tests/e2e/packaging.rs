//! Packaging: what the tools of each trade say of the files in packaging/.

use std::fs;
use std::path::Path;

use crate::support::{mintkey, run};
use crate::tools::{project, python, succeed, system};

fn packaging(name: &str) -> std::path::PathBuf {
    project().join("packaging").join(name)
}

#[test]
fn the_dockerfile_has_no_fault_by_hadolint() {
    succeed(python("hadolint").args(["--no-color", "--failure-threshold", "info"]).arg(packaging("Dockerfile")));
}

#[test]
fn the_compose_file_is_one_by_its_specification_and_its_caddyfile_by_caddy() {
    succeed(
        python("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(packaging("compose/compose.yaml")),
    );
    let caddyfile = packaging("compose/Caddyfile");
    succeed(system("caddy").args(["validate", "--adapter", "caddyfile", "--config"]).arg(&caddyfile));
}

#[test]
fn the_kubernetes_manifests_are_valid_for_kubernetes() {
    succeed(python("kubernetes-validate").arg("--strict").arg(packaging("kubernetes.yaml")));
}

#[test]
fn the_scripts_of_the_package_have_no_fault_by_shellcheck() {
    let ours = ["package.sh", "package_check.sh"].map(|name| project().join("tests/e2e").join(name));
    let maintainers = fs::read_dir(packaging("debian")).unwrap().map(|entry| entry.unwrap().path());
    for script in maintainers.chain(ours) {
        succeed(system("shellcheck").arg("--shell=sh").arg(script));
    }
}

/// The unit with this machine's program in it, since the analysis looks for what it starts.
fn unit(directory: &Path) -> std::path::PathBuf {
    let program = mintkey().get_program().to_str().unwrap().to_owned();
    let text = fs::read_to_string(packaging("mintkey.service")).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/mintkey serve\n"));
    let unit = directory.join("mintkey.service");
    fs::write(&unit, text.replace("/usr/bin/mintkey", &program)).unwrap();
    unit
}

#[test]
fn the_unit_has_no_fault_and_little_exposure_by_systemd() {
    let directory = tempfile::tempdir().unwrap();
    let unit = unit(directory.path());
    let verified = run(system("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("mintkey.service"), "{said}");
    // 10 is a service with all of root's powers; 2 is "OK".
    succeed(system("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(&unit));
}

#[test]
fn the_settings_of_every_package_are_settings_of_serve() {
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
