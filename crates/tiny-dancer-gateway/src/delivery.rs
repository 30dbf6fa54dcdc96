//! The body of an answer, on its way from a model to the client: each chunk as it comes.

use crate::gateway::Visit;
use crate::metrics::{CallResult, RequestResult};
use crate::sse::Events;
use crate::upstream::{Answer, Attempt, Upstream};
use crate::usage::Usage;
use axum::body::Bytes;
use axum::http::header;
use hyper::body::{Body, Frame};
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The bytes of an answer that is not streamed which are kept to read its tokens.
const KEPT: usize = 4 << 20;

/// The rest of an answer. Dropped before its end, it closes the connection to the model.
#[derive(Debug)]
pub(crate) struct Delivery {
    body: reqwest::Body,
    first: Option<Bytes>,
    reading: Reading,
    usage: Usage,
    idle: Pin<Box<Sleep>>,
    idle_for: Duration,
    /// What the status says.
    result: CallResult,
    attempt: Attempt,
    visit: Visit,
    upstream: Arc<Upstream>,
    /// Whether the end is still to come.
    is_open: bool,
    /// The bytes that are still to come, where the model says how many there are.
    left: Option<u64>,
}

/// How the answer is read beside its delivery.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Events, of which the one with the requested tokens is taken out if so.
    Events { events: Events, take_usage: bool },
    /// A whole answer, as far as it is kept.
    Whole(Vec<u8>),
    /// Nothing is read.
    Nothing,
}

impl Reading {
    /// How the beginning of an answer says that it can be read.
    pub(crate) fn of(answer: &Answer, take_usage: bool) -> Self {
        let kind = answer.response.headers().get(header::CONTENT_TYPE);
        let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        match (answer.result(), is_events) {
            (CallResult::Success, true) => Self::Events { events: Events::default(), take_usage },
            (CallResult::Success, false) => Self::Whole(Vec::new()),
            _ => Self::Nothing,
        }
    }
}

/// An error that ends the answer where it is: the client sees that it broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("the model's answer broke off: {0}")]
    Broken(#[from] reqwest::Error),
    #[error("the model sent nothing for {0:?}")]
    Idle(Duration),
}

impl Delivery {
    pub(crate) fn new(
        answer: Answer,
        reading: Reading,
        idle_for: Duration,
        visit: Visit,
        upstream: Arc<Upstream>,
    ) -> Self {
        let result = answer.result();
        let length = answer.response.headers().get(header::CONTENT_LENGTH);
        let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            first: answer.first,
            reading,
            usage: if visit.is_compared() { Usage::with_text() } else { Usage::default() },
            idle: Box::pin(tokio::time::sleep(idle_for)),
            idle_for,
            result,
            attempt: answer.attempt,
            visit,
            upstream,
            is_open: true,
            left,
            body: answer.response.into_body(),
        }
    }

    /// What the client gets of a chunk.
    fn read(&mut self, chunk: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(chunk.len() as u64);
        }
        let usage = &mut self.usage;
        match &mut self.reading {
            Reading::Events { events, take_usage } => {
                let (take, mut out) = (*take_usage, Vec::new());
                events.split(&chunk, &mut out, |data| !(usage.event(data) && take));
                if take { out.into() } else { chunk }
            }
            Reading::Whole(kept) => {
                if kept.len() + chunk.len() <= KEPT {
                    kept.extend_from_slice(&chunk);
                }
                chunk
            }
            Reading::Nothing => chunk,
        }
    }

    /// The bytes that were held back when the answer ended.
    fn rest(&mut self) -> Bytes {
        match &mut self.reading {
            Reading::Events { events, take_usage: true } => events.take_pending().into(),
            _ => Bytes::new(),
        }
    }

    fn end(&mut self, result: CallResult) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let mut result = result;
        match &self.reading {
            Reading::Whole(kept) => self.usage.whole(kept),
            // The connection ended properly, and the stream did not.
            Reading::Events { .. } if result == CallResult::Success => {
                if self.usage.has_error {
                    result = CallResult::ServerError;
                } else if !self.usage.is_complete {
                    result = CallResult::Broken;
                }
            }
            _ => {}
        }
        self.attempt.end(result, Some(&self.usage));
        if let Some(tokens) = self.usage.tokens {
            self.visit.count_baseline(&self.attempt, tokens);
        }
        if result == CallResult::Success {
            self.visit.delivered(&self.upstream.config.model, self.usage.tokens, self.usage.text.take());
        } else {
            self.visit.broke_off();
        }
        self.upstream.settle(result, None);
        self.visit.end(match result {
            CallResult::Success => RequestResult::Answered,
            CallResult::Cancelled => RequestResult::Cancelled,
            _ => RequestResult::Failed,
        });
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = DeliveryError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DeliveryError>>> {
        let this = &mut *self;
        if !this.is_open {
            return Poll::Ready(None);
        }
        loop {
            let chunk = match this.first.take() {
                Some(first) => first,
                None => match Pin::new(&mut this.body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let Ok(data) = frame.into_data() else { continue };
                        this.idle.as_mut().reset(Instant::now() + this.idle_for);
                        data
                    }
                    Poll::Ready(Some(Err(error))) => {
                        this.end(CallResult::Broken);
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    Poll::Ready(None) => {
                        let rest = this.rest();
                        this.end(this.result);
                        return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))));
                    }
                    Poll::Pending => {
                        ready!(this.idle.as_mut().poll(context));
                        this.end(CallResult::Timeout);
                        return Poll::Ready(Some(Err(DeliveryError::Idle(this.idle_for))));
                    }
                },
            };
            let out = this.read(chunk);
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // A server does not ask for the end of a body whose length it knows.
        self.end(if self.left == Some(0) { self.result } else { CallResult::Cancelled });
    }
}
