//! One prompt, from its text to its decision: its tokens, its nearest memories, where it goes, and why.
//!
//! ```text
//! cargo run --release --example ask -- "What is the capital of France?"
//! cargo run --release --example ask < prompt.txt
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context;
use clap::Parser;
use std::io::{IsTerminal, Read};
use tiny_dancer::{Router, RoutingRequest, RoutingResponse};
use tiny_dancer_embed::Embedder;
use tiny_dancer_examples::data::{Memory, RISK};
use tiny_dancer_examples::table::{Table, wrapped};

/// How many memories are shown.
const SHOWN: usize = 10;
/// The width of the screen, and how many lines the tokens may take.
const WIDTH: usize = 100;
const TOKEN_LINES: usize = 4;

/// Shows how one prompt is routed, and why.
#[derive(Parser)]
struct Arguments {
    /// The prompt; standard input by default.
    prompt: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let prompt = match Arguments::parse().prompt {
        Some(prompt) => prompt,
        None => read()?,
    };
    let memory = Memory::load()?;
    let router = Router::new(memory.config())?;

    let mut query = Vec::new();
    let reading = memory.embedder.embed_into(&prompt, &mut query).context("the prompt has no vector")?;
    let candidates = memory.nearest(&query)?;
    let response = router.route(RoutingRequest::new(&query, &candidates))?;

    let part = if reading.truncated { ", of the beginning and the end" } else { "" };
    println!("{} tokens{part}, {} of them unknown", reading.tokens, reading.unknown);
    tokens(&memory, &prompt);
    println!("\nThe nearest {SHOWN} of {} memories: profiles of past requests", memory.profiles.len());
    memories(&memory, &query, &response)?;
    decision(&router, &memory, &response);
    Ok(())
}

fn read() -> anyhow::Result<String> {
    let mut input = std::io::stdin();
    if input.is_terminal() {
        println!("Type a prompt, and end it with Ctrl-D on a line of its own:");
    }
    let mut prompt = String::new();
    input.read_to_string(&mut prompt).context("cannot read standard input")?;
    Ok(prompt)
}

fn tokens(memory: &Memory, prompt: &str) {
    let mut ids = Vec::new();
    memory.embedder.tokenize(prompt, &mut ids);
    let tokens = ids.iter().filter_map(|&id| memory.embedder.token(id));
    let lines = wrapped(tokens, WIDTH - 2);
    for line in lines.iter().take(TOKEN_LINES) {
        println!("  {line}");
    }
    if lines.len() > TOKEN_LINES {
        println!("  ... and {} more lines", lines.len() - TOKEN_LINES);
    }
}

/// The nearest memories, each with its rates and the confidence that the router would have with it alone.
fn memories(memory: &Memory, query: &[f32], response: &RoutingResponse) -> anyhow::Result<()> {
    let columns = ["subject", "similarity", "requests", "no worse", "better", "confidence alone"];
    let mut table = Table::new(columns);
    for (place, (profile, similarity)) in memory.profiles.nearest(query, SHOWN)?.into_iter().enumerate() {
        let Some(profile) = memory.profiles.candidate(profile) else { continue };
        let alone = response.decisions.iter().find(|decision| decision.candidate == place);
        table.row([
            profile.metadata.get("subject").map_or("-", String::as_str).replace('_', " "),
            format!("{similarity:.3}"),
            profile.access_count.to_string(),
            percent(profile.success_rate),
            percent(profile.win_rate),
            alone.map_or_else(String::new, |alone| format!("{:.3}", alone.confidence)),
        ]);
    }
    print!("{table}");
    println!(
        "  no worse, better: how often the lightweight model's answer was, compared with the powerful one's"
    );
    Ok(())
}

fn percent(share: f32) -> String {
    format!("{:.0}%", 100.0 * share)
}

fn decision(router: &Router, memory: &Memory, response: &RoutingResponse) {
    println!("\nThe {} model answers, reason {}", response.model, response.reason);
    let thresholds = router.thresholds();
    let mut table = Table::new(["", "value", "lightweight needs", "holds"]);
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    table.row([
        "confidence that the lightweight model suffices".to_owned(),
        format!("{:.3}", response.confidence),
        format!("at least {:.3}", thresholds.confidence_threshold),
        yes(response.confidence >= thresholds.confidence_threshold),
    ]);
    table.row([
        "uncertainty of such a confidence".to_owned(),
        format!("{:.3}", response.uncertainty),
        format!("at most {:.3}", thresholds.max_uncertainty),
        yes(response.uncertainty <= thresholds.max_uncertainty),
    ]);
    print!("{table}");
    println!(
        "  with these thresholds at most {:.0}% of its answers are insufficient, with {:.0}% confidence",
        100.0 * RISK.alpha,
        100.0 * (1.0 - RISK.delta)
    );
    let (model, embedder) = (router.model(), memory.embedder.id().to_string());
    println!("\nmodel {}, embedder {embedder:.12}", model.version());
}
