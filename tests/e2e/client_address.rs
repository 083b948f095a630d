//! The client's address behind real proxies that append to the client's header, replace it, or stand behind each other.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{KEYS, Server, id};
use crate::tools::{Running, free_port, system};

/// Clients connect from here, proxies from 127.0.0.1.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A server of nginx.
fn nginx_server(port: u16, to: &str, headers: &str) -> String {
    format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{to}; {headers} }} }}\n")
}

/// A frontend of HAProxy with its backend.
fn haproxy_proxy(port: u16, to: &str, rule: &str) -> String {
    format!("listen l{port}\n  bind 127.0.0.1:{port}\n  {rule}\n  server s {to}\n")
}

fn start_nginx(directory: &Path, servers: &str) -> Running {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut main = format!("daemon off; user root; pid {}; events {{}} http {{ access_log off;\n", path("pid"));
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        main += &format!("{kind}_temp_path {};\n", path(kind));
    }
    fs::write(directory.join("nginx.conf"), format!("{main}{servers}}}\n")).unwrap();
    spawn(system("nginx").args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]))
}

fn start_haproxy(directory: &Path, proxies: &str) -> Running {
    let file = directory.join("haproxy.cfg");
    let defaults = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n";
    fs::write(&file, format!("{defaults}{proxies}")).unwrap();
    spawn(system("haproxy").args(["-db", "-f"]).arg(file))
}

fn spawn(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Creates a key through a proxy, as a client that claims other addresses, and returns the address in its audit event.
async fn address_in_audit(server: &Server, port: u16, claims: &[(&str, &str)]) -> Value {
    let client = reqwest::Client::builder().local_address(IpAddr::from(CLIENT)).no_proxy().build().unwrap();
    let token = server.token("alice");
    let mut request = client.post(format!("http://127.0.0.1:{port}{KEYS}")).bearer_auth(&token);
    for (name, value) in claims {
        request = request.header(*name, *value);
    }
    let response = request.json(&json!({ "name": "x" })).send().await.unwrap();
    assert_eq!(response.status(), 201, "port {port}");
    let key: Value = response.json().await.unwrap();
    let sql =
        format!("SELECT client_address FROM audit_events WHERE key_id = {}", crate::support::database::uuid(id(&key)));
    server.rows(&sql).await[0].try_get::<String>("", "client_address").unwrap().into()
}

#[tokio::test]
async fn client_address_behind_proxies_is_never_what_the_client_claims() {
    let by_for = Server::start_with(&["--trusted-proxy", "127.0.0.1"]);
    let by_forwarded = Server::start_with(&["--trusted-proxy", "127.0.0.1", "--forwarded-header", "forwarded"]);
    let address = |server: &Server| server.url.strip_prefix("http://").unwrap().to_owned();
    let [to_for, to_forwarded] = [&by_for, &by_forwarded].map(address);
    let [append, replace, forwarded, add_line, set, chained] = std::array::from_fn(|_| free_port());
    let directory = tempfile::tempdir().unwrap();
    let nginx = [
        nginx_server(append, &to_for, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
        nginx_server(replace, &to_for, "proxy_set_header X-Forwarded-For $remote_addr;"),
        nginx_server(
            forwarded,
            &to_forwarded,
            "proxy_set_header Forwarded \"$http_forwarded, for=\\\"$remote_addr:$remote_port\\\"\";",
        ),
    ];
    let haproxy = [
        haproxy_proxy(add_line, &to_for, "option forwardfor"),
        haproxy_proxy(set, &to_for, "http-request set-header X-Forwarded-For %[src]"),
        haproxy_proxy(chained, &format!("127.0.0.1:{append}"), "option forwardfor"),
    ];
    let _proxies = [start_nginx(directory.path(), &nginx.concat()), start_haproxy(directory.path(), &haproxy.concat())];
    for port in [append, replace, forwarded, add_line, set, chained] {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "no proxy listens at port {port}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let claims: [&[(&str, &str)]; 5] = [
        &[],
        &[("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6")],
        &[("X-Forwarded-For", "6.6.6.6, 127.0.0.1"), ("Forwarded", "for=6.6.6.6, for=127.0.0.1")],
        &[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", ",,"), ("Forwarded", "for=\"6.6.6.6")],
        &[("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1;by=\"")],
    ];
    for claims in claims {
        for port in [append, replace, add_line, set, chained] {
            assert_eq!(address_in_audit(&by_for, port, claims).await, CLIENT.to_string(), "port {port}: {claims:?}");
        }
        let seen = address_in_audit(&by_forwarded, forwarded, claims).await;
        assert_eq!(seen, CLIENT.to_string(), "Forwarded: {claims:?}");
    }
}
