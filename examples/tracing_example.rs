//! Traces: route a few prompts, one of them within the trace of a caller, and show what the collector receives.
//!
//! ```text
//! cargo run --release --example tracing_example
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --release --example tracing_example
//! ```
//!
//! With the variable set, spans go to that collector. Without it, a collector within this process receives and draws them.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tiny_dancer::observer::RequestStart;
use tiny_dancer::{Router, TraceContext, TracingConfig, TracingSystem};
use tiny_dancer_examples::collector::{Collector, tree};
use tiny_dancer_examples::data::Memory;

fn main() -> anyhow::Result<()> {
    let external = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
    let collector = if external.is_none() { Some(Collector::start()?) } else { None };
    let endpoint = external.clone().or_else(|| collector.as_ref().map(Collector::endpoint));

    let tracing_system = TracingSystem::new(TracingConfig {
        service_name: "tracing-example".to_owned(),
        otlp_endpoint: endpoint,
        ..Default::default()
    });
    tracing_system.init()?;

    let memory = Memory::load()?;
    let router = Router::new(memory.config())?;
    let prompts = memory.prompts()?;
    for prompt in prompts.iter().take(3) {
        router.route(prompt.request())?; // a trace of its own
    }

    // The fourth belongs to a trace that began in another service, which sent these headers.
    let headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let caller = TraceContext::from_headers(headers)?;
    let attached = caller.attach();
    router.route(prompts[3].request())?;
    drop(attached);

    let report = tracing_system.shutdown();
    println!("spans: {report}");
    match (collector, external) {
        (Some(collector), _) => {
            let spans = collector.spans();
            for root in spans.iter().filter(|span| span.name == RequestStart::NAME) {
                println!("\n{}", tree(&spans, root));
            }
        }
        (None, endpoint) => println!("sent to {}", endpoint.unwrap_or_default()),
    }
    Ok(())
}
