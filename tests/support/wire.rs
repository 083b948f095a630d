//! Raw requests over TCP, which a well-behaved client does not send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::{KEYS, Server};

pub struct RawResponse {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

/// The start of a create request. The caller adds more headers, the empty line and the body.
pub fn head(credential: &str) -> String {
    format!(
        "POST {KEYS} HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {credential}\r\n"
    )
}

pub fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends the request, as far as the server accepts it, and reads until the server closes the connection.
pub fn exchange(server: &Server, request: &[u8]) -> RawResponse {
    let mut stream = connect(server);
    let _cut_short = stream.write_all(request);
    reply(stream)
}

pub fn reply(mut stream: TcpStream) -> RawResponse {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    assert!(read.is_ok(), "{read:?} after {text:?}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response, but {text:?}"));
    RawResponse {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// A request with the body in chunks of this size, without Content-Length.
pub fn chunked(head: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut request = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}
