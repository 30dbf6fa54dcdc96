//! Sends the spans of one routed request to a Jaeger agent, over UDP.
//!
//! ```text
//! cargo run -p tiny-dancer-tracing --example jaeger_agent -- localhost:6831
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tiny_dancer_core::{Candidate, Router, RouterConfig, RoutingRequest};
use tiny_dancer_tracing::{TracingConfig, TracingObserver, TracingSystem};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = TracingSystem::new(TracingConfig {
        service_name: "jaeger-agent-example".to_owned(),
        jaeger_agent_endpoint: Some(std::env::args().nth(1).unwrap_or_else(|| "localhost:6831".to_owned())),
        ..Default::default()
    });
    system.init()?;
    let router = Router::with_observer(RouterConfig::default(), TracingObserver::global())?;
    let candidates = [[0.6, 0.8], [0.8, 0.6], [1.0, 0.0]].map(|embedding| Candidate {
        embedding: embedding.to_vec(),
        success_rate: 1.0,
        ..Default::default()
    });
    router.route(RoutingRequest::new(&[0.7, 0.7], &candidates))?;
    println!("spans: {}", system.shutdown());
    Ok(())
}
