//! An HTTP service between clients and their language models, which routes each request to the lightweight or the powerful one.
//!
//! A client of `OpenAI`'s or Anthropic's interface changes its base URL and the name of the model to `auto`, and keeps its
//! code. The program `tiny-dancer serve` runs a [`Gateway`] of a [`Config`].
//!
//! ```text
//! client --request--> Gateway: embedding, evidence, router --> the chosen model --chunks as they come--> client
//! ```
//!
//! # What a request is judged by
//!
//! By the last message of the user, and before it as many of the previous messages of user and assistant as fit whole into the
//! embedder's limit, from the nearest on. Instructions of the system are left out. A request with tools, media or a schema
//! goes to the lightweight model only if its configuration accepts them.
//!
//! # What the client gets
//!
//! The bytes of the model's answer, each chunk as it comes. One event is left out: that with the tokens of a stream, if the
//! client did not request it. Headers name the [id](ID), the [model](MODEL) that answered, the [reason](REASON), the
//! [confidence](CONFIDENCE), and the [model that was decided](DECIDED).
//!
//! # Conversations
//!
//! A conversation stays with the powerful model while that is cheaper than the loss of its provider's cache, and after the router
//! found it difficult.
//!
//! # When a model fails
//!
//! If the lightweight model fails before its first byte, the powerful one answers, once. After the first byte an error ends the
//! answer where it is. A model that failed five times in a row, or that names a wait, is not called for that time.
//!
//! # What it lacks
//!
//! TLS for its clients: a proxy in front of it has that.

mod admission;
mod background;
mod body;
mod circuit;
mod comparison;
mod config;
mod conversation;
mod decide;
mod delivery;
pub mod demo;
mod fields;
mod gateway;
mod headers;
mod id;
mod judge;
mod judgement;
mod metrics;
mod refusal;
mod reload;
mod secret;
mod server;
mod sse;
mod status;
mod upstream;
mod usage;

pub use config::{
    Capability, ClientConfig, Config, ConfigError, ConversationConfig, Environment, JudgeConfig, JudgeKind,
    Limits, MemoryFile, Mistake, Mode, ModelConfig, Prices, Provider, Timeouts,
};
pub use gateway::{CONFIDENCE, CONVERSATION, DECIDED, Gateway, GatewayError, ID, MODEL, REASON};
pub use reload::{Change, ReloadError, Reloads};
pub use secret::Secret;
pub use server::{Drained, serve};
pub use status::Status;
pub use upstream::UpstreamError;
