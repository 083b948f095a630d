//! A TCP proxy between mintkey and PostgreSQL that can withhold data, as a network does that drops packets: connections
//! stay open, and the data arrives late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Open,
    /// Blocks data to connections that listen for notifications.
    NoNotifications,
    Blocked,
}

pub struct Proxy {
    pub port: u16,
    link: watch::Sender<Link>,
    upstream: Arc<AtomicU16>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (link, state) = watch::channel(Link::Open);
        let own = listener.local_addr().unwrap().port();
        let upstream = Arc::new(AtomicU16::new(port));
        let current = upstream.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connect(client, current.load(Ordering::SeqCst), state.clone()));
            }
        });
        Self { port: own, link, upstream }
    }

    /// Connects new connections to this port.
    pub fn route_to(&self, port: u16) {
        self.upstream.store(port, Ordering::SeqCst);
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn connect(client: TcpStream, port: u16, mut state: watch::Receiver<Link>) {
    let _ = state.wait_for(|link| *link != Link::Blocked).await;
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let listens = Arc::new(AtomicBool::new(false));
    let (sent_listen, mut upstream, mut downstream) = (listens.clone(), state.clone(), state);
    let requests = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if bytes[..count].windows(7).any(|word| word == b"LISTEN ") {
                sent_listen.store(true, Ordering::SeqCst);
            }
            let _ = upstream.wait_for(|link| *link != Link::Blocked).await;
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let responses = async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            let passes =
                |link: &Link| *link == Link::Open || *link == Link::NoNotifications && !listens.load(Ordering::SeqCst);
            let _ = downstream.wait_for(passes).await;
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = responses => {}
    }
}
