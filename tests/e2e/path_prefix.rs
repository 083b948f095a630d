//! A real nginx that serves mintkey below a prefix, which it removes from paths.

use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{KEYS, Response, Server, client, eventually, id};
use crate::tools::{Running, free_port, system};

pub struct PathPrefix {
    /// The URL with the prefix.
    pub url: String,
    _nginx: Running,
    _directory: TempDir,
}

impl PathPrefix {
    pub async fn of(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let address = format!("127.0.0.1:{}", free_port());
        let mut configuration =
            format!("daemon off; user root; pid {}; events {{}} http {{ access_log off;", path("pid"));
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            configuration += &format!("{kind}_temp_path {};", path(kind));
        }
        let location = format!("location /keys/ {{ proxy_pass {}/; }}", server.url);
        configuration += &format!("server {{ listen {address}; {location} }} }}");
        std::fs::write(path("nginx.conf"), configuration).unwrap();
        let mut command = system("nginx");
        command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
        let nginx = Running(command.spawn().unwrap());
        let is_up = async || TcpStream::connect(&address).ok();
        eventually(Duration::from_secs(20), "nginx", is_up).await;
        Self { url: format!("http://{address}/keys"), _nginx: nginx, _directory: directory }
    }
}

#[tokio::test]
async fn path_prefix_is_kept_by_location_link_and_root() {
    let server = Server::start();
    let token = server.token("alice");
    let prefix = PathPrefix::of(&server).await;
    let send = async |method: Method, path: &str| {
        let url = path.strip_prefix("/keys").unwrap_or(path);
        let request = client().request(method, format!("{}{url}", prefix.url)).bearer_auth(&token);
        Response::to(request.header("accept", "text/html").json(&json!({ "name": "k" }))).await
    };
    for spelling in [KEYS, KEYS.trim_end_matches('/')] {
        let created = send(Method::POST, spelling).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let location = created.location().unwrap();
        assert_eq!(location, format!("/keys{KEYS}{}", id(&created.body)));
        assert_eq!(send(Method::GET, &location).await.body["id"], created.body["id"]);
    }
    let page = send(Method::GET, &format!("{KEYS}?limit=1")).await;
    let next = page.next_page().unwrap();
    assert!(next.starts_with(&format!("/keys{KEYS}?limit=1&cursor=")), "{next}");
    let next = send(Method::GET, &next).await;
    assert_ne!(next.body["items"][0]["id"], page.body["items"][0]["id"]);
    assert!(next.next_page().is_none(), "{}", next.text);
    // The client follows the redirect to the page.
    let root = send(Method::GET, "/").await;
    assert_eq!((root.status.as_u16(), root.header("content-type")), (200, Some("text/html; charset=utf-8")));
}
