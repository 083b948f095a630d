//! BufferedBody: reads a body completely before the request is looked at, even if the response will be an error. Closing a
//! connection with unread data resets it, and the client would lose the response.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, TryStream, TryStreamExt};
use poem::{Body, Request};
use tokio::time::{Instant, timeout_at};

use crate::http::problem::Problem;

pub const MAX_BYTES: usize = 64 * 1024;

/// Maximum number of bytes of an oversized body that are read and discarded. Beyond it the connection is closed.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// The body of a request, as the pipeline hands it to the extractors.
#[derive(Clone)]
pub enum BufferedBody {
    /// Empty if the request has no body.
    Whole(Bytes),
    TooLarge,
    /// It did not arrive within the time allowed.
    TimedOut,
    /// It ended before its declared end. The text is the reason, for the log.
    Incomplete(String),
}

impl BufferedBody {
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or(Self::Whole(Bytes::new()))
    }

    /// Returns the bytes, or the error of a body that was not received. Only an operation that takes a body calls this, so
    /// only it returns these errors.
    pub fn into_bytes(self) -> Result<Bytes, Problem> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLarge => Err(Problem::body_too_large()),
            Self::TimedOut => Err(Problem::body_timeout()),
            Self::Incomplete(reason) => {
                Err(Problem::bad_request("The body ended early; send it completely.").with_log_context(reason))
            }
        }
    }
}

/// Reads the body within the given time. Counts the bytes themselves, because a chunked body declares no length.
pub async fn buffer_body(request: &mut Request, within: Duration) -> BufferedBody {
    let body = request.take_body();
    if body.is_empty() {
        return BufferedBody::Whole(Bytes::new());
    }
    read(body, within).await.unwrap_or_else(|failed| failed)
}

async fn read(body: Body, within: Duration) -> Result<BufferedBody, BufferedBody> {
    let mut chunks = Chunks { stream: pin!(body.into_bytes_stream()), within, deadline: None };
    let first = chunks.next().await?.unwrap_or_default();
    let mut length = first.len();
    let mut rest = BytesMut::new();
    while let Some(chunk) = chunks.next().await? {
        length += chunk.len();
        if length <= MAX_BYTES {
            rest.extend_from_slice(&chunk);
        } else if length > MAX_DISCARDED {
            break;
        }
    }
    Ok(match rest.is_empty() {
        _ if length > MAX_BYTES => BufferedBody::TooLarge,
        // Most bodies are one chunk, which needs no copy.
        true => BufferedBody::Whole(first),
        false => BufferedBody::Whole([first, rest.freeze()].concat().into()),
    })
}

/// The chunks of a body. The deadline starts with the first chunk that is not available at once: most bodies arrive with
/// their head, and for them a timer would cost more than reading.
struct Chunks<S> {
    stream: S,
    within: Duration,
    deadline: Option<Instant>,
}

impl<S: TryStream<Ok = Bytes, Error = std::io::Error> + Unpin> Chunks<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, BufferedBody> {
        let arrived = match self.stream.try_next().now_or_never() {
            Some(arrived) => arrived,
            None => {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.within);
                timeout_at(deadline, self.stream.try_next()).await.map_err(|_elapsed| BufferedBody::TimedOut)?
            }
        };
        arrived.map_err(|error| BufferedBody::Incomplete(error.to_string()))
    }
}
