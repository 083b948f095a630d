//! The container image: built and started by Docker or Podman if one works on this machine. Otherwise its root is
//! assembled by the instructions of the Dockerfile's last stage, and a process is started in it as a container's is.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::dockerfile::{self, Stage};
use crate::support::{mintkey, run, succeed};
use crate::tools::{installed, project};

/// As root: Docker's parts of a container's process. Of the arguments, the first are the root, the volume, and where the
/// volume is mounted.
const CONTAINER: &str = r#"set -eu
root=$1 volume=$2 mountpoint=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$volume" "$root$mountpoint"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
ip link set lo up
exec "$@""#;

/// The libraries of gcr.io/distroless/cc-debian12 that a program in Rust may need.
const BASE_LIBRARIES: [&str; 5] =
    ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

fn as_root(program: &str) -> Command {
    if run(Command::new("id").arg("-u")).stdout == b"0\n" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

enum Container {
    Engine { program: &'static str, id: String },
    Chroot { process: Child, directory: TempDir, image: Stage },
}

impl Container {
    fn start() -> Self {
        let works =
            |program: &&&str| Command::new(program).arg("info").output().is_ok_and(|info| info.status.success());
        match ["docker", "podman"].iter().find(works) {
            Some(program) => {
                println!("image: built and started by {program}");
                Self::start_in_engine(program)
            }
            None => {
                println!("image: no container engine works here; started in a chroot");
                Self::start_in_chroot()
            }
        }
    }

    fn start_in_engine(program: &'static str) -> Self {
        let mut build = Command::new(program);
        build.args(["build", "--file", "packaging/Dockerfile", "--tag", "mintkey-test", "."]).current_dir(project());
        succeed(&mut build);
        let arguments = ["run", "--detach", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
        let volume = format!("--volume={}", dockerfile::image().volume);
        let id = succeed(Command::new(program).args(arguments).arg(volume).arg("--network=host").arg("mintkey-test"));
        Self::Engine { program, id: id.trim().to_owned() }
    }

    fn start_in_chroot() -> Self {
        let image = dockerfile::image();
        let directory = tempfile::tempdir().unwrap();
        assemble(&image, directory.path());
        let mut command = as_root(installed("unshare").to_str().unwrap());
        command.args([
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            CONTAINER,
            "sh",
        ]);
        command.arg(directory.path().join("root")).arg(directory.path().join("volume")).arg(&image.volume);
        command.args(in_root(&image, directory.path())).args(&image.command);
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self::Chroot { process, directory, image }
    }

    /// Runs a program of this machine in the container's network, which has nothing but the container.
    fn in_network(&self, program: &str) -> Command {
        match self {
            Self::Engine { .. } => Command::new(program),
            Self::Chroot { process, .. } => {
                let mut command = as_root("nsenter");
                command.args(["--target", &process.id().to_string(), "--net", program]);
                command
            }
        }
    }

    /// Runs the image's program with other arguments, as `docker exec` does.
    fn execute(&self, arguments: &[&str]) -> String {
        let program = &dockerfile::image().command[0];
        let mut command = match self {
            Self::Engine { program, id } => {
                let mut command = Command::new(program);
                command.args(["exec", id]);
                command
            }
            Self::Chroot { process, directory, image } => {
                let mut command = as_root("nsenter");
                command.args(["--target", &process.id().to_string(), "--net", "--mount"]);
                command.args(in_root(image, directory.path()));
                command
            }
        };
        succeed(command.arg(program).args(arguments))
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Output {
        let url = format!("http://127.0.0.1:{}{path}", dockerfile::image().port);
        run(self.in_network("curl").args(["--silent", "--fail-with-body", "--max-time", "10"]).args(arguments).arg(url))
    }

    fn wait_until_live(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.curl("/livez", &[]).status.success() {
            assert!(Instant::now() < deadline, "/livez does not respond:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Engine { program, id } => {
                String::from_utf8(run(Command::new(program).args(["logs", id])).stderr).unwrap()
            }
            Self::Chroot { directory, .. } => fs::read_to_string(directory.path().join("log")).unwrap(),
        }
    }

    /// The user and group of the server's process, and whether its root is read-only, as the kernel has them.
    fn assert_confined(&self) {
        let Self::Chroot { process, image, .. } = self else { return };
        let server = child_of(process.id());
        let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
        let (user, group) = image.user.split_once(':').unwrap();
        for (name, id) in [("Uid:", user), ("Gid:", group)] {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.split_whitespace().skip(1).all(|own| own == id), "{line}");
        }
        let mounts = succeed(as_root("cat").arg(format!("/proc/{server}/mountinfo")));
        let is_read_only = |line: &str| line.split(' ').nth(5).unwrap().split(',').any(|option| option == "ro");
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        assert!(is_read_only(root), "{mounts}");
        let volume = mounts.lines().find(|line| line.split(' ').nth(4) == Some(&image.volume)).unwrap();
        assert!(!is_read_only(volume), "{mounts}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        match self {
            Self::Engine { program, id } => {
                run(Command::new(program).args(["rm", "--force", "--volumes", id]));
            }
            Self::Chroot { process, directory, .. } => {
                // `unshare` ignores the signal, and ends with the server.
                run(as_root("kill").arg(child_of(process.id())));
                let _ = process.wait();
                // Files of the image's user. The mounts ended with the process.
                run(as_root("rm").args(["-rf", "--one-file-system"]).arg(directory.path()));
            }
        }
    }
}

/// The process that `unshare` started.
fn child_of(process: u32) -> String {
    let children = run(Command::new("ps").args(["-o", "pid=", "--ppid", &process.to_string()])).stdout;
    String::from_utf8(children).unwrap().trim().to_owned()
}

/// The command line that enters the root as the image's user, with the image's environment alone.
fn in_root(image: &Stage, directory: &Path) -> Vec<String> {
    let mut words = vec!["env".to_owned(), "-i".to_owned(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    words.extend(image.environment.clone());
    words.push("chroot".to_owned());
    words.extend([format!("--userspec={}", image.user), "--groups=".to_owned()]);
    words.push(directory.join("root").display().to_string());
    words
}

/// Makes the directories `root` and `volume`: what the base image has, and what the last stage copies.
fn assemble(image: &Stage, directory: &Path) {
    assert!(image.base.starts_with("gcr.io/distroless/cc-debian12:"), "{}", image.base);
    let root = directory.join("root");
    for path in ["dev", "proc", "etc/ssl/certs", "tmp"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::copy("/etc/ssl/certs/ca-certificates.crt", root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    let program = mintkey().get_program().to_owned();
    for library in libraries(Path::new(&program)) {
        let name = library.file_name().unwrap().to_str().unwrap();
        assert!(BASE_LIBRARIES.contains(&name), "the base image has no {name}");
        let copy = root.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&library, copy).unwrap();
    }
    for copy in &image.copies {
        assert!(copy.from_build, "{copy:?}");
        let target = root.join(copy.target.strip_prefix('/').unwrap());
        match &*copy.sources[0] {
            "/src/target/release/mintkey" => {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(&program, target).unwrap();
            }
            // A volume begins with what the image has at its place.
            "/data" => {
                assert_eq!(copy.target, image.volume);
                fs::create_dir_all(target).unwrap();
                let volume = directory.join("volume");
                fs::create_dir(&volume).unwrap();
                let owner = copy.owner.as_ref().unwrap().replace("nonroot", "65532");
                succeed(as_root("chown").arg(owner).arg(volume));
            }
            other => panic!("unknown product of the build stage: {other}"),
        }
    }
    // The user of the image has to pass through it.
    succeed(Command::new("chmod").arg("755").arg(directory));
}

/// The shared libraries that a program is linked with, as paths of this machine.
fn libraries(program: &Path) -> Vec<std::path::PathBuf> {
    let text = succeed(Command::new("ldd").arg(program));
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(Into::into).collect()
}

#[test]
fn image_serves_as_its_user_on_a_read_only_root() {
    let container = Container::start();
    container.wait_until_live();
    container.assert_confined();
    let token =
        |scopes: &str| container.execute(&["token", "--subject", "alice", "--scopes", scopes]).trim().to_owned();
    let authorization = |token: &str| format!("Authorization: Bearer {token}");
    let post = |path: &str, token: &str, body: &str| -> Value {
        let headers = ["--header", &authorization(token), "--header", "Content-Type: application/json"];
        let output = container.curl(path, &[&headers[..], &["--data", body]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", container.log()))
    };
    let key = post("/api/auth/api-keys/", &token(""), r#"{"name":"image"}"#);
    let secret = key["key"].as_str().unwrap_or_else(|| panic!("{key}"));
    let verify = token("api-keys:verify");
    let verdict = post("/api/auth/api-keys/verify", &verify, &format!(r#"{{"key":"{secret}"}}"#));
    assert_eq!(verdict["code"], "VALID", "{verdict}");
    let ready = container.curl("/readyz", &[]);
    assert!(ready.status.success(), "{ready:?}");
    let listed = container.execute(&["keys", "list", "--json"]);
    assert!(listed.contains(key["id"].as_str().unwrap()), "{listed}");
    assert!(!container.log().contains("ERROR"), "{}", container.log());
}

#[test]
fn image_runs_as_a_numeric_user_other_than_root() {
    // Kubernetes' runAsNonRoot rejects names.
    let image = dockerfile::image();
    let ids: Vec<u32> = image.user.split(':').map(|id| id.parse().unwrap()).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id > 0), "{}", image.user);
    assert_eq!(image.environment, ["MINTKEY_LISTEN=0.0.0.0:8080", "MINTKEY_DATA_DIR=/var/lib/mintkey"]);
    assert_eq!((image.port, &*image.volume), (8080, "/var/lib/mintkey"));
    assert_eq!(image.command, ["/usr/bin/mintkey", "serve"]);
}
