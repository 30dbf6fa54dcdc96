//! W3C trace context: the headers that carry a trace from one service to the next.

use http::{HeaderMap, HeaderValue};
use opentelemetry::context::FutureExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, ContextGuard};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// A position in a trace: the trace, a span in it, and whether the trace is recorded.
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
///     // Requests routed here and spans opened here are part of the caller's trace.
///     let here = TraceContext::from_current().expect("it was attached");
///     assert_eq!(here.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// }
/// # Ok::<(), tiny_dancer_tracing::TraceContextError>(())
/// ```
///
/// A request whose headers contain no valid context begins a new trace, as the standard requires:
/// `let _parent = TraceContext::from_headers(headers).ok().map(|caller| caller.attach());`
///
/// A context is plain data: send it to another thread, a rayon pool or a task, and attach it there. A future
/// runs [within](Self::within) it on each thread that polls the future.
///
/// It follows [W3C Trace Context, level 2](https://www.w3.org/TR/trace-context-2/) strictly.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext {
    /// Contains only those members of the `tracestate` that OpenTelemetry's own type accepts. It refuses keys
    /// with more than one `@`, or with more than 13 characters after it.
    context: SpanContext,
    /// All members of the `tracestate`.
    tracestate: Arc<str>,
}

/// The header that holds the trace, the span and the flags.
const TRACEPARENT: &str = "traceparent";
/// The header in which each vendor keeps its own data.
const TRACESTATE: &str = "tracestate";

/// The flag of a trace whose id is random, so that other services may sample by it.
const RANDOM: TraceFlags = TraceFlags::new(0x02);

impl TraceContext {
    /// Reads the context from a request's headers, as pairs of name and value. The names may have any case.
    ///
    /// A malformed `tracestate` is left out and the trace continues, as the standard says.
    /// [`with_tracestate`](Self::with_tracestate) returns its error.
    ///
    /// # Errors
    ///
    /// A [`TraceContextError`] says what is wrong with the `traceparent`, or that there is none or more than one.
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
                states.push(value.as_ref().to_owned());
            }
        }
        let parent = parent.ok_or(TraceContextError::Missing)?;
        // Some servers leave white space around a header's value.
        let context: Self = parent.as_ref().trim_matches(WHITE).parse()?;
        Ok(match context.clone().with_tracestate(&states.join(",")) {
            Ok(with_state) => with_state,
            Err(_) => context,
        })
    }

    /// Reads the context from the headers of the `http` crate, which axum, hyper and reqwest share.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    /// use tiny_dancer_tracing::TraceContext;
    ///
    /// let mut incoming = HeaderMap::new();
    /// let parent = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    /// incoming.insert("traceparent", parent);
    /// let caller = TraceContext::extract(&incoming)?;
    ///
    /// let mut outgoing = HeaderMap::new();
    /// caller.inject(&mut outgoing);
    /// assert_eq!(outgoing, incoming);
    /// # Ok::<(), tiny_dancer_tracing::TraceContextError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_headers`](Self::from_headers).
    pub fn extract(headers: &HeaderMap) -> Result<Self, TraceContextError> {
        // A value that is not text is malformed: it is refused, not ignored.
        let pair =
            |(name, value): (_, &HeaderValue)| (name, String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self::from_headers(headers.iter().map(pair))
    }

    /// Writes the headers for the next service, and replaces existing ones.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.remove(TRACESTATE);
        for (name, value) in self.to_headers() {
            // The value was read from a header or consists of digits, so it is always valid.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    /// The same position in the trace with another `tracestate`, which may be empty.
    ///
    /// # Errors
    ///
    /// A [`TraceStateError`] names the first member that breaks the standard's grammar, or says that there are too many.
    pub fn with_tracestate(self, tracestate: &str) -> Result<Self, TraceStateError> {
        let members = parse_state(tracestate)?;
        let taken = members.iter().copied().filter(|&member| TraceState::from_key_value([member]).is_ok());
        // Each member was accepted by itself, and their number is within the standard's limit.
        let state = TraceState::from_key_value(taken).unwrap_or_default();
        let whole: Vec<_> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let context = with_state(&self.context, self.context.trace_flags(), state);
        Ok(Self { context, tracestate: whole.join(",").into() })
    }

    /// The current context: that of the innermost span, or the attached one. `None` outside a trace.
    pub fn from_current() -> Option<Self> {
        Context::map_current(Self::of)
    }

    /// The innermost span of this context. OpenTelemetry's spans lose the random flag below an unsampled
    /// span, and some members of the `tracestate`. Within the caller's trace, both are taken from the
    /// caller's context.
    fn of(context: &Context) -> Option<Self> {
        let span = context.span();
        let here = span.span_context();
        if !here.is_valid() {
            return None;
        }
        let caller = context.get::<Self>().filter(|caller| {
            let caller = &caller.context;
            caller.trace_id() == here.trace_id() && caller.trace_state() == here.trace_state()
        });
        Some(match caller {
            Some(Self { context: caller, tracestate }) => {
                let flags = here.trace_flags() | (caller.trace_flags() & RANDOM);
                let context = with_state(here, flags, here.trace_state().clone());
                Self { context, tracestate: Arc::clone(tracestate) }
            }
            None => Self { context: here.clone(), tracestate: here.trace_state().header().into() },
        })
    }

    /// A context in which this is the parent of new spans.
    fn below(&self, context: &Context) -> Context {
        let context = context.with_remote_span_context(self.context.clone());
        let flags = self.context.trace_flags();
        if flags & RANDOM == RANDOM || *self.tracestate != self.context.trace_state().header() {
            return context.with_value(self.clone());
        }
        context
    }

    /// The headers for the next service: `traceparent`, and `tracestate` unless it is empty.
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        let (trace_id, span_id) = (self.context.trace_id(), self.context.span_id());
        let flags = self.context.trace_flags() & (TraceFlags::SAMPLED | RANDOM);
        let mut headers = vec![(TRACEPARENT, format!("00-{trace_id}-{span_id}-{flags:02x}"))];
        if !self.tracestate.is_empty() {
            headers.push((TRACESTATE, self.tracestate()));
        }
        headers
    }

    /// Makes this the parent of requests and spans that begin on this thread while the guard lives.
    ///
    /// The guard can't be held across an `.await`: use [`within`](Self::within) there, or open a span while the guard
    /// lives, and instrument the future with it.
    pub fn attach(&self) -> Guard {
        Guard { _attached: self.below(&Context::current()).attach() }
    }

    /// Runs a future with this as the parent of requests and spans that begin in it, on each thread that
    /// polls it.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.with_context(self.below(&Context::current()))
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        self.context.trace_id().to_string()
    }

    /// The span's id, 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        self.context.span_id().to_string()
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.context.is_sampled()
    }

    /// The value of the header `tracestate`; empty without vendors' data.
    pub fn tracestate(&self) -> String {
        self.tracestate.to_string()
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    /// Reads the value of a `traceparent` header.
    ///
    /// # Errors
    ///
    /// A [`TraceContextError`] says what is wrong with it.
    fn from_str(traceparent: &str) -> Result<Self, TraceContextError> {
        let (trace_id, span_id, flags) = parse(traceparent)?;
        let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
        Ok(Self { context, tracestate: Arc::default() })
    }
}

/// The same position in the trace, with these flags and this state.
fn with_state(context: &SpanContext, flags: TraceFlags, state: TraceState) -> SpanContext {
    SpanContext::new(context.trace_id(), context.span_id(), flags, context.is_remote(), state)
}

/// The global propagator, which reads and writes headers as [`TraceContext`] does.
#[derive(Debug)]
pub(crate) struct Propagator;

impl TextMapPropagator for Propagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        for (name, value) in TraceContext::of(context).iter().flat_map(TraceContext::to_headers) {
            injector.set(name, value);
        }
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let all = |name: &'static str| {
            let values = extractor.get_all(name).unwrap_or_default();
            values.into_iter().map(move |value| (name, value))
        };
        match TraceContext::from_headers(all(TRACEPARENT).chain(all(TRACESTATE))) {
            Ok(caller) => caller.below(context),
            Err(_) => context.clone(),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: LazyLock<[String; 2]> = LazyLock::new(|| [TRACEPARENT, TRACESTATE].map(str::to_owned));
        FieldIter::new(&*FIELDS)
    }
}

/// While it lives, a [`TraceContext`] is the parent of requests and spans that begin on its thread.
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
    /// The length or the dashes differ from those of a `traceparent`.
    #[error("traceparent: expected version-trace-parent-flags in {expected} characters, got {actual}")]
    Form {
        /// The length of version 00.
        expected: usize,
        /// The length of the value.
        actual: usize,
    },
    /// There is no such header.
    #[error("there is no traceparent header")]
    Missing,
    /// There is more than one such header, so none is used.
    #[error("there is more than one traceparent header")]
    Repeated,
    /// Not 16 lower-case hexadecimal digits, or all of them zero.
    #[error("traceparent: the parent's id is not 16 lower-case hexadecimal digits, or is zero")]
    SpanId,
    /// Not 32 lower-case hexadecimal digits, or all of them zero.
    #[error("traceparent: the trace's id is not 32 lower-case hexadecimal digits, or is zero")]
    TraceId,
    /// Not two lower-case hexadecimal digits, or `ff`, which is invalid.
    #[error("traceparent: the version is not two lower-case hexadecimal digits, or is ff")]
    Version,
}

/// Why a `tracestate` is malformed. The trace continues without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceStateError {
    /// A member without an equals sign.
    #[error("tracestate: member {member} has no equals sign")]
    Form {
        /// Its index, from 0.
        member: usize,
    },
    /// A key with an invalid character, first character or length.
    #[error("tracestate: the key of member {member} is invalid")]
    Key {
        /// Its index, from 0.
        member: usize,
    },
    /// Too many members.
    #[error("tracestate: {actual} members, expected at most {expected}")]
    Members {
        /// The largest allowed number.
        expected: usize,
        /// The actual number.
        actual: usize,
    },
    /// A value that is empty, too long or contains an invalid character.
    #[error("tracestate: the value of member {member} is invalid")]
    Value {
        /// Its index, from 0.
        member: usize,
    },
}

/// The white space that may surround a header's value and a member of a list.
const WHITE: &[char] = &[' ', '\t'];

/// The most members of a `tracestate`.
const MEMBERS: usize = 32;

/// The members of a `tracestate`, as key and value.
fn parse_state(text: &str) -> Result<Vec<(&str, &str)>, TraceStateError> {
    let members =
        || text.split(',').map(|member| member.trim_matches(WHITE)).filter(|member| !member.is_empty());
    let actual = members().count();
    if actual > MEMBERS {
        return Err(TraceStateError::Members { expected: MEMBERS, actual });
    }
    let mut pairs = Vec::with_capacity(actual);
    for (member, text) in members().enumerate() {
        let (key, value) = text.split_once('=').ok_or(TraceStateError::Form { member })?;
        if !is_state_key(key) {
            return Err(TraceStateError::Key { member });
        }
        // Printable ASCII, except the two separators.
        let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=';
        if !(1..=256).contains(&value.len()) || !value.bytes().all(fits) {
            return Err(TraceStateError::Value { member });
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// A lower-case letter or a digit, and up to 255 more characters. Level 1 of the standard allows at most one
/// `@`, and only between tenant and system.
fn is_state_key(key: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = |byte: u8| begins(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.bytes().next().is_some_and(begins) && key.bytes().all(fits)
}

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

fn parse(value: &str) -> Result<(TraceId, SpanId, TraceFlags), TraceContextError> {
    let form = TraceContextError::Form { expected: LENGTH, actual: value.len() };
    // Later versions keep these fields, and may add others after a dash.
    let (head, tail) = value.split_at_checked(LENGTH).ok_or(form)?;
    let mut fields = head.split('-');
    let (Some(version), Some(trace_id), Some(span_id), Some(flags), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(form);
    };
    let version = hex::<2>(version).filter(|version| *version != 0xff).ok_or(TraceContextError::Version)?;
    let trace_id = hex::<32>(trace_id).filter(|id| *id != 0).ok_or(TraceContextError::TraceId)?;
    let span_id = hex::<16>(span_id).filter(|id| *id != 0).ok_or(TraceContextError::SpanId)?;
    let flags = hex::<2>(flags).ok_or(TraceContextError::Flags)?;
    if !tail.is_empty() && (version == 0 || !tail.starts_with('-')) {
        return Err(form);
    }
    // Flags without a meaning are dropped.
    let flags = TraceFlags::new(flags as u8) & (TraceFlags::SAMPLED | RANDOM);
    Ok((TraceId::from(trace_id), SpanId::from(span_id as u64), flags))
}

/// Parses exactly `DIGITS` lower-case hexadecimal digits.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (text.len() == DIGITS && is_hex).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests;
