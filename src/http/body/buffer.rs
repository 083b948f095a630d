//! BufferedBody: a body that has arrived. It is read whole before anything looks at the request, whatever the answer will
//! be: a connection that is closed with data unread is reset, and the client would lose the answer that says why.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, TryStream, TryStreamExt};
use poem::Request;
use tokio::time::{Instant, timeout_at};

use crate::http::problem::Problem;

pub const MAX_BYTES: usize = 64 * 1024;

/// How much of an over-long body is read and thrown away before the connection is given up.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// What arrived of a body: the request carries it from the boundary to whoever reads it.
#[derive(Clone)]
pub enum BufferedBody {
    /// Empty when there was none.
    Whole(Bytes),
    TooLarge,
}

impl BufferedBody {
    pub fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or(Self::Whole(Bytes::new()))
    }

    pub fn into_bytes(self) -> Result<Bytes, Problem> {
        match self {
            Self::Whole(bytes) => Ok(bytes),
            Self::TooLarge => Err(Problem::body_too_large()),
        }
    }
}

/// Takes the body off the wire, within the time given. The bytes themselves are counted: a chunked body declares no
/// length.
pub async fn buffer_body(request: &mut Request, within: Duration) -> Result<BufferedBody, Problem> {
    let body = request.take_body();
    if body.is_empty() {
        return Ok(BufferedBody::Whole(Bytes::new()));
    }
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
        // Most bodies are one chunk, which is kept as it came.
        true => BufferedBody::Whole(first),
        false => BufferedBody::Whole([first, rest.freeze()].concat().into()),
    })
}

/// What comes of a body, until a deadline that is set by the first chunk that has to be waited for: most bodies have
/// arrived with their head, and a timer would cost them more than the reading.
struct Chunks<S> {
    stream: S,
    within: Duration,
    deadline: Option<Instant>,
}

impl<S: TryStream<Ok = Bytes, Error = std::io::Error> + Unpin> Chunks<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let arrived = match self.stream.try_next().now_or_never() {
            Some(arrived) => arrived,
            None => {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.within);
                timeout_at(deadline, self.stream.try_next()).await.map_err(|_elapsed| Problem::body_timeout())?
            }
        };
        arrived.map_err(|error| {
            Problem::bad_request("The body ended before its time; send it whole.").with_log_context(error.to_string())
        })
    }
}
