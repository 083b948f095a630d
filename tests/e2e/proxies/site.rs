//! A proxy with the mintkey that it asks.

use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};

use super::kind::{KINDS, Kind};
use super::proxy::{FakeAuthServer, Proxy};
use crate::support::{Server, secret};

pub struct Site {
    pub proxy: Proxy,
    pub mintkey: Server,
    pub alice: String,
}

impl Site {
    pub fn start(kind: Kind) -> Self {
        let mintkey = Server::start();
        let proxy = Proxy::start(kind, address_of(&mintkey));
        let alice = mintkey.token_with("alice", &["--organization", "acme"]);
        Self { proxy, mintkey, alice }
    }

    /// Creates a key of alice's with these scopes.
    pub async fn create_key(&self, scopes: &[&str]) -> Value {
        self.mintkey.create_key_from(&self.alice, json!({ "name": "a client", "scopes": scopes })).await
    }

    pub async fn bearer(&self) -> String {
        format!("Bearer {}", secret(&self.create_key(&[]).await))
    }
}

impl Deref for Site {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

/// The address that a server listens on.
pub fn address_of(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// A proxy whose auth server is a fake.
pub fn with_fake_auth_server(kind: Kind) -> (Proxy, FakeAuthServer) {
    let auth_server = FakeAuthServer::start();
    auth_server.respond_with("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    (Proxy::start(kind, &auth_server.address.to_string()), auth_server)
}

/// Sites that tests use one after another, because each takes half a second to start. They end with the last test that
/// has opened them.
pub struct Sites {
    idle: Mutex<Vec<Site>>,
}

impl Sites {
    pub fn open() -> Arc<Self> {
        static OPEN: Mutex<Weak<Sites>> = Mutex::new(Weak::new());
        let mut open = OPEN.lock().unwrap();
        open.upgrade().unwrap_or_else(|| {
            let sites = Arc::new(Self { idle: Mutex::default() });
            *open = Arc::downgrade(&sites);
            sites
        })
    }

    /// Lends a site of each kind, one after another.
    pub fn each(self: &Arc<Self>) -> impl Iterator<Item = Lent> {
        KINDS.into_iter().map(|kind| self.of(kind))
    }

    /// Lends a site of this kind.
    pub fn of(self: &Arc<Self>, kind: Kind) -> Lent {
        let mut idle = self.idle.lock().unwrap();
        let found = idle.iter().position(|site| site.kind == kind).map(|position| idle.swap_remove(position));
        drop(idle);
        Lent { site: Some(found.unwrap_or_else(|| Site::start(kind))), sites: self.clone() }
    }
}

/// A site that returns to the others when this is dropped, unless the test failed.
pub struct Lent {
    site: Option<Site>,
    sites: Arc<Sites>,
}

impl Deref for Lent {
    type Target = Site;

    fn deref(&self) -> &Site {
        self.site.as_ref().unwrap()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.sites.idle.lock().unwrap().extend(self.site.take());
        }
    }
}
