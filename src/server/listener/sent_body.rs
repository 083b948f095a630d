//! SentBody: the body of a response, while it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};

use crate::server::listener::activity::Activity;

pub struct SentBody {
    body: BoxBody<Bytes, io::Error>,
    _open: OpenRequest,
}

/// A request that has no response yet, or whose response is not sent.
pub struct OpenRequest(Arc<Activity>);

impl SentBody {
    pub fn new(body: BoxBody<Bytes, io::Error>, open: OpenRequest) -> Self {
        Self { body, _open: open }
    }
}

impl OpenRequest {
    pub fn new(activity: Arc<Activity>) -> Self {
        Self(activity)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
