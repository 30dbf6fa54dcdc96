//! The gateway: the state of all requests, and the way of one.

use crate::admission::{Admission, Place};
use crate::body::{Body, BodyError, Conversation, quoted};
use crate::comparison::{Comparison, Comparisons, Parts};
use crate::config::{ClientConfig, Config, ModelConfig, Provider};
use crate::conversation::{Conversations, Key};
use crate::decide::{self, Decider, Decision, Why};
use crate::delivery::{Delivery, Reading};
use crate::fields;
use crate::headers;
use crate::id::Signer;
use crate::judgement::Judgement;
use crate::metrics::{CallResult, ComparisonResult, FeedbackResult, Metrics, OTHER, RequestResult};
use crate::refusal::{self, Refusal};
use crate::upstream::{Answer, Attempt, Call, Context, Failure, Upstream, UpstreamError};
use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router as Web};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tiny_dancer::observer::VerdictKind;
use tiny_dancer::parts::core::budget::RestoreError;
use tiny_dancer::parts::metrics::http;
use tiny_dancer::{BuildError, Clock, ModelType, TraceContext};
use tiny_dancer_memory::{
    AccountKeeper, Context as Origin, Draws, KeepError, Keeping, Memory, OpenError, RecordError, RequestId,
    Served, StoreError, Tokens, Usage as Used, Verdict,
};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// The header with the signed id of a request.
pub const ID: HeaderName = HeaderName::from_static("x-tiny-dancer-id");
/// The header with the model that answered: `lightweight` or `powerful`.
pub const MODEL: HeaderName = HeaderName::from_static("x-tiny-dancer-model");
/// The header with the reason for that model.
pub const REASON: HeaderName = HeaderName::from_static("x-tiny-dancer-reason");
/// The header with the confidence of the decision.
pub const CONFIDENCE: HeaderName = HeaderName::from_static("x-tiny-dancer-confidence");
/// The header by which a client names the conversation of a request.
pub const CONVERSATION: HeaderName = HeaderName::from_static("x-tiny-dancer-conversation");
/// The header with the model that the router chose, which another one may have answered for.
pub const DECIDED: HeaderName = HeaderName::from_static("x-tiny-dancer-decided");

/// Why a gateway could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The router could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The account of the quality budget cannot be kept.
    #[error("the account of the quality budget cannot be kept: {0}")]
    Keep(#[from] KeepError),
    /// The memory cannot be opened.
    #[error("the memory cannot be opened: {0}")]
    Memory(#[from] OpenError),
    /// The registry has such a family.
    #[error("the gateway's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system has no random numbers.
    #[error("the system has no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The stored account of the quality budget cannot be continued.
    #[error("the account of the quality budget cannot be continued: {0}")]
    Restore(#[from] RestoreError),
    /// The memory cannot be read.
    #[error("the memory cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A model cannot be called.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Answers the requests of clients by one of two models.
#[derive(Debug)]
pub struct Gateway {
    /// Keeps the account of the quality budget, until the gateway is closed.
    keeper: Mutex<Option<AccountKeeper>>,
    /// What new requests begin with.
    pub(crate) serving: Arc<ArcSwap<Serving>>,
    pub(crate) decider: Arc<Decider>,
    registry: Registry,
}

/// All that follows from a configuration. A request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) config: Config,
    decider: Arc<Decider>,
    comparisons: Option<Arc<Comparisons>>,
    powerful: Arc<Upstream>,
    lightweight: Arc<Upstream>,
    signer: Signer,
    admission: Admission,
    conversations: Arc<Conversations>,
    pub(crate) context: Context,
}

impl Gateway {
    /// A gateway that registers its metrics, and those of its router, in this registry.
    ///
    /// # Errors
    /// If the registry has such families, a key cannot be a header, or the system has no random numbers.
    pub fn new(config: Config, registry: &Registry) -> Result<Self, GatewayError> {
        let clock = Clock::system();
        let metrics = Metrics::new(registry)?;
        let decider = Arc::new(Decider::new(&config, registry, clock.clone())?);
        metrics.started(clock.unix_seconds());
        let comparisons = Comparisons::new(&config, clock.clone(), None)?;
        if let Some(comparisons) = &comparisons {
            comparisons.continue_day(&config, &decider.memory)?;
        }
        let serving = Serving {
            decider: Arc::clone(&decider),
            comparisons,
            powerful: Arc::new(Upstream::new(
                config.powerful.clone(),
                &config.timeouts,
                clock.clone(),
                None,
            )?),
            lightweight: Arc::new(Upstream::new(
                config.lightweight.clone(),
                &config.timeouts,
                clock.clone(),
                None,
            )?),
            signer: Signer::new(config.id_key.as_ref())?,
            admission: Admission::new(&config, &metrics, None),
            conversations: Arc::new(Conversations::new(clock.clone())),
            context: Context { clock, metrics, timeouts: config.timeouts.clone() },
            config,
        };
        serving.show_models();
        let has_budget = serving.config.budget.is_some();
        let serving = Arc::new(ArcSwap::from_pointee(serving));
        let keeper = has_budget.then(|| {
            let current = Arc::clone(&serving);
            let allowance = move || current.load().comparisons.as_ref().map_or(0, |all| all.allowance());
            let keeping = Keeping { allowance: Box::new(allowance), ..Keeping::default() };
            decider.memory.keep_account(decider.router.core(), keeping)
        });
        let keeper = Mutex::new(keeper.transpose()?);
        let gateway = Self { keeper, serving, decider, registry: registry.clone() };
        // The first requests find judgements to draw.
        gateway.flush();
        Ok(gateway)
    }

    /// Waits until all that was remembered, and the account of the quality budget, are durable. A failure is logged.
    pub fn flush(&self) {
        if let Some(keeper) = &*self.keeper()
            && let Err(error) = keeper.flush()
        {
            tracing::warn!(%error, "the account of the quality budget is not durable");
        }
        if let Err(error) = self.decider.memory.flush() {
            tracing::warn!(%error, "the memory is not durable");
        }
    }

    /// Closes the account of the quality budget after the last request, so that a restart continues from it without a loss, and
    /// [flushes](Self::flush) the memory.
    pub fn close(&self) {
        drop(self.keeper().take());
        self.flush();
    }

    fn keeper(&self) -> MutexGuard<'_, Option<AccountKeeper>> {
        // A poisoned lock is safe to use: a change is one assignment.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the comparisons have ended that have begun, judgements of the quality budget among them. A judgement that is
    /// not waited for counts as worse.
    pub async fn finish_comparisons(&self) {
        let comparisons = self.serving.load().comparisons.clone();
        if let Some(comparisons) = comparisons {
            comparisons.tasks.finish().await;
        }
    }

    /// The same until a time, at which the comparisons that are left are cut off. Returns how many.
    pub(crate) async fn drain_comparisons(&self, until: Instant) -> usize {
        let comparisons = self.serving.load().comparisons.clone();
        match comparisons {
            Some(comparisons) => comparisons.tasks.drain(until).await,
            None => 0,
        }
    }

    /// The memory, for example to import entries.
    pub fn memory(&self) -> &Memory {
        &self.decider.memory
    }

    /// The service: all paths.
    pub fn service(self: &Arc<Self>) -> Web {
        let ours = self.serving.load().config.provider();
        let (other, passed): (_, &[&str]) = match ours {
            Provider::Anthropic => (Provider::Openai, &["/v1/messages/count_tokens"]),
            Provider::Openai => {
                (Provider::Anthropic, &["/v1/responses", "/v1/responses/{*rest}", "/v1/embeddings"])
            }
        };
        let entry = |endpoint: Endpoint| {
            move |State(gateway): State<Arc<Self>>, request: Request| {
                gateway.serving.load_full().handle(endpoint, request)
            }
        };
        let mut web = Web::new()
            .route(refusal::path(ours), post(entry(Endpoint::Chat)))
            .route(refusal::path(other), any(entry(Endpoint::Other)))
            .route("/v1/models", get(entry(Endpoint::Models)))
            .route("/v1/decide", post(entry(Endpoint::Decide)))
            .route("/v1/feedback", post(entry(Endpoint::Feedback)));
        for path in passed {
            web = web.route(path, any(entry(Endpoint::Passed)));
        }
        web.fallback(entry(Endpoint::Unknown))
            .method_not_allowed_fallback(entry(Endpoint::Unknown))
            .with_state(Arc::clone(self))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", http::ready(self.registry.clone()))
            .route("/metrics", http::metrics(self.registry.clone()))
    }
}

impl Serving {
    /// What follows from another configuration. The memory, the router and the metrics stay, and so do circuits and
    /// connections of models that stay.
    pub(crate) fn with(&self, config: Config) -> Result<Self, GatewayError> {
        let Context { clock, metrics, .. } = self.context.clone();
        let upstream = |model: &ModelConfig, before: &Upstream| {
            Upstream::new(model.clone(), &config.timeouts, clock.clone(), Some(before)).map(Arc::new)
        };
        let has_same_ids = config.id_key == self.config.id_key;
        Ok(Self {
            decider: Arc::clone(&self.decider),
            comparisons: Comparisons::new(&config, clock.clone(), self.comparisons.as_deref())?,
            powerful: upstream(&config.powerful, &self.powerful)?,
            lightweight: upstream(&config.lightweight, &self.lightweight)?,
            signer: if has_same_ids { self.signer.clone() } else { Signer::new(config.id_key.as_ref())? },
            admission: Admission::new(&config, &metrics, Some((&self.config, &self.admission))),
            conversations: Arc::clone(&self.conversations),
            context: Context { clock, metrics, timeouts: config.timeouts.clone() },
            config,
        })
    }

    /// Begins the series of the models, and shows their circuits.
    pub(crate) fn show_models(&self) {
        let circuits = [&self.powerful, &self.lightweight]
            .map(|upstream| (upstream.config.model.clone(), Arc::clone(&upstream.circuit)));
        self.context.metrics.models(&self.config.labels(), circuits.into());
    }

    /// Answers a request in a span of its own, below that of the client if it names one.
    async fn handle(self: Arc<Self>, endpoint: Endpoint, request: Request) -> Response {
        let span = {
            let caller = TraceContext::extract(request.headers()).ok();
            let _parent = caller.as_ref().map(TraceContext::attach);
            tracing::info_span!(
                "request",
                otel.name = format!("{} {}", request.method(), endpoint.route(self.config.provider())),
                otel.kind = "server",
                { fields::OTEL_STATUS_CODE } = Empty,
                http.request.method = %request.method(),
                { fields::HTTP_RESPONSE_STATUS_CODE } = Empty,
                url.path = request.uri().path(),
                { fields::CLIENT } = Empty,
                { fields::DECIDED } = Empty,
                { fields::SERVED } = Empty,
                { fields::REASON } = Empty,
                { fields::RESULT } = Empty,
            )
        };
        let provider = self.config.provider();
        let counts = matches!(endpoint, Endpoint::Chat | Endpoint::Passed);
        let visit = Visit {
            gateway: self,
            span: span.clone(),
            place: None,
            is_open: counts,
            routed: None,
            conversation: None,
            judgement: None,
            comparison: None,
        };
        let response = match visit.answer(endpoint, request).instrument(span.clone()).await {
            Ok(response) => response,
            Err(refusal) => {
                tracing::debug!(parent: &span, %refusal, "refused");
                refusal.answer(provider)
            }
        };
        let status = response.status();
        span.record(fields::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        if status.is_server_error() {
            span.record(fields::OTEL_STATUS_CODE, "ERROR");
        }
        response
    }

    /// The models that a name stands for: of a routed name the powerful one.
    pub(crate) fn upstream(&self, model: ModelType) -> &Arc<Upstream> {
        match model {
            ModelType::Lightweight => &self.lightweight,
            ModelType::Powerful => &self.powerful,
        }
    }

    fn is_routed(&self, model: &str) -> bool {
        self.config.routed.iter().any(|routed| routed == model)
    }

    /// The list of models, in the form of the interface.
    fn models(&self) -> Response {
        let names = self.config.routed.iter().map(String::as_str);
        let mut names: Vec<_> =
            names.chain([&*self.config.powerful.model, &*self.config.lightweight.model]).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(*name));
        let entry = |name: &&str| {
            let id = quoted(name);
            match self.config.provider() {
                Provider::Anthropic => format!(
                    r#"{{"type":"model","id":{id},"display_name":{id},"created_at":"1970-01-01T00:00:00Z"}}"#
                ),
                Provider::Openai => {
                    format!(r#"{{"id":{id},"object":"model","created":0,"owned_by":"tiny-dancer"}}"#)
                }
            }
        };
        let data = names.iter().map(entry).collect::<Vec<_>>().join(",");
        let body = match (self.config.provider(), names.first(), names.last()) {
            (Provider::Anthropic, Some(first), Some(last)) => format!(
                r#"{{"data":[{data}],"has_more":false,"first_id":{},"last_id":{}}}"#,
                quoted(first),
                quoted(last)
            ),
            _ => format!(r#"{{"object":"list","data":[{data}]}}"#),
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Chat,
    Decide,
    Feedback,
    Models,
    Other,
    Passed,
    Unknown,
}

impl Endpoint {
    /// The route, for the name of a span, which must be one of few.
    fn route(self, provider: Provider) -> &'static str {
        match self {
            Self::Chat => refusal::path(provider),
            Self::Decide => "/v1/decide",
            Self::Feedback => "/v1/feedback",
            Self::Models => "/v1/models",
            Self::Other | Self::Unknown => "unknown",
            Self::Passed => "passed",
        }
    }
}

/// One request, from its headers to the end of its answer. If it is dropped before, the client hung up.
#[derive(Debug)]
pub(crate) struct Visit {
    gateway: Arc<Serving>,
    span: Span,
    place: Option<Place>,
    /// Whether its result is still to be counted.
    is_open: bool,
    /// What the answer is of, once it is known.
    routed: Option<Routed>,
    /// The conversation of a routed request.
    conversation: Option<Key>,
    /// The admission of an answer of the lightweight model.
    judgement: Option<Judgement>,
    /// What is compared once the answer is delivered.
    comparison: Option<Box<Comparison>>,
}

/// A routed request whose answer is delivered.
#[derive(Clone, Copy, Debug)]
struct Routed {
    id: RequestId,
    served: ModelType,
    /// Whether the quality budget grows by its answer.
    deposits: bool,
}

/// The body of `/v1/feedback`.
#[derive(Debug, Deserialize)]
struct Feedback {
    id: String,
    score: Option<f32>,
    good_enough: Option<bool>,
}

/// The answer of `/v1/feedback`.
#[derive(Debug, Serialize)]
struct FeedbackAnswer {
    result: &'static str,
}

/// The answer of `/v1/decide`.
#[derive(Debug, Serialize)]
struct DecisionAnswer<'a> {
    id: String,
    /// The model to call.
    model: &'static str,
    /// Its name.
    name: &'a str,
    reason: &'static str,
    decided: &'static str,
    confidence: f32,
    uncertainty: f32,
}

impl Visit {
    async fn answer(mut self, endpoint: Endpoint, request: Request) -> Result<Response, Refusal> {
        let answer = self.dispatch(endpoint, request).await;
        if let Err(refusal) = &answer {
            self.end(refusal.result());
        }
        match answer? {
            Dispatched::Response(response) => Ok(response),
            Dispatched::Upstream(begun) => Ok(self.deliver(*begun)),
        }
    }

    async fn dispatch(&mut self, endpoint: Endpoint, request: Request) -> Result<Dispatched, Refusal> {
        let gateway = Arc::clone(&self.gateway);
        let provider = gateway.config.provider();
        let client = gateway.admission.client(request.headers())?;
        let client = client.map(|index| (index, &gateway.config.clients[index]));
        if let Some((_, ClientConfig { name, .. })) = client {
            self.span.record(fields::CLIENT, name.as_str());
        }
        match endpoint {
            Endpoint::Models => return Ok(Dispatched::Response(gateway.models())),
            Endpoint::Other => return Err(Refusal::Interface { provider }),
            Endpoint::Unknown => return Err(Refusal::Unknown),
            _ => {}
        }
        self.place = Some(gateway.admission.place(client.map(|(index, _)| index)).await?);
        let (head, body) = request.into_parts();
        let body = gateway.admission.body(&head.headers, body).await?;
        let received = gateway.context.clock.tick();
        let client = client.map(|(_, client)| client.name.as_str());
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let path = match provider {
            Provider::Anthropic => path,
            // The base URL has it.
            Provider::Openai => path.strip_prefix("/v1").unwrap_or(path),
        };
        let talk = head.headers.get(CONVERSATION).and_then(|talk| talk.to_str().ok()).map(str::to_owned);
        let mut call = Call {
            method: head.method,
            path: path.to_owned(),
            headers: headers::forwarded(&head.headers),
            body,
            operation: None,
            model: None,
            is_streamed: false,
        };
        match endpoint {
            Endpoint::Decide => self.decide(&call.body, client, talk).map(Dispatched::Response),
            Endpoint::Feedback => self.feedback(&call.body, client).map(Dispatched::Response),
            Endpoint::Passed => self.pass(call).await,
            _ => {
                call.operation = Some("chat");
                self.chat(call, client, talk, received).await
            }
        }
    }

    /// Routes a request and calls the model.
    async fn chat(
        &mut self,
        mut call: Call,
        client: Option<&str>,
        talk: Option<String>,
        received: tiny_dancer::parts::core::Tick,
    ) -> Result<Dispatched, Refusal> {
        let gateway = Arc::clone(&self.gateway);
        let provider = gateway.config.provider();
        let bytes = call.body.clone();
        let mut body = Body::read(&bytes)?;
        call.is_streamed = body.is_streamed()?;
        let model = body.model()?.into_owned();
        if !gateway.is_routed(&model) {
            call.model = Some(model);
            return self.call_named(call).await;
        }
        let conversation = body.conversation(provider)?;
        let begins = self.note_conversation(&conversation, client, talk.as_deref());
        let decision = self.route(&conversation, client, talk);
        let (mut served, mut why) = self.serve(&decision, begins);
        if served == ModelType::Powerful {
            self.cancel_judgement();
        }
        // The tokens of a stream of Anthropic's are in its events anyway.
        let take_usage = call.is_streamed && provider == Provider::Openai && body.request_usage()?;
        // Its answers are read.
        call.headers.remove(header::ACCEPT_ENCODING);
        let mut with = |model: ModelType| {
            let name = &gateway.upstream(model).config.model;
            body.set("model", &quoted(name));
            Call { model: Some(name.clone()), body: body.to_bytes().into(), ..call.clone() }
        };
        gateway.context.metrics.overhead.observe(gateway.context.clock.since(received).as_secs_f64());
        let mut answer = None;
        if served == ModelType::Lightweight {
            match self.call(&gateway.lightweight, with(served)).await {
                Ok(first) if first.result() == CallResult::Success => answer = Some(first),
                first => {
                    if let Ok(mut first) = first {
                        let (result, wait) = (first.result(), first.retry_after());
                        first.attempt.end(result, None);
                        gateway.lightweight.settle(result, wait);
                    }
                    self.cancel_judgement();
                    (served, why) = (ModelType::Powerful, Why::LightweightFailed);
                }
            }
        }
        let answer = match answer {
            Some(answer) => Ok(answer),
            None => self.call(&gateway.powerful, with(ModelType::Powerful)).await,
        };
        gateway.context.metrics.served(decision.model, served, why);
        self.span.record(fields::DECIDED, decision.model.name());
        self.span.record(fields::SERVED, served.name());
        self.span.record(fields::REASON, why.name());
        let answer = answer?;
        let reading = Reading::of(&answer, take_usage);
        // The lightweight model could not have been given a request whose conversation stays.
        let stays = why == Why::Conversation
            || self.conversation.is_some_and(|key| gateway.conversations.is_difficult(key));
        let deposits = !stays && decision.deposits();
        self.routed = Some(Routed { id: decision.id, served, deposits });
        let is_shadowed = || {
            why != Why::LightweightFailed
                && gateway.comparisons.is_some()
                && gateway.lightweight.circuit.wait().is_none()
                && decision.is_shadowed(&gateway.config, &conversation)
        };
        // Whether a lightweight answer is to be judged is not looked at before it is delivered.
        let compared = match served {
            ModelType::Lightweight => self.judgement.is_some().then_some(ModelType::Powerful),
            ModelType::Powerful => is_shadowed().then_some(ModelType::Lightweight),
        };
        if let Some(other) = compared {
            let mut call = with(other);
            if call.is_streamed {
                let mut body = Body::read(&call.body)?;
                body.set("stream", "false");
                body.remove("stream_options");
                call.body = body.to_bytes().into();
                call.is_streamed = false;
            }
            let question = conversation.text;
            self.comparison = Some(Box::new(Comparison { id: decision.id, question, call }));
        }
        let id = gateway.signer.sign(decision.id, served, client);
        let headers = vec![
            (ID, HeaderValue::try_from(id).ok()),
            (MODEL, Some(HeaderValue::from_static(served.name()))),
            (REASON, Some(HeaderValue::from_static(why.name()))),
            (CONFIDENCE, HeaderValue::try_from(decision.confidence.to_string()).ok()),
            (DECIDED, Some(HeaderValue::from_static(decision.model.name()))),
        ];
        let upstream = Arc::clone(gateway.upstream(served));
        Ok(Dispatched::Upstream(Box::new(Begun { answer, reading, headers, upstream })))
    }

    /// Calls the model that the client names. The answer passes unchanged, and is read for its tokens if it is new: a stored one was
    /// counted when it was made.
    async fn call_named(&mut self, mut call: Call) -> Result<Dispatched, Refusal> {
        let gateway = Arc::clone(&self.gateway);
        let is_new = call.method == Method::POST;
        if is_new {
            call.headers.remove(header::ACCEPT_ENCODING);
        }
        let is_lightweight = call.model.as_ref() == Some(&gateway.config.lightweight.model);
        let upstream =
            gateway.upstream(if is_lightweight { ModelType::Lightweight } else { ModelType::Powerful });
        let answer = self.call(upstream, call).await?;
        let reading = if is_new { Reading::of(&answer, false) } else { Reading::Nothing };
        let (headers, upstream) = (Vec::new(), Arc::clone(upstream));
        Ok(Dispatched::Upstream(Box::new(Begun { answer, reading, headers, upstream })))
    }

    /// Passes a request through. A routed name stands for the powerful model.
    async fn pass(&mut self, mut call: Call) -> Result<Dispatched, Refusal> {
        if call.method == Method::POST {
            let bytes = call.body.clone();
            let mut body = Body::read(&bytes)?;
            call.is_streamed = body.is_streamed()?;
            let mut model = body.model()?.into_owned();
            if self.gateway.is_routed(&model) {
                model.clone_from(&self.gateway.config.powerful.model);
                body.set("model", &quoted(&model));
                call.body = body.to_bytes().into();
            }
            call.model = Some(model);
        }
        self.call_named(call).await
    }

    /// Calls a model unless its circuit is open.
    async fn call(&self, upstream: &Upstream, call: Call) -> Result<Answer, Refusal> {
        let gateway = &self.gateway;
        let name = &upstream.config.model;
        if let Some(wait) = upstream.circuit.wait() {
            return Err(Refusal::Unavailable { model: name.clone(), wait });
        }
        let label = call.model.as_deref().filter(|model| {
            [&gateway.config.powerful.model, &gateway.config.lightweight.model]
                .iter()
                .any(|name| name == model)
        });
        let label = label.unwrap_or(OTHER).to_owned();
        upstream.call(call, &label, &gateway.context).await.map_err(|Failure { result }| {
            upstream.settle(result, None);
            Refusal::Upstream { model: name.clone(), result }
        })
    }

    fn deliver(mut self, begun: Begun) -> Response {
        let Begun { answer, reading, headers: own, upstream } = begun;
        let mut headers = headers::returned(answer.response.headers());
        if let Reading::Events { take_usage: true, .. } = reading {
            headers.remove(header::CONTENT_LENGTH);
        }
        headers.extend(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let status = answer.response.status();
        if answer.result() != CallResult::Success {
            upstream.settle(answer.result(), answer.retry_after());
        }
        if let Some(judgement) = &mut self.judgement {
            judgement.begin();
        }
        let idle = self.gateway.config.timeouts.idle;
        let mut response =
            Response::new(axum::body::Body::new(Delivery::new(answer, reading, idle, self, upstream)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Decides for a client that calls the model itself.
    fn decide(
        &mut self,
        bytes: &[u8],
        client: Option<&str>,
        talk: Option<String>,
    ) -> Result<Response, Refusal> {
        let gateway = Arc::clone(&self.gateway);
        let conversation = Body::read(bytes)?.conversation(gateway.config.provider())?;
        let begins = self.note_conversation(&conversation, client, talk.as_deref());
        let decision = self.route(&conversation, client, talk);
        self.cancel_judgement();
        if decision.ticket.is_some() {
            // The lightweight model will not have it.
            self.conversation = None;
        }
        let (mut served, mut why) = self.serve(&decision, begins);
        if served == ModelType::Lightweight && decision.ticket.is_some() {
            (served, why) = (ModelType::Powerful, Why::Unjudged);
        }
        gateway.context.metrics.served(decision.model, served, why);
        let answer = DecisionAnswer {
            id: gateway.signer.sign(decision.id, served, client),
            model: served.name(),
            name: &gateway.upstream(served).config.model,
            reason: why.name(),
            decided: decision.model.name(),
            confidence: decision.confidence,
            uncertainty: decision.uncertainty,
        };
        Ok(Json(answer).into_response())
    }

    /// Records a client's verdict on an answer that it got.
    fn feedback(&self, bytes: &[u8], client: Option<&str>) -> Result<Response, Refusal> {
        let gateway = &self.gateway;
        let body: Feedback = serde_json::from_slice(bytes).map_err(|source| BodyError::Json { source })?;
        let (id, served) = gateway.signer.verify(&body.id, client).ok_or(Refusal::Id)?;
        let score = match (body.score, body.good_enough) {
            (Some(score), _) => score,
            (None, Some(good_enough)) => f32::from(u8::from(good_enough)),
            (None, None) => return Err(Refusal::Score { score: f32::NAN }),
        };
        if !(0.0..=1.0).contains(&score) {
            return Err(Refusal::Score { score });
        }
        let result = if served == ModelType::Powerful {
            FeedbackResult::Powerful
        } else {
            match gateway.decider.judge(id, Verdict::lightweight(score)) {
                Ok(VerdictKind::Accepted | VerdictKind::Contradicting) => FeedbackResult::Accepted,
                Ok(_) => FeedbackResult::Repeated,
                Err(RecordError::Unknown { .. }) => FeedbackResult::Unknown,
                Err(source) => return Err(Refusal::Memory { source }),
            }
        };
        gateway.context.metrics.feedback(result);
        Ok(Json(FeedbackAnswer { result: result.name() }).into_response())
    }

    /// Decides a request.
    fn route(&mut self, conversation: &Conversation, client: Option<&str>, talk: Option<String>) -> Decision {
        let Serving { decider, comparisons, context, .. } = &*self.gateway;
        let bar = decide::bar(&self.gateway.config, conversation, decider.evidence());
        // What the account may grant while the coin falls leaves out this request's judgement.
        let place = comparisons.as_ref().filter(|_| bar.is_none()).map(|all| all.place_in_queue());
        let decision = decider.decide(conversation, self.origin(client, talk), bar);
        self.judgement = decision.ticket.zip(place).map(|(ticket, place)| {
            Judgement::new(decision.id, ticket, Arc::clone(decider), place, context.metrics.clone())
        });
        decision
    }

    /// Cancels the admission of an answer that the lightweight model does not give. No byte was delivered.
    fn cancel_judgement(&mut self) {
        self.judgement = None;
    }

    /// Which model serves the request. `begins` is whether the request begins a conversation.
    fn serve(&self, decision: &Decision, begins: bool) -> (ModelType, Why) {
        let gateway = &self.gateway;
        let (mut served, mut why) = decision.serve();
        if served == ModelType::Lightweight && gateway.lightweight.circuit.wait().is_some() {
            (served, why) = (ModelType::Powerful, Why::LightweightUnavailable);
        }
        match self.conversation {
            Some(key) => gateway.conversations.stay(key, begins, (served, why), &gateway.config),
            None => (served, why),
        }
    }

    /// Notes the conversation of a request, unless conversations follow each decision. Returns whether it begins one.
    fn note_conversation(
        &mut self,
        conversation: &Conversation,
        client: Option<&str>,
        name: Option<&str>,
    ) -> bool {
        let sticks = self.gateway.config.conversations.stick;
        self.conversation = sticks.then(|| Key::new(client, name, &conversation.beginning));
        name.is_none() && conversation.begins
    }

    /// Whose memory is read, and what is known about the request besides its text.
    fn origin(&self, client: Option<&str>, conversation: Option<String>) -> Origin {
        let tenant = client.filter(|_| !self.gateway.config.shared_memory).map(str::to_owned);
        let mode = Some(self.gateway.config.mode.name().to_owned());
        Origin { tenant, conversation, mode, ..Origin::default() }
    }

    /// Whether the answer's text is compared with another one.
    pub(crate) fn is_compared(&self) -> bool {
        self.comparison.is_some()
    }

    /// An answer that broke off after its delivery had begun, or whose client hung up, is worse.
    pub(crate) fn broke_off(&mut self) {
        if let Some(judgement) = self.judgement.take() {
            judgement.settle(ComparisonResult::Broken);
        }
    }

    /// Logs what followed the decision, once the answer is delivered, and starts the comparison, if there is one.
    pub(crate) fn delivered(&mut self, model: &str, tokens: Option<Tokens>, text: Option<String>) {
        let Some(Routed { id, served, deposits }) = self.routed else { return };
        let gateway = &self.gateway;
        if let Some(key) = self.conversation {
            gateway.conversations.delivered(key, served, tokens);
        }
        let used = tokens.map(|tokens| Used { model: model.to_owned(), tokens });
        let usage = used.iter().cloned().collect();
        let draws = Draws::default();
        let served = Served { model: served, usage, price_version: None, judge: None, draws };
        gateway.decider.memory.served(id, served);
        if deposits {
            gateway.decider.router.core().answered();
        }
        if let (Some(comparison), Some(comparisons)) = (self.comparison.take(), &gateway.comparisons) {
            let parts = Parts {
                decider: Arc::clone(&gateway.decider),
                powerful: Arc::clone(&gateway.powerful),
                lightweight: Arc::clone(&gateway.lightweight),
                context: gateway.context.clone(),
            };
            comparisons.start(*comparison, self.judgement.take(), text, used, parts);
        }
    }

    /// Counts what the tokens of a delivered answer would have cost without the lightweight model: a request that passes costs the
    /// same.
    pub(crate) fn count_baseline(&self, attempt: &Attempt, tokens: Tokens) {
        let prices = if self.routed.is_some() { self.gateway.config.powerful.prices } else { attempt.prices };
        if let Some(prices) = prices {
            self.gateway.context.metrics.baseline_cost(prices.of(tokens));
        }
    }

    /// Counts the result. Only the first one counts.
    pub(crate) fn end(&mut self, result: RequestResult) {
        if std::mem::replace(&mut self.is_open, false) {
            self.gateway.context.metrics.request(result);
            self.span.record(fields::RESULT, result.name());
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end(RequestResult::Cancelled);
    }
}

/// What a request gets.
enum Dispatched {
    Response(Response),
    Upstream(Box<Begun>),
}

/// An answer of a model that has begun.
struct Begun {
    answer: Answer,
    reading: Reading,
    /// The headers of the gateway.
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    upstream: Arc<Upstream>,
}
