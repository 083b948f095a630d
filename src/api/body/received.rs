//! Received: a body that has arrived. It is read whole before anything looks at the request, whatever the answer will
//! be: a connection that is closed with data unread is reset, and the client would lose the answer that says why.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use poem::{Body, Request, RequestBody};

use super::Problem;

pub const MAX_BYTES: usize = 64 * 1024;

/// How much of an over-long body is read and thrown away before the connection is given up.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// Marks a request whose body was over the limit and is not kept.
#[derive(Clone, Copy)]
struct TooLarge;

/// Replaces the body by what arrived of it, at most [`MAX_BYTES`]. The bytes themselves are counted: a chunked body
/// declares no length.
pub async fn receive(request: &mut Request) -> Result<(), Problem> {
    let body = request.take_body();
    if body.is_empty() {
        return Ok(());
    }
    let mut bytes = BytesMut::new();
    let mut length = 0;
    let mut chunks = pin!(body.into_bytes_stream());
    let cut_off = |error: std::io::Error| {
        Problem::bad_request("The body ended before its time; send it whole.").because(error.to_string())
    };
    while let Some(chunk) = chunks.try_next().await.map_err(cut_off)? {
        length += chunk.len();
        if length <= MAX_BYTES {
            bytes.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    if length > MAX_BYTES {
        request.extensions_mut().insert(TooLarge);
    } else {
        request.set_body(Body::from_bytes(bytes.freeze()));
    }
    Ok(())
}

pub async fn whole(request: &Request, body: &mut RequestBody) -> Result<Bytes, Problem> {
    if request.extensions().get::<TooLarge>().is_some() {
        return Err(Problem::too_large());
    }
    let unreadable = |error: poem::error::ReadBodyError| Problem::internal(error.to_string());
    body.take().map_err(unreadable)?.into_bytes().await.map_err(unreadable)
}
