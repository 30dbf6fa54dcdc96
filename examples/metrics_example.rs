//! Metrics: route prompts, report outcomes, and read Prometheus' text.
//!
//! ```text
//! cargo run --release --example metrics_example
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tiny_dancer::{Outcome, OutcomeResult, Router};
use tiny_dancer_examples::data::Memory;

fn main() -> anyhow::Result<()> {
    let memory = Memory::load()?;
    let prompts = memory.prompts()?;
    let router = Router::new(memory.config())?; // registers the families in prometheus' default registry

    for prompt in &prompts {
        let response = router.route(prompt.request())?;
        // A service calls the chosen model here, and reports the outcome once it is known.
        router.record_outcome(Outcome::new(response.model, OutcomeResult::Sufficed));
    }

    // The text of a scrape of `/metrics`. Buckets are left out, to keep it short.
    let metrics = router.export_metrics()?;
    for line in metrics.lines().filter(|line| line.starts_with("tiny_dancer_") && !line.contains("_bucket")) {
        println!("{line}");
    }
    Ok(())
}
