//! The HTTP client under OTLP: reqwest's blocking one, which also reads what a collector says of spans that it refused.
//!
//! A collector may answer 200 and say in the body that it took only some. `opentelemetry-otlp` logs that and forgets
//! it; here it is counted.

use crate::export::Refused;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A client, and who hears of refusals.
#[derive(Debug)]
pub(crate) struct Client {
    inner: reqwest::blocking::Client,
    refused: Refused,
}

impl Client {
    /// Made on a thread of its own: the blocking client can't be made on a worker of tokio's.
    pub(crate) fn new(timeout: Duration, refused: Refused) -> Result<Self, HttpError> {
        let build = move || reqwest::blocking::Client::builder().timeout(timeout).build();
        let thread = std::thread::Builder::new().spawn(build)?;
        let inner = thread.join().map_err(|_| "the thread that makes the HTTP client panicked")??;
        Ok(Self { inner, refused })
    }
}

impl HttpClient for Client {
    fn send_bytes<'client, 'answer>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'client: 'answer,
        Self: 'answer,
    {
        Box::pin(async move {
            let response = self.inner.send_bytes(request).await?;
            if response.status().is_success() {
                self.refused.add(rejected(response.body()));
            }
            Ok(response)
        })
    }
}

/// How many spans a collector's answer says it did not take. An answer that can't be read says nothing.
fn rejected(body: &Bytes) -> u64 {
    let answer = ExportTraceServiceResponse::decode(body.clone()).ok();
    let rejected =
        answer.and_then(|answer| answer.partial_success).map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or(0)
}
