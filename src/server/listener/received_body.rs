//! ReceivedBody: the body of a request, as the connection receives it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::Error;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::server::listener::activity::Activity;

/// Notes on the connection if it is dropped before its end. HTTP/1 can then have no further request; HTTP/2 resets only the
/// stream.
pub struct ReceivedBody {
    incoming: Incoming,
    ended: bool,
    activity: Arc<Activity>,
}

impl ReceivedBody {
    pub fn new(incoming: Incoming, activity: Arc<Activity>) -> Self {
        Self { incoming, ended: false, activity }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        self.ended |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        // A body that has arrived with its head is in one chunk.
        if !self.is_end_stream() {
            let _discarded = self.frame().now_or_never();
        }
        if !self.is_end_stream() {
            self.activity.body_left_unread();
        }
    }
}
