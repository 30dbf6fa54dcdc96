//! Text: embed a prompt by the table in the package, and route it.
//!
//! ```text
//! cargo run --release --example text
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use tiny_dancer::{Candidate, Clock, Router, RouterConfig, RoutingRequest};
use tiny_dancer_embed::{Embedder, StaticEmbedder};

fn main() -> anyhow::Result<()> {
    let embedder = StaticEmbedder::new();
    // The model that is calibrated for this embedder.
    let config = RouterConfig { embedder: Some(embedder.id().to_string()), ..Default::default() };
    let router = Router::new(config)?;
    // Past prompts, and how often the lightweight model's answer was no worse than the powerful one's.
    let past =
        [("How do I sort a list in Python?", 1.0), ("Prove that there are infinitely many primes", 0.2)];
    let mut candidates = Vec::new();
    for (prompt, success_rate) in past {
        let mut candidate =
            Candidate { id: prompt.to_owned(), success_rate, access_count: 20, ..Default::default() };
        candidate.created_at = Clock::system().unix_seconds();
        embedder.embed_into(prompt, &mut candidate.embedding)?;
        candidates.push(candidate);
    }
    let mut query = Vec::new();
    let reading = embedder.embed_into("sort a python list of tuples by the second item", &mut query)?;
    let response = router.route(RoutingRequest::new(&query, &candidates))?;
    println!("{} tokens: {} because {}", reading.tokens, response.model, response.reason);
    Ok(())
}
