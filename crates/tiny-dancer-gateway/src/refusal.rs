//! What the gateway answers itself, in the form of the interface, so that clients' libraries read it.

use crate::body::{BodyError, quoted};
use crate::config::Provider;
use crate::metrics::{CallResult, RequestResult};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tiny_dancer_memory::RecordError;

/// Why a request gets no answer of a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("the body was not received: {source}")]
    BodyBroken { source: axum::Error },
    #[error("the body was not received within {limit:?}")]
    BodySlow { limit: Duration },
    #[error("the body has more than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("this client has {limit} open requests, which is its limit")]
    ClientBusy { limit: usize },
    #[error("the id is not one that this client got")]
    Id,
    #[error("this gateway has the interface of {provider}: POST {path}", provider = provider.name(), path = path(*.provider))]
    Interface { provider: Provider },
    #[error("a valid key is required, as a bearer token or in x-api-key")]
    Key,
    #[error("the memory cannot be read: {source}")]
    Memory { source: RecordError },
    #[error("the gateway is at its limit of open and waiting requests")]
    Overloaded,
    #[error("the score is {score}, expected 0 to 1")]
    Score { score: f32 },
    #[error("there is nothing at this path and method")]
    Unknown,
    #[error("the model {model} is not called for another {:.1} s, since it failed or asked for that", wait.as_secs_f64())]
    Unavailable { model: String, wait: Duration },
    #[error("the model {model} gave no answer ({})", result.name())]
    Upstream { model: String, result: CallResult },
}

/// The path of the routed requests of an interface.
pub(crate) const fn path(provider: Provider) -> &'static str {
    match provider {
        Provider::Anthropic => "/v1/messages",
        Provider::Openai => "/v1/chat/completions",
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(_) | Self::BodyBroken { .. } | Self::Score { .. } => StatusCode::BAD_REQUEST,
            Self::BodySlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientBusy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Id | Self::Interface { .. } | Self::Unknown => StatusCode::NOT_FOUND,
            Self::Key => StatusCode::UNAUTHORIZED,
            Self::Memory { .. } | Self::Overloaded | Self::Unavailable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Upstream { result: CallResult::Timeout, .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// The name of the kind, in the words of both interfaces.
    fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "api_error",
        }
    }

    pub(crate) fn result(&self) -> RequestResult {
        match self {
            Self::Upstream { .. } => RequestResult::Failed,
            // The client hung up before it had sent its body.
            Self::BodyBroken { .. } => RequestResult::Cancelled,
            _ => RequestResult::Refused,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::ClientBusy { .. } | Self::Overloaded => Some(1),
            Self::Unavailable { wait, .. } => Some(wait.as_secs() + 1),
            _ => None,
        }
    }

    pub(crate) fn answer(&self, provider: Provider) -> Response {
        let (kind, message) = (quoted(self.kind()), quoted(&self.to_string()));
        let body = match provider {
            Provider::Anthropic => {
                format!(r#"{{"type":"error","error":{{"type":{kind},"message":{message}}}}}"#)
            }
            Provider::Openai => {
                format!(
                    r#"{{"error":{{"message":{message},"type":{kind},"param":null,"code":"tiny_dancer"}}}}"#
                )
            }
        };
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
