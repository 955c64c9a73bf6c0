//! Response bodies of the demo apps: whole, or in chunks with trailers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::Value;

/// A body made of ready frames; with an exact length unless it was built from chunks.
pub(super) struct Content {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
}

/// A response of a demo app.
pub(super) type Reply = Response<Content>;

impl Content {
    /// A body sent with its length.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        let frames = if bytes.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([Frame::data(bytes)])
        };
        Self { frames, length }
    }

    /// A body sent chunk by chunk, then `trailers`.
    pub(super) fn chunks(chunks: impl IntoIterator<Item = Bytes>, trailers: HeaderMap) -> Self {
        let mut frames: VecDeque<_> = chunks.into_iter().map(Frame::data).collect();
        if !trailers.is_empty() {
            frames.push_back(Frame::trailers(trailers));
        }
        Self {
            frames,
            length: None,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A response of one content type.
pub(super) fn reply(status: u16, content_type: &'static str, content: Content) -> Reply {
    let mut reply = Response::new(content);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = reply.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    reply
}

/// A JSON response.
pub(super) fn json(status: u16, value: &Value) -> Reply {
    reply(
        status,
        "application/json",
        Content::whole(value.to_string()),
    )
}

/// Sets a header whose value the app made itself; one that cannot be sent is left out.
pub(super) fn set(reply: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}
