//! BodyReader: reads the body of a request. An operation reads it after it has authenticated the caller, so that no
//! client without a credential makes the server hold a body. The exception are short forms that hold the credential
//! themselves, as OAuth allows: they have a budget of their own, so that they take nothing from authenticated callers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::StatusCode;
use poem::{Body, Request, RequestBody};
use tokio::time::{Instant, timeout_at};

use crate::http::memory_budget::{MemoryBudget, Reservation};
use crate::http::problem::Problem;

pub const MAX_BYTES: usize = 64 * 1024;

/// The maximum of a form that is read before its client is authenticated.
pub const MAX_UNAUTHENTICATED_BYTES: usize = 16 * 1024;

/// How long a body may take to arrive, and how much memory all those that have arrived in part may take together.
#[derive(Clone)]
pub struct BodyLimits {
    pub timeout: Duration,
    pub memory: Arc<MemoryBudget>,
    /// For forms that are read before their client is authenticated.
    pub unauthenticated_memory: Arc<MemoryBudget>,
}

pub struct BodyReader<'a> {
    body: Body,
    timeout: Duration,
    sender: Sender,
    memory: &'a MemoryBudget,
}

/// Who sends a body.
#[derive(Clone, Copy)]
enum Sender {
    Authenticated,
    Unauthenticated,
}

impl Sender {
    const fn max_bytes(self) -> usize {
        match self {
            Self::Authenticated => MAX_BYTES,
            Self::Unauthenticated => MAX_UNAUTHENTICATED_BYTES,
        }
    }

    /// `received` is the number of bytes that arrived or were declared, before the rest was refused.
    fn too_large(self, received: u64) -> Problem {
        match self {
            Self::Authenticated => Problem::body_too_large(received),
            Self::Unauthenticated => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "Send a form of at most {} KiB; this one has {received} bytes or more. An introspection may have 64 KiB if \
                     its credential is in the Authorization header.",
                    MAX_UNAUTHENTICATED_BYTES / 1024
                ),
            ),
        }
    }

    fn memory_exhausted(self, limit: usize) -> Problem {
        let detail = match self {
            Self::Authenticated => format!(
                "Bodies that have arrived in part fill the memory that they may take, {limit} bytes, half of \
                 --request-memory (MINTKEY_REQUEST_MEMORY); send the body without pauses, or retry later."
            ),
            Self::Unauthenticated => format!(
                "Forms of unauthenticated clients that have arrived in part fill the memory that they may take, {limit} \
                 bytes, a sixteenth of --request-memory (MINTKEY_REQUEST_MEMORY); send the form without pauses, or retry \
                 later."
            ),
        };
        Problem::unavailable(detail, 1)
    }
}

impl<'a> BodyReader<'a> {
    pub fn new(body: Body, limits: &'a BodyLimits) -> Self {
        Self { body, timeout: limits.timeout, sender: Sender::Authenticated, memory: &limits.memory }
    }

    /// For an extractor, to which poem passes the body beside the request.
    pub fn of(request: &'a Request, body: &mut RequestBody) -> Result<Self, Problem> {
        let (body, limits) = take(request, body)?;
        Ok(Self::new(body, limits))
    }

    /// The same for a form that is read before its client is authenticated.
    pub fn of_unauthenticated(request: &'a Request, body: &mut RequestBody) -> Result<Self, Problem> {
        let (body, limits) = take(request, body)?;
        let (timeout, memory) = (limits.timeout, &*limits.unauthenticated_memory);
        Ok(Self { body, timeout, sender: Sender::Unauthenticated, memory })
    }

    /// Reads the whole body. Counts the bytes themselves, because a chunked body declares no length.
    pub async fn read(self) -> Result<Bytes, Problem> {
        let Self { body, timeout, sender, memory } = self;
        let mut chunks = Chunks { body: body.into(), within: timeout, deadline: None };
        if chunks.body.size_hint().lower() > sender.max_bytes() as u64 {
            return Err(sender.too_large(chunks.body.size_hint().lower()));
        }
        let first = chunks.next().await?.unwrap_or_default();
        match chunks.body.is_end_stream() {
            // Most bodies are one chunk, which needs no copy.
            true if first.len() <= sender.max_bytes() => Ok(first),
            _ => chunks.append_to(&first, sender, memory).await,
        }
    }
}

fn take<'a>(request: &'a Request, body: &mut RequestBody) -> Result<(Body, &'a BodyLimits), Problem> {
    let limits = request.extensions().get().ok_or_else(|| Problem::internal("the request has no body limits"))?;
    let body = body.take().map_err(|error| Problem::internal(error.to_string()))?;
    Ok((body, limits))
}

/// The chunks of a body. The deadline starts with the first chunk that is not available at once: most bodies arrive with
/// their head, and for them a timer would cost more than reading.
struct Chunks {
    body: BoxBody<Bytes, io::Error>,
    within: Duration,
    deadline: Option<Instant>,
}

impl Chunks {
    async fn append_to(&mut self, first: &[u8], sender: Sender, memory: &MemoryBudget) -> Result<Bytes, Problem> {
        let mut held = memory.reservation();
        let mut whole = BytesMut::new();
        append(&mut whole, first, sender, &mut held)?;
        while let Some(chunk) = self.next().await? {
            append(&mut whole, &chunk, sender, &mut held)?;
        }
        Ok(whole.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let arrived = match self.body.frame().now_or_never() {
                Some(arrived) => arrived,
                None => {
                    let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.within);
                    timeout_at(deadline, self.body.frame())
                        .await
                        .map_err(|_elapsed| Problem::body_timeout(self.within))?
                }
            };
            let Some(frame) = arrived.transpose().map_err(incomplete)? else { return Ok(None) };
            if let Ok(chunk) = frame.into_data() {
                return Ok(Some(chunk));
            }
        }
    }
}

fn append(whole: &mut BytesMut, chunk: &[u8], sender: Sender, held: &mut Reservation<'_>) -> Result<(), Problem> {
    if whole.len() + chunk.len() > sender.max_bytes() {
        return Err(sender.too_large((whole.len() + chunk.len()) as u64));
    }
    held.grow(chunk.len()).map_err(|exhausted| sender.memory_exhausted(exhausted.limit))?;
    whole.extend_from_slice(chunk);
    Ok(())
}

/// The body ended before its declared end. The client does not see the reason.
fn incomplete(error: io::Error) -> Problem {
    Problem::bad_request("The body ended early; send it completely.").with_log_context(error.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn limits(memory: usize) -> BodyLimits {
        let (timeout, budget) = (Duration::from_millis(20), || MemoryBudget::of(memory).into());
        BodyLimits { timeout, memory: budget(), unauthenticated_memory: budget() }
    }

    /// A body of these chunks, which ends only if it is complete.
    fn body(chunks: &[usize], complete: bool) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|size| Ok::<_, io::Error>(Bytes::from(vec![b'x'; *size]))).collect();
        match complete {
            true => Body::from_bytes_stream(stream::iter(chunks)),
            false => Body::from_bytes_stream(futures_util::StreamExt::chain(stream::iter(chunks), stream::pending())),
        }
    }

    async fn read(chunks: &[usize], complete: bool, limits: &BodyLimits) -> Result<usize, u16> {
        let read = BodyReader::new(body(chunks, complete), limits).read().await;
        read.map(|bytes| bytes.len()).map_err(|problem| problem.status.as_u16())
    }

    #[tokio::test]
    async fn read_joins_chunks_up_to_the_limit() {
        let limits = limits(MAX_BYTES);
        for (chunks, expected) in [
            (&[][..], Ok(0)),
            (&[5], Ok(5)),
            (&[5, 0, 6], Ok(11)),
            (&[MAX_BYTES], Ok(MAX_BYTES)),
            (&[1, MAX_BYTES - 1], Ok(MAX_BYTES)),
            (&[MAX_BYTES + 1], Err(413)),
            (&[MAX_BYTES, 1], Err(413)),
        ] {
            assert_eq!(read(chunks, true, &limits).await, expected, "{chunks:?}");
            assert_eq!(limits.memory.used(), 0, "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn read_gives_up_a_body_that_does_not_end() {
        assert_eq!(read(&[5, 6], false, &limits(MAX_BYTES)).await, Err(408));
    }

    #[tokio::test]
    async fn read_is_refused_when_partial_bodies_fill_their_memory() {
        let limits = limits(1000);
        let held = body(&[600, 300], false);
        let mut waiting = Box::pin(BodyReader::new(held, &limits).read());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(limits.memory.used(), 900);
        assert_eq!(read(&[90, 10], true, &limits).await, Ok(100));
        assert_eq!(read(&[90, 11], true, &limits).await, Err(503));
        drop(waiting);
        assert_eq!(read(&[90, 11], true, &limits).await, Ok(101));
    }
}
