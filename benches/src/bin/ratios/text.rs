//! Text to vector by the static embedder, compared with `tokenizers` and `model2vec-rs` with the same table.

use crate::Run;
use anyhow::Result;
use std::hint::black_box;
use std::time::Instant;
use tiny_dancer_benches::text::{PROMPT, Plain, model2vec, prompts};
use tiny_dancer_benches::{Quartiles, Turns};
use tiny_dancer_embed::{Embedder, Kernel, MiniLm, StaticEmbedder};

/// The bytes that are written to empty all caches: twice the third level of large machines' share for one core.
const CACHES: usize = 128 << 20;

pub(crate) fn measure(run: &Run) -> Result<()> {
    let ids = [
        "text/tokenizers",
        "text/model2vec",
        "text/everyday",
        "text/cold",
        "text/start",
        "text/minilm",
        "tokens/tokenizers",
    ];
    let kernels: Vec<_> = Kernel::available();
    let by_kernel: Vec<_> = kernels.iter().map(|kernel| format!("text/{}", kernel.name())).collect();
    if !ids.iter().copied().chain(by_kernel.iter().map(String::as_str)).any(|id| run.selects(id)) {
        return Ok(());
    }
    let (embedder, plain, model2vec) = (StaticEmbedder::new(), Plain::new()?, model2vec()?);
    let others: Vec<_> = kernels.iter().map(|kernel| StaticEmbedder::new().with_kernel(*kernel)).collect();
    let mut vector = Vec::new();

    // One prompt, warm, by each kernel.
    let mut turns = Turns::default();
    turns.add("ours", embeds(&embedder, &[PROMPT]));
    turns.add("model2vec", |times| {
        for _ in 0..times {
            black_box(model2vec.encode_single(black_box(PROMPT)));
        }
    });
    turns.add("tokenizers", |times| {
        for _ in 0..times {
            black_box(plain.embed(black_box(PROMPT)).expect("it tokenizes any text"));
        }
    });
    for (kernel, other) in kernels.iter().zip(&others) {
        turns.add(kernel.name(), embeds(other, &[PROMPT]));
    }
    let measured = turns.measure(run.time());
    run.report_ratio("text/tokenizers", &measured, "tokenizers", "ours");
    run.report_ratio("text/model2vec", &measured, "model2vec", "ours");
    for (kernel, id) in kernels.iter().zip(&by_kernel) {
        run.report_ratio(id, &measured, "model2vec", kernel.name());
    }

    // Many prompts in turn, so that no branch predictor learns one.
    let prompts = prompts()?;
    let prompts: Vec<_> = prompts.iter().map(String::as_str).collect();
    let mut next = prompts.iter().cycle();
    let mut turns = Turns::default();
    turns.add_at_least("ours", prompts.len() as u64, embeds(&embedder, &prompts));
    turns.add_at_least("model2vec", prompts.len() as u64, |times| {
        for prompt in next.by_ref().take(times as usize) {
            black_box(model2vec.encode_single(black_box(prompt)));
        }
    });
    run.report_ratio("text/everyday", &turns.measure(run.time()), "model2vec", "ours");

    // Tokens alone.
    let mut tokens = Vec::new();
    let mut turns = Turns::default();
    turns.add("ours", |times| {
        for _ in 0..times {
            embedder.tokenize(black_box(PROMPT), &mut tokens);
            black_box(&tokens);
        }
    });
    turns.add("tokenizers", |times| {
        for _ in 0..times {
            black_box(plain.ids(black_box(PROMPT)).expect("it tokenizes any text"));
        }
    });
    run.report_ratio("tokens/tokenizers", &turns.measure(run.time()), "tokenizers", "ours");

    // One prompt with empty caches.
    let mut caches = vec![0_u8; CACHES];
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    let mut round = 0;
    let start = now();
    while start.elapsed() < run.time() || ours.len() < 16 {
        round += 1;
        caches.iter_mut().step_by(64).for_each(|byte| *byte = round as u8);
        ours.push(nanoseconds(|| drop(black_box(embedder.embed_into(black_box(PROMPT), &mut vector)))));
        caches.iter_mut().step_by(64).for_each(|byte| *byte = !(round as u8));
        peers.push(nanoseconds(|| drop(black_box(model2vec.encode_single(black_box(PROMPT))))));
    }
    let ratios = Quartiles::of(peers.iter().zip(&ours).map(|(peer, ours)| peer / ours));
    let median = |times: &[f64]| Quartiles::of(times.iter().copied()).median;
    run.report("text/cold", ratios, &[("ours", median(&ours)), ("model2vec", median(&peers))]);

    // The start.
    let starts = Quartiles::of((0..8).map(|_| nanoseconds(|| drop(black_box(StaticEmbedder::new())))));
    run.report("text/start", starts, &[]);
    minilm(run, &embedder)
}

/// MiniLM on one thread. It needs its weights: `cargo xtask bench` names their folder.
fn minilm(run: &Run, embedder: &StaticEmbedder) -> Result<()> {
    let Some(folder) = std::env::var_os("TINY_DANCER_MINILM").filter(|_| run.selects("text/minilm")) else {
        return Ok(());
    };
    let minilm = MiniLm::load(folder)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (mut ours, mut networks, mut vector) = (Vec::new(), Vec::new(), Vec::new());
    let start = now();
    while start.elapsed() < run.time() || ours.len() < 16 {
        ours.push(nanoseconds(|| drop(black_box(embedder.embed_into(black_box(PROMPT), &mut vector)))));
        one.install(|| {
            networks.push(nanoseconds(|| drop(black_box(minilm.embed_into(black_box(PROMPT), &mut vector)))));
        });
    }
    let ratios = Quartiles::of(networks.iter().zip(&ours).map(|(network, ours)| network / ours));
    let median = |times: &[f64]| Quartiles::of(times.iter().copied()).median;
    run.report(
        "text/minilm",
        ratios,
        &[("ours", median(&ours)), ("minilm in candle, one thread", median(&networks))],
    );
    Ok(())
}

/// Embeds the texts one after the other, in an endless cycle.
fn embeds<'a>(embedder: &'a StaticEmbedder, texts: &'a [&str]) -> impl FnMut(u64) + 'a {
    let (mut next, mut vector) = (texts.iter().cycle(), Vec::new());
    move |times| {
        for text in next.by_ref().take(times as usize) {
            embedder.embed_into(black_box(text), &mut vector).expect("the text has tokens");
            black_box(&vector);
        }
    }
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let start = now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
