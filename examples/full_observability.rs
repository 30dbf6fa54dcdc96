//! All parts in one program: everyday prompts, embedded and routed from several threads and from tokio, measured, traced and
//! explained.
//!
//! ```text
//! cargo run --release --example full_observability
//! cargo run --release --example full_observability -- --serve 127.0.0.1:9898
//! ```
//!
//! The second command keeps routing, and serves `/metrics`, `/healthz` and `/readyz` until Ctrl-C or SIGTERM. With
//! `--outages 30` the lightweight model fails for the second half of every 30 s.
//!
//! No language model is called. Whether an answer suffices is random, with the router's confidence as its probability;
//! prices are invented; and an outage of the lightweight model is simulated, so that a circuit opens and closes again. While it
//! serves, a few requests are explored or shadowed, a second router has a quality budget, and a store of some memory is
//! simulated: it falls behind now and then, so that each of its metrics moves.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::ensure;
use clap::Parser;
use hdrhistogram::Histogram;
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tiny_dancer::observer::{
    MemoryChange, MemoryErrorKind, MemoryEvent, MemoryState, RequestStart, Stage, StageErrorKind, VerdictKind,
};
use tiny_dancer::parts::core::budget::JudgeRate;
use tiny_dancer::{
    Candidate, Circuit, CircuitBreakerConfig, CircuitState, Clock, LogFormat, MetricsCollector,
    MetricsConfig, MetricsServer, ModelType, Origin, Outcome, OutcomeResult, Prices, ProcessCollector,
    QualityBudget, Query, Reason, RouteError, Router, RouterConfig, RoutingRequest, RoutingResponse,
    Thresholds, TracingConfig, TracingSystem, otlp,
};
use tiny_dancer_embed::{EmbedError, Embedder};
use tiny_dancer_examples::collector::{Collector, tree};
use tiny_dancer_examples::data::{self, Memory, Prompt, RISK};
use tiny_dancer_examples::progress::Progress;
use tiny_dancer_examples::stop;
use tiny_dancer_examples::table::{Table, shortened};

/// How often each phase routes every prompt.
const ROUNDS: u64 = 40;
const THREADS: u64 = 4;
/// The simulated outage takes less than a second.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);
/// A share that a production service might choose.
const SAMPLING_RATIO: f64 = 0.01;
/// Shares of the powerful decisions.
const EXPLORE: f64 = 0.02;
const SHADOW_RATE: f64 = 0.1;
/// Invented, in dollars a call. An insufficient answer is repeated with the powerful model, so it costs both.
const PRICES: Prices = Prices { lightweight: 0.0002, powerful: 0.006, repeated: true };

/// Routes everyday prompts, and shows what an operator sees.
#[derive(Parser)]
struct Arguments {
    /// Afterwards keep routing, and serve /metrics, /healthz and /readyz at this address until Ctrl-C or SIGTERM.
    #[arg(long, value_name = "ADDR")]
    serve: Option<SocketAddr>,
    /// While serving, let the lightweight model fail for the second half of each period of this length.
    #[arg(long, value_name = "SECONDS", requires = "serve")]
    outages: Option<u64>,
    /// The model file, which is loaded again every 20 s while serving. By default the embedded model.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The value of a label `router` on all series of the router.
    #[arg(long, value_name = "NAME")]
    router: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let external = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
    let collector = if external.is_none() { Some(Collector::start()?) } else { None };
    let tracing_system = TracingSystem::new(TracingConfig {
        service_name: "full-observability".to_owned(),
        otlp_endpoint: external.clone().or_else(|| collector.as_ref().map(Collector::endpoint)),
        otlp_metrics: true, // as at /metrics, each minute and at the end
        otlp_logs: true,
        sampling_ratio: SAMPLING_RATIO,
        log_format: LogFormat::Text,
        // The simulated outage would fill the screen with warnings. RUST_LOG=info shows them.
        log_filter: "error".to_owned(),
        ..Default::default()
    });
    tracing_system.init()?;

    let memory = Arc::new(Memory::load()?);
    let prompts = Arc::new(memory.prompts()?);
    let const_labels = arguments.router.map(|name| ("router".to_owned(), name)).into_iter().collect();
    MetricsCollector::init(&MetricsConfig { prices: Some(PRICES), const_labels, ..Default::default() })?;
    let router = Arc::new(Router::new(RouterConfig {
        model_path: arguments.model,
        circuit_breaker: CircuitBreakerConfig {
            // Short, as this demonstration is. Usual are half a minute for `open_for` and a minute for the window.
            open_for: Duration::from_millis(500),
            max_open_for: Duration::from_secs(4),
            lightweight_window: Duration::from_secs(4),
            ..Default::default()
        },
        explore: EXPLORE,
        shadow_rate: SHADOW_RATE,
        ..memory.config()
    })?);
    router.registry().register(Box::new(ProcessCollector::new()?))?;
    tracing_system.push_metrics(otlp::source(router.registry()));
    router.reload_model()?;

    println!(
        "Tiny Dancer: {} everyday prompts, each embedded and routed by its {} nearest of {} memories",
        prompts.len(),
        data::CANDIDATES,
        memory.profiles.len()
    );
    let threads = route_from_threads(&router, &memory, &prompts)?;
    let tokio = route_from_tokio(&router, &memory, &prompts)?;
    where_they_went(&router, &prompts)?;
    a_few_prompts(&router, &prompts)?;
    how_long_it_took(&threads, &tokio);
    let outage = simulate_an_outage(&router, &prompts)?;
    the_outage(&outage);
    refuse_bad_requests(&router, &memory)?;
    some_metrics(&router.export_metrics()?);

    if let Some(address) = arguments.serve {
        // Every lightweight answer is judged, so that the budget opens at once.
        let budget = QualityBudget { judge_rate: JudgeRate::Fixed(1.0), ..Default::default() };
        let budgeted = Router::new(RouterConfig { budget: Some(budget), ..memory.config() })?;
        serve(address, arguments.outages, &router, budgeted, &prompts)?;
        some_metrics(&router.export_metrics()?);
    }
    let report = tracing_system.shutdown();
    one_trace(collector.as_ref(), external.as_deref());
    println!("  spans: {report}");
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}");
}

/// Latencies in nanoseconds, to three digits.
type Latencies = Histogram<u64>;

/// From a text to a decision: embeds it, and routes it by its nearest profiles, as one request. `query` is reused.
fn decide(
    router: &Router,
    memory: &Memory,
    text: &str,
    query: &mut Vec<f32>,
) -> anyhow::Result<RoutingResponse> {
    let mut scope = router.begin();
    scope.embedding(|report| -> Result<(), EmbedError> {
        let reading = memory.embedder.embed_into(text, query).inspect_err(|error| {
            report.error = Some(error.kind().name().parse().unwrap_or(StageErrorKind::Other));
        })?;
        (report.items, report.truncated) = (reading.tokens, reading.truncated);
        Ok(())
    })?;
    Ok(scope.route_set(Query::new(query), &memory.profiles, data::CANDIDATES)?)
}

/// Decides about every prompt `rounds` times, reports outcomes, and measures latencies.
fn route_rounds(
    router: &Router,
    memory: &Memory,
    prompts: &[Prompt],
    rounds: u64,
    seed: u64,
    progress: &Progress,
) -> anyhow::Result<Latencies> {
    let (clock, mut chance) = (Clock::system(), SmallRng::seed_from_u64(seed));
    let mut latencies = Latencies::new(3)?;
    let mut query = Vec::new();
    for _ in 0..rounds {
        for prompt in prompts {
            let start = clock.tick();
            let response = decide(router, memory, &prompt.text, &mut query)?;
            latencies.record(clock.since(start).as_nanos() as u64)?;
            router.record_outcome(outcome(&response, &mut chance));
        }
        progress.advance(prompts.len() as u64);
    }
    Ok(latencies)
}

/// A random outcome: the lightweight model suffices with the confidence of the router as the probability.
fn outcome(response: &RoutingResponse, chance: &mut impl Rng) -> Outcome {
    let sufficed = response.model == ModelType::Powerful || chance.random::<f32>() < response.confidence;
    let result = if sufficed { OutcomeResult::Sufficed } else { OutcomeResult::Insufficient };
    Outcome::new(response.model, result).with_origin(origin(response))
}

/// Why the model of a response is called.
fn origin(response: &RoutingResponse) -> Origin {
    if response.reason == Reason::Explored { Origin::Explored } else { Origin::Routed }
}

/// The outcome of the lightweight model's call for comparison, if the request is shadowed.
fn shadow(response: &RoutingResponse, chance: &mut impl Rng) -> Option<Outcome> {
    response.shadow.filter(|draw| draw.happened)?;
    let sufficed = chance.random::<f32>() < response.confidence;
    let result = if sufficed { OutcomeResult::Sufficed } else { OutcomeResult::Insufficient };
    Some(Outcome::new(ModelType::Lightweight, result).with_origin(Origin::Shadowed))
}

fn route_from_threads(router: &Router, memory: &Memory, prompts: &[Prompt]) -> anyhow::Result<Latencies> {
    let progress = Progress::new("threads", ROUNDS * prompts.len() as u64);
    let mut all = Latencies::new(3)?;
    std::thread::scope(|scope| {
        let share = |seed| {
            let progress = &progress;
            scope.spawn(move || route_rounds(router, memory, prompts, ROUNDS / THREADS, seed, progress))
        };
        let threads: Vec<_> = (0..THREADS).map(share).collect();
        for thread in threads {
            all.add(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??)?;
        }
        Ok(all)
    })
}

fn route_from_tokio(
    router: &Arc<Router>,
    memory: &Arc<Memory>,
    prompts: &Arc<Vec<Prompt>>,
) -> anyhow::Result<Latencies> {
    let progress = Arc::new(Progress::new("tokio", ROUNDS * prompts.len() as u64));
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for round in 0..ROUNDS {
            let (router, memory) = (Arc::clone(router), Arc::clone(memory));
            let (prompts, progress) = (Arc::clone(prompts), Arc::clone(&progress));
            // Embedding and routing are some microseconds of arithmetic, so they may run on an async worker.
            tasks.spawn(
                async move { route_rounds(&router, &memory, &prompts, 1, THREADS + round, &progress) },
            );
        }
        let mut all = Latencies::new(3)?;
        while let Some(latencies) = tasks.join_next().await {
            all.add(latencies??)?;
        }
        Ok(all)
    })
}

fn where_they_went(router: &Router, prompts: &[Prompt]) -> anyhow::Result<()> {
    heading("Where the prompts go, and why");
    let mut counts = BTreeMap::new();
    for prompt in prompts {
        let response = router.route(prompt.request())?;
        let (count, confidence) = counts.entry((response.model, response.reason)).or_insert((0_u32, 0.0));
        *count += 1;
        *confidence += response.confidence;
    }
    let mut table = Table::new(["model", "reason", "prompts", "share", "mean confidence"]);
    for ((model, reason), (count, confidence)) in counts {
        table.row([
            model.name().to_owned(),
            reason.name().to_owned(),
            count.to_string(),
            format!("{:.0}%", 100.0 * f64::from(count) / prompts.len() as f64),
            format!("{:.2}", confidence / count as f32),
        ]);
    }
    print!("{table}");
    let Thresholds { confidence_threshold, max_uncertainty } = router.thresholds();
    println!(
        "  lightweight needs a confidence of at least {confidence_threshold:.3} and an uncertainty of at most {max_uncertainty:.3}: at most {:.0}%",
        100.0 * RISK.alpha
    );
    println!(
        "  of its answers are insufficient, which is promised with {:.0}% confidence for traffic like the certifying rows",
        100.0 * (1.0 - RISK.delta)
    );
    Ok(())
}

fn a_few_prompts(router: &Router, prompts: &[Prompt]) -> anyhow::Result<()> {
    heading("A few of them");
    let mut table = Table::new(["prompt", "goes to", "confidence", "uncertainty", "reason"]);
    let mut shown = BTreeMap::new();
    for prompt in prompts {
        let response = router.route(prompt.request())?;
        // Three of each reason, each of another kind.
        let kinds: &mut Vec<&str> = shown.entry(response.reason).or_default();
        if kinds.len() == 3 || kinds.contains(&prompt.kind.as_str()) {
            continue;
        }
        kinds.push(&prompt.kind);
        table.row([
            shortened(&prompt.text, 58),
            response.model.name().to_owned(),
            format!("{:.2}", response.confidence),
            format!("{:.2}", response.uncertainty),
            response.reason.name().to_owned(),
        ]);
    }
    print!("{table}");
    Ok(())
}

fn how_long_it_took(threads: &Latencies, tokio: &Latencies) {
    heading("How long a decision takes from its text: embedding, search and routing, metrics on, 1% traced");
    let mut table = Table::new(["from", "requests", "p50", "p90", "p99", "p99.9", "longest"]);
    for (name, latencies) in [(format!("{THREADS} threads"), threads), ("tokio".to_owned(), tokio)] {
        let at = |quantile| microseconds(latencies.value_at_quantile(quantile));
        let longest = microseconds(latencies.max());
        table.row([name, latencies.len().to_string(), at(0.5), at(0.9), at(0.99), at(0.999), longest]);
    }
    print!("{table}");
}

fn microseconds(nanoseconds: u64) -> String {
    format!("{:.1} us", nanoseconds as f64 / 1000.0)
}

/// What happened to the requests of an outage.
#[derive(Default)]
struct Outage {
    failed_calls: u32,
    fallbacks: u32,
    probes: u32,
    states: Vec<(Duration, CircuitState)>,
}

/// Lets every call of the lightweight model fail until its circuit opens, then succeed until it has closed again.
///
/// # Errors
/// If that takes longer than [`LONGEST_OUTAGE`], for example because no request goes to the lightweight model.
fn simulate_an_outage(router: &Router, prompts: &[Prompt]) -> anyhow::Result<Outage> {
    // Clears the good answers of the phases before, as if they were older than the circuit's window of some seconds.
    router.reset(Circuit::Lightweight);
    let clock = Clock::system();
    let (start, mut outage) = (clock.tick(), Outage::default());
    let mut answers = OutcomeResult::CallFailed;
    for prompt in prompts.iter().cycle() {
        ensure!(
            clock.since(start) < LONGEST_OUTAGE,
            "the lightweight circuit did not open and close again within {LONGEST_OUTAGE:?}: it is {}, after {} failed \
             calls of the lightweight model and {} probes",
            router.circuit_state(Circuit::Lightweight),
            outage.failed_calls,
            outage.probes,
        );
        let before = router.circuit_state(Circuit::Lightweight);
        let response = router.route(prompt.request())?;
        // A shadowed request calls the lightweight model too, so it may be a probe.
        let is_shadowed = response.shadow.is_some_and(|draw| draw.happened);
        if response.model == ModelType::Lightweight || is_shadowed {
            match router.circuit_state(Circuit::Lightweight) {
                CircuitState::HalfOpen => outage.probes += 1,
                _ => outage.failed_calls += 1,
            }
            let origin = if is_shadowed { Origin::Shadowed } else { origin(&response) };
            router.record_outcome(Outcome::new(ModelType::Lightweight, answers).with_origin(origin));
        }
        outage.fallbacks += u32::from(response.reason == Reason::CircuitOpen);

        let after = router.circuit_state(Circuit::Lightweight);
        if after != before {
            outage.states.push((clock.since(start), after));
        }
        match after {
            CircuitState::Closed if answers == OutcomeResult::Sufficed => break,
            CircuitState::Open => {
                answers = OutcomeResult::Sufficed;
                std::thread::sleep(Duration::from_millis(1)); // requests continue at a lower rate
            }
            CircuitState::Closed | CircuitState::HalfOpen => {}
        }
    }
    Ok(outage)
}

fn the_outage(outage: &Outage) {
    heading("A simulated outage of the lightweight model");
    println!("  {} failed calls open the circuit;", outage.failed_calls);
    println!("  {} requests meanwhile go to the powerful model, reason circuit_open;", outage.fallbacks);
    println!("  {} probes that succeed close it again.", outage.probes);
    for (at, state) in &outage.states {
        println!("  after {:>5.0} ms  {}", at.as_secs_f64() * 1000.0, state.name());
    }
}

/// Embeds a bad text and routes bad requests. Each gives an error that names what is wrong.
fn refuse_bad_requests(router: &Router, memory: &Memory) -> anyhow::Result<()> {
    heading("Bad requests are refused");
    match memory.embedder.embed_into(" ", &mut Vec::new()) {
        Ok(reading) => anyhow::bail!("a bad text has a vector: {reading:?}"),
        Err(error) => println!("  {:<22} {error}", error.kind().name()),
    }
    let good = Candidate { embedding: vec![1.0, 0.0], success_rate: 1.0, ..Default::default() };
    let bad = [
        Candidate { embedding: vec![1.0], ..good.clone() },
        Candidate { embedding: vec![f32::NAN, 0.0], ..good.clone() },
        Candidate { success_rate: 1.5, ..good },
    ];
    for candidate in bad {
        match router.route(RoutingRequest::new(&[1.0, 0.0], &[candidate])) {
            Ok(response) => anyhow::bail!("a bad request has an answer: {response:?}"),
            Err(error) => println!("  {:<22} {error}", error.kind().name()),
        }
    }
    Ok(())
}

fn some_metrics(metrics: &str) {
    heading("Some metrics, as Prometheus scrapes them");
    let names = [
        "tiny_dancer_routing_requests_total",
        "tiny_dancer_routing_decisions_total",
        "tiny_dancer_circuit_breaker_transitions_total",
        "tiny_dancer_errors_total",
        "tiny_dancer_outcomes_total",
        "tiny_dancer_model_info",
    ];
    let nonzero = |line: &&str| names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    for line in metrics.lines().filter(nonzero) {
        println!("  {line}");
    }
}

fn one_trace(collector: Option<&Collector>, external: Option<&str>) {
    heading("One request as a trace");
    let Some(collector) = collector else {
        println!("  sent to {}", external.unwrap_or_default());
        return;
    };
    let spans = collector.spans();
    // A request that went through all four stages.
    let whole = |root: &&_| {
        let root: &opentelemetry_proto::tonic::trace::v1::Span = root;
        let child = |stage: Stage| {
            spans.iter().any(|span| span.parent_span_id == root.span_id && span.name == stage.name())
        };
        root.name == RequestStart::NAME && Stage::ROUTING.into_iter().all(child)
    };
    match spans.iter().find(whole) {
        Some(root) => print!("{}", tree(&spans, root)),
        None => println!("  none was sampled this time"),
    }
}

/// Keeps routing, and answers `/metrics`, `/healthz` and `/readyz`, until Ctrl-C or SIGTERM.
fn serve(
    address: SocketAddr,
    outages: Option<u64>,
    router: &Arc<Router>,
    budgeted: Router,
    prompts: &Arc<Vec<Prompt>>,
) -> anyhow::Result<()> {
    let server = MetricsServer::bind(address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = stop::requested()?;
        let address = server.address();
        heading(&format!("Serving http://{address}/metrics, /healthz and /readyz until Ctrl-C or SIGTERM"));
        tokio::select! {
            ended = keep_routing(Arc::clone(router), budgeted, Arc::clone(prompts), outages) => ended,
            () = stop => Ok(()),
        }
    })
}

/// Routes a text in one scope: its embedding, the search for its candidates, and the decision.
///
/// The embedding and the candidates are looked up. A word counts as a token. One text in fifty finds its embedder down, and one
/// in fifty its memory.
fn route_text(
    router: &Router,
    prompt: &Prompt,
    candidates: usize,
    number: usize,
) -> Result<RoutingResponse, RouteError> {
    /// An embedder reads so many tokens of a text.
    const MOST_TOKENS: usize = 16;
    let mut scope = router.begin();
    let query = scope.embedding(|report| {
        if number.is_multiple_of(100) {
            report.error = Some(StageErrorKind::Unavailable);
            return None;
        }
        let tokens = prompt.text.split_whitespace().count();
        report.items = tokens.min(MOST_TOKENS);
        report.truncated = tokens > MOST_TOKENS;
        Some(&*prompt.embedding)
    });
    let Some(query) = query else { return scope.route_without_evidence() };
    let candidates = scope.memory_search(|report| {
        if number % 100 == 50 {
            report.error = Some(StageErrorKind::DeadlineExceeded);
            return &[][..];
        }
        report.items = candidates;
        &prompt.candidates[..candidates]
    });
    scope.route(RoutingRequest::new(query, candidates))
}

/// Reports what the store of a memory might, for the request with this number: a commit for each ten requests, verdicts of each
/// kind, and now and then a full queue, entries that expire, and data that are erased.
fn report_memory(router: &Router, number: usize) {
    const CAPACITY: usize = 1000;
    let mut state = MemoryState::default();
    (state.entries, state.evidence) = (1000 + number, 300 + number / 3);
    (state.segments, state.log_entries) = (1 + number / 1000, Some(2000 + number));
    // It fills up within 30 s and is empty again.
    (state.queue, state.queue_capacity) = (number % 6000 * CAPACITY / 6000, CAPACITY);
    let report = |change| router.core().on_memory(&MemoryEvent::new(state, change));
    let kind = match number % 50 {
        0 => VerdictKind::Contradicting,
        10 => VerdictKind::Repeated,
        20 => VerdictKind::Superseded,
        30 => VerdictKind::Unknown,
        _ => VerdictKind::Accepted,
    };
    if number == 0 {
        report(MemoryChange::Opened { duration: Duration::from_millis(40) });
    }
    if number.is_multiple_of(3) {
        report(MemoryChange::Verdict { kind });
    }
    if number.is_multiple_of(10) {
        let duration = Duration::from_micros(800 + number as u64 % 7000);
        report(MemoryChange::Stored { changes: 10, duration });
    }
    if number % 500 == 250 {
        report(MemoryChange::Failed { changes: 3, kind: MemoryErrorKind::Full });
        report(MemoryChange::Lost { changes: 3, kind: MemoryErrorKind::QueueFull });
        report(MemoryChange::Expired { entries: 20, log_entries: 30 });
        report(MemoryChange::Erased { entries: 1, log_entries: 2 });
    }
}

/// Routes a request by a router with a quality budget, and settles its judgement: one lightweight answer in fifty is worse.
fn route_under_a_budget(router: &Router, prompt: &Prompt, chance: &mut impl Rng) -> Result<(), RouteError> {
    let response = router.route(prompt.request())?;
    router.answered();
    if let Some(ticket) = response.ticket.filter(|ticket| ticket.judge.happened) {
        router.settle(&ticket, chance.random::<f32>() < 0.02);
    }
    Ok(())
}

/// Some two hundred requests a second of several sizes, every other one a text, some of them without candidates or bad, and
/// reloads from time to time.
async fn keep_routing(
    router: Arc<Router>,
    budgeted: Router,
    prompts: Arc<Vec<Prompt>>,
    outages: Option<u64>,
) -> anyhow::Result<()> {
    const BEAT: Duration = Duration::from_millis(5);
    let (mut chance, clock) = (SmallRng::seed_from_u64(0), Clock::system());
    let (mut beat, start) = (tokio::time::interval(BEAT), clock.tick());
    for (number, prompt) in prompts.iter().cycle().enumerate() {
        beat.tick().await;
        let candidates = match number % 50 {
            0 => 0,
            number => [5, 20, data::CANDIDATES][number % 3].min(prompt.candidates.len()),
        };
        let answer = if number.is_multiple_of(2) {
            route_text(&router, prompt, candidates, number)
        } else {
            // A query without dimensions is an error.
            let query = if number % 64 == 1 { &[] } else { &*prompt.embedding };
            router.route(RoutingRequest::new(query, &prompt.candidates[..candidates]))
        };
        if let Ok(response) = answer {
            let is_out = outages.is_some_and(|period| {
                let (period, now) = (Duration::from_secs(period.max(1)), clock.since(start));
                now.as_secs_f64() % period.as_secs_f64() >= period.as_secs_f64() / 2.0
            });
            let mut outcome = outcome(&response, &mut chance);
            if is_out && outcome.model == ModelType::Lightweight {
                outcome.result = OutcomeResult::CallFailed;
            }
            router.record_outcome(outcome);
            if let Some(outcome) = shadow(&response, &mut chance) {
                router.record_outcome(outcome);
            }
        }
        report_memory(&router, number);
        if number.is_multiple_of(4) {
            route_under_a_budget(&budgeted, prompt, &mut chance)?;
        }
        if number % 4000 == 2000 {
            // After an error the old model serves. A WARN line and a metric show the error.
            let _ = router.reload_model();
        }
    }
    Ok(())
}
