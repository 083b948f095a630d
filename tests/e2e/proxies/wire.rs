//! HTTP/1.1 over raw TCP, because client libraries correct what the tests need to send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request or a response as sent, with the body decoded.
#[derive(Clone, Debug)]
pub struct Message {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The header lines after a chunked body.
    pub trailers: Vec<String>,
}

impl Message {
    pub fn status(&self) -> u16 {
        let status = self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status: {self:?}"))
    }

    pub fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap()
    }

    /// The values of this header, ignoring case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The values that CGI and its successors (WSGI, Rack, PHP) would provide under the name of this header.
    pub fn all_as_in_cgi(&self, name: &str) -> Vec<&str> {
        let normal = |name: &str| name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let named = self.headers.iter().filter(|(other, _)| normal(other) == normal(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// Reads the next message of a connection, or returns `None` if the peer has closed it.
pub fn read(stream: impl Read) -> std::io::Result<Option<Message>> {
    let mut stream = BufReader::new(stream);
    let first_line = line(&mut stream)?;
    if first_line.is_empty() {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let line = line(&mut stream)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut message = Message { first_line, headers, body: Vec::new(), trailers: Vec::new() };
    if message.all("transfer-encoding") == ["chunked"] {
        loop {
            let size = usize::from_str_radix(&line(&mut stream)?, 16).map_err(std::io::Error::other)?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk)?;
            message.body.extend(chunk);
            line(&mut stream)?;
        }
        loop {
            let line = line(&mut stream)?;
            if line.is_empty() {
                break;
            }
            message.trailers.push(line);
        }
    } else if let [length] = message.all("content-length")[..] {
        message.body = vec![0; length.parse().map_err(std::io::Error::other)?];
        stream.read_exact(&mut message.body)?;
    }
    Ok(Some(message))
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Sends a request with these lines and this body, and returns the response.
pub fn exchange(to: SocketAddr, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> Message {
    let (_, response) = begin(to, request_line, headers, body);
    response
}

/// The same, and returns the connection too.
pub fn begin(to: SocketAddr, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> (TcpStream, Message) {
    let mut request = format!("{request_line} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    for (name, value) in headers {
        request.extend(format!("{name}: {value}\r\n").bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    let limit = Duration::from_secs(60);
    let mut stream = TcpStream::connect_timeout(&to, limit).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.set_write_timeout(Some(limit)).unwrap();
    stream.write_all(&request).unwrap();
    let response = read(&stream).unwrap_or_else(|error| panic!("{request_line} {headers:?}: {error}"));
    let response = response.unwrap_or_else(|| panic!("{request_line} {headers:?}: no response"));
    (stream, response)
}
