//! Received: a body that has arrived. It is read whole before anything looks at the request, whatever the answer will
//! be: a connection that is closed with data unread is reset, and the client would lose the answer that says why.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use poem::Request;

use super::Problem;

pub const MAX_BYTES: usize = 64 * 1024;

/// How much of an over-long body is read and thrown away before the connection is given up.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// What arrived of a body: the request carries it from the boundary to whoever reads it.
#[derive(Clone)]
enum Received {
    Whole(Bytes),
    TooLarge,
}

/// Takes the body off the wire. The bytes themselves are counted: a chunked body declares no length.
pub async fn receive(request: &mut Request) -> Result<(), Problem> {
    let body = request.take_body();
    if body.is_empty() {
        return Ok(());
    }
    let mut chunks = pin!(body.into_bytes_stream());
    let cut_off = |error: std::io::Error| {
        Problem::bad_request("The body ended before its time; send it whole.").because(error.to_string())
    };
    let mut next = async || chunks.try_next().await.map_err(cut_off);
    let first = next().await?.unwrap_or_default();
    let mut length = first.len();
    let mut rest = BytesMut::new();
    while let Some(chunk) = next().await? {
        length += chunk.len();
        if length <= MAX_BYTES {
            rest.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    let received = match rest.is_empty() {
        _ if length > MAX_BYTES => Received::TooLarge,
        // Most bodies are one chunk, which is kept as it came.
        true => Received::Whole(first),
        false => Received::Whole([first, rest.freeze()].concat().into()),
    };
    request.extensions_mut().insert(received);
    Ok(())
}

/// The body, which is empty when there was none.
pub fn whole(request: &Request) -> Result<Bytes, Problem> {
    match request.extensions().get() {
        Some(Received::Whole(bytes)) => Ok(bytes.clone()),
        Some(Received::TooLarge) => Err(Problem::too_large()),
        None => Ok(Bytes::new()),
    }
}
