//! What is under way on a connection, so that one on which nothing is can be closed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(watch::Sender<Requests>);

#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    open: usize,
    /// Whether there was ever one.
    begun: bool,
}

/// One of them, as long as it lives: until the last of its answer is handed to hyper. A stream of a
/// peer is one.
#[derive(Debug)]
pub(crate) struct Request(UnderWay);

impl UnderWay {
    pub(crate) fn begin(&self) -> Request {
        self.0.send_modify(|requests| *requests = Requests { open: requests.open + 1, begun: true });
        Request(self.clone())
    }

    /// Returns when nothing has been under way for `first`, if there was never anything, or for `later`.
    pub(crate) async fn idle(&self, first: Duration, later: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let Requests { open, begun } = *changes.borrow_and_update();
            // The other end is here: there is always a next change to wait for.
            if open > 0 {
                let _ = changes.changed().await;
            } else if tokio::time::timeout(if begun { later } else { first }, changes.changed())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.open -= 1);
    }
}

/// The body of an answer, with which its request ends.
#[derive(Debug)]
pub(crate) struct Held {
    body: Body,
    _request: Request,
}

impl Held {
    pub(crate) const fn new(body: Body, request: Request) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
