//! The configuration: a file `tiny-dancer.toml`, read as a whole, so that every mistake is named at once.
//!
//! ```
//! use tiny_dancer_gateway::{Config, Mode};
//!
//! let text = r#"
//!     version = 1
//!     mode = "canary"
//!     canary_share = 0.05
//!
//!     [powerful]
//!     provider = "openai"
//!     model = "gpt-5"
//!
//!     [lightweight]
//!     provider = "openai"
//!     model = "gpt-5-mini"
//!     accepts = ["tools"]
//! "#;
//! let config = Config::parse(text, &|variable| (variable == "OPENAI_API_KEY").then(|| "sk-1".to_owned()))?;
//! assert_eq!(config.mode, Mode::Canary);
//!
//! let error = Config::parse("version = 1\nmodel = \"x\"", &|_| None).unwrap_err();
//! assert_eq!(error.mistakes().len(), 3); // the unknown key and the two missing tables
//! # Ok::<(), tiny_dancer_gateway::ConfigError>(())
//! ```

use crate::secret::Secret;
use reader::Reader;
use reqwest::Url;
use serde::Deserialize;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tiny_dancer::RiskBudget;
use tiny_dancer::parts::core::budget::{JudgeRate, QualityBudget};
use tiny_dancer_memory::Tokens;
use toml::Table;

mod reader;

/// The version of the file's format.
const VERSION: i64 = 1;

/// The judge's prompt, unless the configuration has another one.
const PROMPT: &str = include_str!("../prompts/judge.txt");

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The settings of a [`Gateway`](crate::Gateway), checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen at. By default `127.0.0.1:8080`, which only this machine reaches.
    pub listen: SocketAddr,
    /// What is done with decisions. By default they are only made.
    pub mode: Mode,
    /// The share of the requests that follow their decision in [`Mode::Canary`], 0 to 1. By default 0.05.
    pub canary_share: f64,
    /// The number of remembered requests with a verdict below which all requests are answered by the powerful model. By
    /// default 0.
    pub min_evidence: usize,
    /// The names of models that are routed. By default `auto`.
    pub routed: Vec<String>,
    /// The promise of the router, instead of its default thresholds.
    pub risk: Option<RiskBudget>,
    /// How many answers of the lightweight model may be worse.
    pub budget: Option<QualityBudget>,
    /// The model for requests that need it.
    pub powerful: ModelConfig,
    /// The model for requests that it suffices for.
    pub lightweight: ModelConfig,
    /// The clients that may send requests. By default none is configured, and each client that reaches the address may.
    pub clients: Vec<ClientConfig>,
    /// Whether clients share their memory. By default each has its own, so that none can mislead the others.
    pub shared_memory: bool,
    /// The secret that signs the ids of requests. By default it is random, and ids are unknown after a restart.
    pub id_key: Option<Secret>,
    /// Where what is known is kept.
    pub memory: MemoryFile,
    /// The share of the requests that the powerful model answers, 0 to 1, which the lightweight one answers too, for
    /// comparison. By default 0.
    pub shadow_rate: f64,
    /// What compares their answers.
    pub judge: Option<JudgeConfig>,
    /// How conversations stay with their model.
    pub conversations: ConversationConfig,
    /// How much is accepted.
    pub limits: Limits,
    /// How long each phase may take.
    pub timeouts: Timeouts,
}

/// What is done with decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A share of the requests follows its decision, the rest is answered by the powerful model.
    Canary,
    /// All requests follow their decision.
    Live,
    /// All requests are answered by the powerful model. Decisions are made and shown.
    #[default]
    Observe,
}

impl Mode {
    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Live => "live",
            Self::Observe => "observe",
        }
    }
}

/// The provider of a model, which determines the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// `POST /v1/messages`.
    Anthropic,
    /// `POST /v1/chat/completions`, as many servers of open models have it, too.
    Openai,
}

impl Provider {
    /// The name, which is OpenTelemetry's value of `gen_ai.provider.name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
        }
    }

    const fn base_url(self) -> &'static str {
        match self {
            Self::Anthropic => "https://api.anthropic.com",
            Self::Openai => "https://api.openai.com/v1",
        }
    }

    const fn key_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::Openai => "OPENAI_API_KEY",
        }
    }
}

/// A language model, and how it is called.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelConfig {
    /// Whose interface it has.
    pub provider: Provider,
    /// Its name at the provider.
    pub model: String,
    /// The address, as the provider's libraries for clients have it: with `/v1` for `OpenAI`, without it for Anthropic.
    pub base_url: Url,
    /// The key, if the address needs one.
    pub key: Option<Secret>,
    /// What it is given besides text. The powerful model is given everything; by default the lightweight one only text.
    pub accepts: Vec<Capability>,
    /// The length of a conversation that it is given, in bytes of text. By default 64 KiB for the lightweight model.
    pub max_text_bytes: usize,
    /// Its prices, for the cost.
    pub prices: Option<Prices>,
}

/// What a request can have besides text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Audio, documents, images and other parts that are not text.
    Media,
    /// An answer that follows a schema.
    Schema,
    /// Functions that the model may call.
    Tools,
}

/// Prices of a million tokens, in the currency of your choice.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Of input.
    pub input: f64,
    /// Of input that the provider had in its cache. By default that of input.
    pub cached_input: Option<f64>,
    /// Of output.
    pub output: f64,
}

impl Prices {
    /// The price of some tokens.
    pub fn of(&self, tokens: Tokens) -> f64 {
        let Self { input, cached_input, output } = *self;
        let price = |count: u64, price: f64| count as f64 * price / 1e6;
        price(tokens.input, input)
            + price(tokens.cached_input, cached_input.unwrap_or(input))
            + price(tokens.output, output)
    }
}

/// A client, and the digest of its key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The name, under which its requests are remembered.
    pub name: String,
    /// The SHA-256 of its key.
    pub key_sha256: [u8; 32],
}

/// Where what is known is kept.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MemoryFile {
    /// A file of SQLite, which is made if it does not exist. By default there is none, and a restart forgets all.
    pub path: Option<PathBuf>,
    /// Whether the texts of requests are stored in it. By default not.
    pub store_prompts: bool,
}

/// What compares two answers, and how many.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JudgeConfig {
    /// What compares them.
    pub kind: JudgeKind,
    /// How many comparisons are made at the same time. Shadows without a place are dropped, judgements wait. By default 8.
    pub concurrent: usize,
    /// How many judgements of the budget are open at the same time, from the admission of a request to the verdict. Without
    /// room in it a request goes to the powerful model. By default 256.
    pub queue: u64,
    /// What comparisons may cost on a day (UTC), by the prices of the models. By default there is no limit.
    pub daily_cost: Option<f64>,
}

/// How conversations stay with their model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConversationConfig {
    /// Whether they do. By default yes.
    pub stick: bool,
    /// How long a provider keeps a conversation in its cache after its last request. By default 300 s, the least that the providers
    /// document.
    pub cache: Duration,
}

/// What compares two answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum JudgeKind {
    /// The texts: the same, or the same number at the end. For questions with one short answer.
    Exact,
    /// A language model.
    Model {
        /// The model.
        model: Box<ModelConfig>,
        /// Its prompt, with the places `{question}`, `{a}` and `{b}`.
        prompt: String,
    },
    /// A service that scores both answers. Its address is `base_url`.
    Webhook(Box<ModelConfig>),
}

/// How much is accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes of a request's body. By default 16 MiB.
    pub body_bytes: usize,
    /// The bytes of all headers of a request. By default 64 KiB.
    pub header_bytes: usize,
    /// The number of headers. By default 100.
    pub headers: usize,
    /// The requests that are answered at the same time. By default 2048.
    pub concurrent: usize,
    /// The same for one client, above which it gets 429. By default as many.
    pub concurrent_per_client: usize,
    /// The requests that wait for their turn, above which a request gets 503. By default 256.
    pub queue: usize,
}

/// How long each phase may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From a connection to the last byte of a request's headers. By default 10 s.
    pub headers: Duration,
    /// The body of a request. By default 60 s.
    pub body: Duration,
    /// The wait in the queue. By default 5 s.
    pub queue: Duration,
    /// The connection to a model, with TLS. By default 5 s.
    pub connect: Duration,
    /// From a call to the first byte of an answer that is streamed. By default 60 s.
    pub first_byte: Duration,
    /// From a call to the first byte of an answer that is not streamed. By default 600 s, as in the providers' own libraries.
    pub answer: Duration,
    /// Between two chunks of an answer, and until a client that does not read is disconnected. By default 60 s.
    pub idle: Duration,
    /// From SIGTERM until open requests are aborted. By default 30 s.
    pub drain: Duration,
}

/// Why a configuration was refused: everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// The mistakes, in the order of the file's sections.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mistakes[..] {
            [mistake] => write!(f, "the configuration has a mistake: {mistake}"),
            mistakes => {
                write!(f, "the configuration has {} mistakes", mistakes.len())?;
                mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

/// One mistake of a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// The address is reached by other machines, and no client is configured.
    #[error(
        "listen is {address}, which other machines reach: add [[clients]], or listen at a loopback address"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// A file cannot be read.
    #[error("{key} is {}, which cannot be read: {source}", path.display())]
    File {
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A model needs a key, and the variable is not set.
    #[error("{key}: the environment has no {variable}")]
    KeyMissing {
        /// The table of the model.
        key: String,
        /// The variable.
        variable: String,
    },
    /// A key is missing.
    #[error("{key} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// The two models have different interfaces.
    #[error("powerful.provider is {powerful}, and lightweight.provider is {lightweight}: both need the same interface", powerful = powerful.name(), lightweight = lightweight.name())]
    Providers {
        /// That of the powerful model.
        powerful: Provider,
        /// That of the lightweight model.
        lightweight: Provider,
    },
    /// A value is out of range.
    #[error("{key} is {value}, expected {expected}")]
    Range {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The text is no TOML.
    #[error("not a TOML file: line {line}: {}", source.message())]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The parser's error.
        source: toml::de::Error,
    },
    /// Two entries have the same name, or the same key.
    #[error("{key}: two clients have the name or the key of {name}")]
    Twice {
        /// The table.
        key: String,
        /// The name.
        name: String,
    },
    /// A key is not known.
    #[error("{key} is unknown")]
    Unknown {
        /// The key.
        key: String,
    },
    /// A value cannot be read as its type.
    #[error("{key}: {}", source.message())]
    Value {
        /// The key.
        key: String,
        /// The parser's error.
        source: toml::de::Error,
    },
}

impl Config {
    /// Reads a file's text. Keys that it does not hold are read from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names all mistakes.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Self, ConfigError> {
        Self::from_table(Self::table(text)?, environment)
    }

    /// The table of a file's text, unchecked, for changes before [`from_table`](Self::from_table).
    ///
    /// # Errors
    /// If the text is no TOML.
    pub fn table(text: &str) -> Result<Table, ConfigError> {
        text.parse().map_err(|source: toml::de::Error| {
            let before = source.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError { mistakes: vec![Mistake::Syntax { line, source }] }
        })
    }

    /// Reads a table, for example that of a file with changes of the command line.
    ///
    /// # Errors
    /// [`ConfigError`] names all mistakes.
    pub fn from_table(table: Table, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let config = read(table, environment, &mut mistakes);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError { mistakes }),
        }
    }

    /// The interface, which is that of both models.
    pub fn provider(&self) -> Provider {
        self.powerful.provider
    }

    /// How far the score of a lightweight answer may be below that of the powerful one.
    pub(crate) fn margin(&self) -> f32 {
        self.budget.as_ref().map_or(0.0, |budget| budget.margin as f32)
    }

    /// The names by which metrics distinguish models.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let judge = match self.judge.as_ref().map(|judge| &judge.kind) {
            Some(JudgeKind::Model { model, .. } | JudgeKind::Webhook(model)) => Some(&*model.model),
            Some(JudgeKind::Exact) | None => None,
        };
        let mut labels = vec![&*self.powerful.model];
        for label in [&*self.lightweight.model].into_iter().chain(judge) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }
}

/// The configuration, or `None` if there is none because of the mistakes.
fn read(table: Table, environment: Environment<'_>, mistakes: &mut Vec<Mistake>) -> Option<Config> {
    let mut root = Reader::new(table, String::new(), mistakes);
    let version = root.required::<i64>("version");
    root.check("version", version.unwrap_or(VERSION), "1", |version| *version == VERSION);
    let listen = root.or("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    let mode = root.or("mode", Mode::default());
    let canary_share = root.or("canary_share", 0.05);
    root.check("canary_share", canary_share, "0 to 1", |share| (0.0..=1.0).contains(share));
    let min_evidence = root.or("min_evidence", 0);
    let routed = root.or("routed", vec!["auto".to_owned()]);
    root.check("routed", Shown(&routed), "one name or more", |routed| {
        !routed.0.is_empty() && routed.0.iter().all(|name| !name.is_empty())
    });
    let shared_memory = root.or("shared_memory", false);
    let id_key = root.optional::<PathBuf>("id_key_file").and_then(|path| root.secret("id_key_file", path));

    let powerful = root.required_table("powerful").and_then(|mut table| {
        model(
            &mut table,
            environment,
            vec![Capability::Media, Capability::Schema, Capability::Tools],
            usize::MAX,
        )
    });
    let lightweight = root
        .required_table("lightweight")
        .and_then(|mut table| model(&mut table, environment, Vec::new(), 64 << 10));
    if let (Some(powerful), Some(lightweight)) = (&powerful, &lightweight)
        && powerful.provider != lightweight.provider
    {
        let (powerful, lightweight) = (powerful.provider, lightweight.provider);
        root.mistake(Mistake::Providers { powerful, lightweight });
    }

    let risk = root.table("risk").map(|mut table| {
        let (alpha, delta) = (table.or("alpha", 0.15), table.or("delta", 0.05));
        let is_share = |value: &f64| *value > 0.0 && *value < 1.0;
        table.check("alpha", alpha, "between 0 and 1", is_share);
        table.check("delta", delta, "between 0 and 1", is_share);
        RiskBudget { alpha, delta }
    });
    let memory = {
        let mut table = root.table_or_empty("memory");
        MemoryFile { path: table.optional("path"), store_prompts: table.or("store_prompts", false) }
    };
    let judge = root.table("judge").map(|mut table| judge(&mut table, environment));
    let (has_judge, judge) = (judge.is_some(), judge.flatten());
    let shadow_rate = {
        let mut table = root.table_or_empty("shadow");
        let rate = table.or("rate", 0.0);
        table.check("rate", rate, "0 to 1", |rate| (0.0..=1.0).contains(rate));
        rate
    };
    let budget = root.table("budget").map(|mut table| budget(&mut table));
    if (shadow_rate > 0.0 || budget.is_some()) && !has_judge {
        root.mistake(Mistake::Missing { key: "judge".to_owned() });
    }
    if let Some(JudgeConfig { kind, daily_cost: Some(_), .. }) = &judge {
        let of = |key, model: Option<&ModelConfig>| model.map(|model| (key, model.prices));
        let called = [
            of("lightweight", lightweight.as_ref().filter(|_| shadow_rate > 0.0)),
            of("powerful", powerful.as_ref().filter(|_| budget.is_some())),
            of("judge", if let JudgeKind::Model { model, .. } = kind { Some(model) } else { None }),
        ];
        for (key, _) in called.into_iter().flatten().filter(|(_, prices)| prices.is_none()) {
            root.mistake(Mistake::Missing { key: format!("{key}.prices") });
        }
    }
    let conversations = conversations(&mut root.table_or_empty("conversations"));
    let limits = limits(&mut root.table_or_empty("limits"));
    let timeouts = timeouts(&mut root.table_or_empty("timeouts"));
    let clients = clients(&mut root);
    if clients.is_empty() && !listen.ip().is_loopback() {
        root.mistake(Mistake::Open { address: listen });
    }
    drop(root);
    Some(Config {
        listen,
        mode,
        canary_share,
        min_evidence,
        routed,
        risk,
        budget,
        powerful: powerful?,
        lightweight: lightweight?,
        clients,
        shared_memory,
        id_key,
        memory,
        shadow_rate,
        judge,
        conversations,
        limits,
        timeouts,
    })
}

fn model(
    table: &mut Reader<'_>,
    environment: Environment<'_>,
    accepts: Vec<Capability>,
    max_text_bytes: usize,
) -> Option<ModelConfig> {
    let provider = table.required::<Provider>("provider");
    let model = table.required::<String>("model");
    if let Some(model) = &model {
        table.check("model", model, "a name", |name| !name.is_empty());
    }
    let configured = table.optional::<String>("base_url");
    let is_default = configured.is_none();
    let variable = table.optional::<String>("key_variable");
    let file = table.optional::<PathBuf>("key_file");
    let accepts = table.or("accepts", accepts);
    let max_text_bytes = table.or("max_text_bytes", max_text_bytes);
    let prices = table.optional::<Prices>("prices");
    if let Some(prices) = prices {
        for (key, price) in [
            ("prices.input", prices.input),
            ("prices.cached_input", prices.cached_input.unwrap_or(0.0)),
            ("prices.output", prices.output),
        ] {
            table.check(key, price, "0 or more", |price| *price >= 0.0 && price.is_finite());
        }
    }
    let provider = provider?;
    let base_url = configured.unwrap_or_else(|| provider.base_url().to_owned());
    let parsed = address(&base_url);
    if parsed.is_none() {
        refuse_address(table, "base_url");
    }
    // The providers need a key. Another address may need none.
    let variable =
        variable.or_else(|| (is_default && file.is_none()).then(|| provider.key_variable().to_owned()));
    let key = match (variable, file) {
        (_, Some(path)) => table.secret("key_file", path),
        (Some(variable), None) => table.variable(variable, environment),
        (None, None) => None,
    };
    let base_url = parsed?;
    Some(ModelConfig { provider, model: model?, base_url, key, accepts, max_text_bytes, prices })
}

/// The places for judgements, each of which is held for two judgement timeouts: some 14 a second with the default timeout.
/// They take 256 kB.
const MAX_JUDGEMENTS: u32 = 16_384;

/// A probability, or `adaptive`.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected 0.001 to 1, or \"adaptive\"")]
enum Rate {
    Fixed(f64),
    Named(Adaptive),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Adaptive {
    Adaptive,
}

/// The ranges are those of the router, which names one mistake only.
fn budget(table: &mut Reader<'_>) -> QualityBudget {
    let default = QualityBudget::default();
    let mut number = |key, default, expected, holds: fn(f64) -> bool| {
        let value = table.or(key, default);
        table.check(key, value, expected, |value| holds(*value));
        value
    };
    let is_share = |value: f64| value > 0.0 && value < 1.0;
    let loss_rate = number("loss_rate", default.loss_rate, "between 0 and 1", is_share);
    let delta = number("delta", default.delta, "between 0 and 1", is_share);
    let burst = number("burst", default.burst, "0 to 1e9", |value| (0.0..=1e9).contains(&value));
    let margin = number("margin", default.margin, "0 to 1", |value| (0.0..=1.0).contains(&value));
    let seconds = default.judgement_timeout.as_secs_f64();
    let is_time = |value| (1.0..=86_400.0).contains(&value);
    let seconds = number("judgement_timeout", seconds, "1 to 86400 seconds", is_time);
    let judgement_timeout = Duration::from_secs_f64(if is_time(seconds) { seconds } else { 1.0 });

    let rate = table.or("judge_rate", Rate::Named(Adaptive::Adaptive));
    let floor = table.optional::<f64>("judge_floor");
    let judge_rate = match rate {
        Rate::Named(Adaptive::Adaptive) => {
            let floor = floor.unwrap_or(0.2);
            table.check("judge_floor", floor, "0.001 to less than 1", |floor| (0.001..1.0).contains(floor));
            JudgeRate::Adaptive { floor }
        }
        Rate::Fixed(rate) => {
            let expected = "0.001 to 1, or \"adaptive\"";
            table.check("judge_rate", rate, expected, |rate| (0.001..=1.0).contains(rate));
            if let Some(floor) = floor {
                table.check("judge_floor", floor, "none, since judge_rate is not adaptive", |_| false);
            }
            JudgeRate::Fixed(rate)
        }
    };
    let max_judgements = MAX_JUDGEMENTS;
    QualityBudget { loss_rate, delta, burst, margin, judge_rate, judgement_timeout, max_judgements }
}

fn judge(table: &mut Reader<'_>, environment: Environment<'_>) -> Option<JudgeConfig> {
    let concurrent = table.or("concurrent", 8);
    table.check("concurrent", concurrent, "1 to 1000", |concurrent| (1..=1000).contains(concurrent));
    let queue = table.or("queue", 256);
    table.check("queue", queue, "1 to 16384", |queue| (1..=MAX_JUDGEMENTS.into()).contains(queue));
    let daily_cost = table.optional::<f64>("daily_cost");
    if let Some(cost) = daily_cost {
        table.check("daily_cost", cost, "0 or more", |cost| *cost >= 0.0 && cost.is_finite());
    }
    let kind = judge_kind(table, environment)?;
    Some(JudgeConfig { kind, concurrent: concurrent.clamp(1, 1000), queue, daily_cost })
}

fn judge_kind(table: &mut Reader<'_>, environment: Environment<'_>) -> Option<JudgeKind> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Exact,
        Model,
        Webhook,
    }
    match table.required("kind")? {
        Kind::Exact => Some(JudgeKind::Exact),
        Kind::Model => {
            let prompt = match table.optional::<PathBuf>("prompt_file") {
                Some(path) => table.file("prompt_file", path)?,
                None => PROMPT.to_owned(),
            };
            for place in ["{question}", "{a}", "{b}"] {
                if !prompt.contains(place) {
                    table.check("prompt_file", format!("a text without {place}"), "one with it", |_| false);
                }
            }
            let model = Box::new(model(table, environment, Vec::new(), usize::MAX)?);
            Some(JudgeKind::Model { model, prompt })
        }
        Kind::Webhook => {
            let url = table.required::<String>("url")?;
            let Some(base_url) = address(&url) else {
                refuse_address(table, "url");
                return None;
            };
            let key = table.optional::<PathBuf>("key_file").and_then(|path| table.secret("key_file", path));
            Some(JudgeKind::Webhook(Box::new(ModelConfig {
                provider: Provider::Openai,
                model: "webhook".to_owned(),
                base_url,
                key,
                accepts: Vec::new(),
                max_text_bytes: usize::MAX,
                prices: None,
            })))
        }
    }
}

/// An address with a host, and without credentials, query and fragment.
fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Refuses an address, without its text, which may have credentials.
fn refuse_address(table: &mut Reader<'_>, key: &str) {
    table.check(key, "another text", "an http or https address without credentials and query", |_| false);
}

fn limits(table: &mut Reader<'_>) -> Limits {
    let mut count = |key, default: usize, least: usize, expected| {
        let value = table.or(key, default);
        table.check(key, value, expected, |value| *value >= least);
        value
    };
    let concurrent = count("concurrent", 2048, 1, "1 or more");
    Limits {
        body_bytes: count("body_bytes", 16 << 20, 1, "1 or more"),
        header_bytes: count("header_bytes", 64 << 10, 8 << 10, "8192 or more"),
        headers: count("headers", 100, 16, "16 or more"),
        concurrent,
        concurrent_per_client: count("concurrent_per_client", concurrent.max(1), 1, "1 or more"),
        queue: count("queue", 256, 0, "0 or more"),
    }
}

/// A time in seconds.
fn seconds(table: &mut Reader<'_>, key: &str, default: f64) -> Duration {
    let value = table.or(key, default);
    let range = 0.001..=86_400.0;
    table.check(key, value, "0.001 to 86400 seconds", |value| range.contains(value));
    Duration::from_secs_f64(if range.contains(&value) { value } else { default })
}

fn conversations(table: &mut Reader<'_>) -> ConversationConfig {
    ConversationConfig { stick: table.or("stick", true), cache: seconds(table, "cache", 300.0) }
}

fn timeouts(table: &mut Reader<'_>) -> Timeouts {
    let mut seconds = |key, default| seconds(table, key, default);
    Timeouts {
        headers: seconds("headers", 10.0),
        body: seconds("body", 60.0),
        queue: seconds("queue", 5.0),
        connect: seconds("connect", 5.0),
        first_byte: seconds("first_byte", 60.0),
        answer: seconds("answer", 600.0),
        idle: seconds("idle", 60.0),
        drain: seconds("drain", 30.0),
    }
}

fn clients(root: &mut Reader<'_>) -> Vec<ClientConfig> {
    let mut clients: Vec<ClientConfig> = Vec::new();
    root.each_table("clients", |mut table| {
        let (name, digest) = (table.required::<String>("name"), table.required::<String>("key_sha256"));
        let (Some(name), Some(digest)) = (name, digest) else { return };
        table.check("name", &name, "a name", |name| !name.is_empty());
        let mut key_sha256 = [0; 32];
        if const_hex::decode_to_slice(&digest, &mut key_sha256).is_err() {
            // Perhaps it is the key itself, so it is not shown.
            table.check("key_sha256", "another text", "64 hexadecimal digits", |_| false);
        } else if clients.iter().any(|client| client.name == name || client.key_sha256 == key_sha256) {
            let key = table.path().to_owned();
            table.mistake(Mistake::Twice { key, name });
        } else {
            clients.push(ClientConfig { name, key_sha256 });
        }
    });
    clients
}

/// Shows a list in an error.
struct Shown<'a>(&'a [String]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

#[cfg(test)]
mod tests;
