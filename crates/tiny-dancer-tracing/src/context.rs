//! W3C trace context: the headers that carry a trace from one service to the next.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, ContextGuard};
use std::str::FromStr;

/// A place in a trace: which trace, which span of it, and whether it is recorded.
///
/// ```
/// use tiny_dancer_tracing::TraceContext;
///
/// let headers = [
///     ("Content-Type", "application/json"),
///     ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
///     ("Tracestate", "congo=t61rcWkgMzE"),
/// ];
/// let caller = TraceContext::from_headers(headers)?;
/// assert!(caller.is_sampled());
///
/// {
///     let _parent = caller.attach();
///     // What is routed here, and each span that begins here, is part of the caller's trace.
///     let here = TraceContext::from_current().expect("it was attached");
///     assert_eq!(here.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// }
/// # Ok::<(), tiny_dancer_tracing::TraceContextError>(())
/// ```
///
/// A request whose headers hold no context, or a broken one, begins a trace of its own, as the standard wants it:
/// `let _parent = TraceContext::from_headers(headers).ok().map(|caller| caller.attach());`
///
/// [W3C Trace Context](https://www.w3.org/TR/trace-context/), read strictly.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext(SpanContext);

/// The header that holds the trace, the span and the flags.
const TRACEPARENT: &str = "traceparent";
/// The header in which each vendor keeps notes of its own.
const TRACESTATE: &str = "tracestate";

impl TraceContext {
    /// Reads the context from a request's headers: any pairs of name and value, in any case.
    ///
    /// An `http::HeaderMap` gives them as
    /// `headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?)))`.
    ///
    /// A `tracestate` that can't be read is left out, as the standard says; it costs nobody the trace.
    pub fn from_headers<N: AsRef<str>, V: AsRef<str>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, TraceContextError> {
        let (mut parent, mut states) = (None, Vec::new());
        for (name, value) in headers {
            if name.as_ref().eq_ignore_ascii_case(TRACEPARENT) {
                if parent.replace(value).is_some() {
                    return Err(TraceContextError::Repeated);
                }
            } else if name.as_ref().eq_ignore_ascii_case(TRACESTATE) {
                states.push(value.as_ref().trim().to_owned());
            }
        }
        let parent = parent.ok_or(TraceContextError::Missing)?;
        let (trace_id, span_id, flags) = parse(parent.as_ref())?;
        states.retain(|state| !state.is_empty());
        let state = TraceState::from_str(&states.join(",")).unwrap_or_default();
        Ok(Self(SpanContext::new(trace_id, span_id, flags, true, state)))
    }

    /// The context in which the caller runs: that of the innermost span, or what was attached. `None` outside a trace.
    pub fn from_current() -> Option<Self> {
        Context::map_current(|current| {
            let span = current.span();
            Some(span.span_context()).filter(|context| context.is_valid()).cloned().map(Self)
        })
    }

    /// The headers for the next service: `traceparent`, and `tracestate` unless it is empty.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let flags = self.0.trace_flags() & TraceFlags::SAMPLED;
        let parent = format!("00-{}-{}-{:02x}", self.0.trace_id(), self.0.span_id(), flags);
        let mut headers = vec![(TRACEPARENT, parent)];
        let state = self.tracestate();
        if !state.is_empty() {
            headers.push((TRACESTATE, state));
        }
        headers
    }

    /// Makes this the parent of what begins on this thread while the guard lives.
    ///
    /// The guard can't be held across an `.await`. Where a request is handled asynchronously, open a span while the
    /// guard lives, and instrument the future with it.
    pub fn attach(&self) -> Guard {
        Guard { _attached: Context::current().with_remote_span_context(self.0.clone()).attach() }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        self.0.span_id().to_string()
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    /// The vendors' notes, as the header has them.
    pub fn tracestate(&self) -> String {
        self.0.trace_state().header()
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    /// Reads the value of a `traceparent` header.
    fn from_str(traceparent: &str) -> Result<Self, TraceContextError> {
        let (trace_id, span_id, flags) = parse(traceparent)?;
        Ok(Self(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)))
    }
}

/// While it lives, a [`TraceContext`] is the parent of what begins on its thread.
#[derive(Debug)]
#[must_use = "the context is the parent only while this lives"]
pub struct Guard {
    _attached: ContextGuard,
}

/// Why headers hold no usable trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Not two lower-case hexadecimal digits.
    #[error("traceparent: the flags are not two lower-case hexadecimal digits")]
    Flags,
    /// Not of the length of a `traceparent`, or not divided by dashes as one is.
    #[error("traceparent: expected version-trace-parent-flags in {expected} characters, got {actual}")]
    Form {
        /// The length of version 00.
        expected: usize,
        /// The length of what came.
        actual: usize,
    },
    /// There is no such header.
    #[error("there is no traceparent header")]
    Missing,
    /// Two such headers, so that neither is to be trusted.
    #[error("there is more than one traceparent header")]
    Repeated,
    /// Not 16 lower-case hexadecimal digits, or all of them zero.
    #[error("traceparent: the parent's id is not 16 lower-case hexadecimal digits, or is zero")]
    SpanId,
    /// Not 32 lower-case hexadecimal digits, or all of them zero.
    #[error("traceparent: the trace's id is not 32 lower-case hexadecimal digits, or is zero")]
    TraceId,
    /// Not two lower-case hexadecimal digits, or `ff`, which is no version.
    #[error("traceparent: the version is not two lower-case hexadecimal digits, or is ff")]
    Version,
}

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;

fn parse(value: &str) -> Result<(TraceId, SpanId, TraceFlags), TraceContextError> {
    let form = TraceContextError::Form { expected: LENGTH, actual: value.len() };
    // Later versions may add fields, behind a dash; what is here they keep.
    let (head, tail) = value.split_at_checked(LENGTH).ok_or(form)?;
    let mut fields = head.split('-');
    let (Some(version), Some(trace_id), Some(span_id), Some(flags), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(form);
    };
    let version = hex::<2>(version).filter(|version| *version != 0xff).ok_or(TraceContextError::Version)?;
    if !tail.is_empty() && (version == 0 || !tail.starts_with('-')) {
        return Err(form);
    }
    let trace_id = hex::<32>(trace_id).filter(|id| *id != 0).ok_or(TraceContextError::TraceId)?;
    let span_id = hex::<16>(span_id).filter(|id| *id != 0).ok_or(TraceContextError::SpanId)?;
    let flags = hex::<2>(flags).ok_or(TraceContextError::Flags)?;
    // Only the sampled flag has a meaning here, and flags without one are not passed on.
    let flags = TraceFlags::new(flags as u8) & TraceFlags::SAMPLED;
    Ok((TraceId::from(trace_id), SpanId::from(span_id as u64), flags))
}

/// So many lower-case hexadecimal digits, no sign and nothing else.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (text.len() == DIGITS && is_hex).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests;
