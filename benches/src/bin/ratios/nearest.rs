//! The nearest remembered prompts by the memory's index, compared with an exact scan and with `usearch`, and the time from a
//! prompt to a decision.
//!
//! A turn would empty the other contenders' caches. So each contender warms up in each round, and a round has the medians of
//! single calls.

use crate::Run;
use anyhow::Result;
use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;
use tiny_dancer::parts::core::{Candidate, CandidateSet, Query, Router};
use tiny_dancer::{Metadata, RouterConfig};
use tiny_dancer_benches::Quartiles;
use tiny_dancer_benches::nearest::{Graph, Prompts};
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use tiny_dancer_memory::Index;

/// The number of nearest entries that a request is routed by.
const NEAREST: usize = 64;

/// `usearch` is compared at sizes up to this one, since it takes minutes to build a graph of a million.
const GRAPH: usize = 100_000;

/// The calls by which a contender warms up, and those that a round measures.
const CALLS: usize = 24;

/// The bytes that are written to empty all caches.
const CACHES: usize = 128 << 20;

pub(crate) fn measure(run: &Run) -> Result<()> {
    let sizes = [10_000, 100_000, 1_000_000];
    let selected = |n: &usize| ["nearest", "decision"].iter().any(|set| run.selects(&format!("{set}/{n}")));
    let sizes: Vec<_> = sizes.into_iter().filter(selected).collect();
    if sizes.is_empty() {
        return Ok(());
    }
    let prompts = Prompts::read()?;
    sizes.into_iter().try_for_each(|n| size(run, &prompts, n))
}

fn size(run: &Run, prompts: &Prompts, n: usize) -> Result<()> {
    let embedder = StaticEmbedder::new();
    let mut queries = Vec::new();
    for prompt in &prompts.queries {
        let mut query = Vec::new();
        embedder.embed_into(prompt, &mut query)?;
        queries.push(query);
    }
    let entries = prompts.entries(n);
    // The index before the graph, whose freed memory it would use.
    let before = resident();
    let index = Index::new(queries[0].len());
    for entries in entries.chunks(10_000) {
        index.insert(entries.to_vec())?;
    }
    let bytes = (resident() - before) / n as f64;
    let graph =
        if n <= GRAPH && run.selects(&format!("nearest/{n}")) { Some(Graph::of(&entries)?) } else { None };
    let set = CandidateSet::new(entries)?;

    // What both miss of the nearest, at equal recall.
    let some = &queries[..queries.len().min(256)];
    let mut exact = Vec::new();
    for query in some {
        exact.push(
            set.nearest(query, NEAREST)?.into_iter().map(|(place, _)| place as u64).collect::<HashSet<_>>(),
        );
    }
    let missed = |nearest: &dyn Fn(&[f32]) -> Result<Vec<u64>>| -> Result<f64> {
        let mut found = 0;
        for (query, exact) in some.iter().zip(&exact) {
            found += nearest(query)?.iter().filter(|place| exact.contains(place)).count();
        }
        Ok(1000.0 - 1000.0 * found as f64 / (NEAREST * some.len()) as f64)
    };
    let unfiltered = Metadata::new();
    let of_index = missed(&|query| {
        let found = index.nearest(query, NEAREST, &unfiltered)?;
        found.iter().map(|found| Ok(found.candidate.id.parse()?)).collect()
    })?;
    let one = |value| Quartiles::of(std::iter::once(value));
    run.report(&format!("nearest/{n}/missed"), one(of_index), &[]);
    run.report(&format!("nearest/{n}/bytes"), one(bytes), &[]);
    if let Some(graph) = &graph {
        let mut of_graph = missed(&|query| graph.nearest(query, NEAREST))?;
        while of_graph > of_index.max(1.0) && graph.effort() < n {
            graph.search_longer();
            of_graph = missed(&|query| graph.nearest(query, NEAREST))?;
        }
        run.report(&format!("nearest/{n}/usearch/missed"), one(of_graph), &[]);
        run.report(&format!("nearest/{n}/usearch/bytes"), one(graph.bytes() as f64 / n as f64), &[]);
    }

    let config = RouterConfig { embedder: Some(embedder.id().to_string()), ..RouterConfig::default() };
    let router = Router::new(config)?;
    let mut vector = Vec::new();
    let mut contenders: Vec<Contender<'_>> = vec![
        Contender::new("exact", |i| drop(black_box(set.nearest(&queries[i % queries.len()], NEAREST)))),
        Contender::new("ours", |i| {
            drop(black_box(index.nearest(&queries[i % queries.len()], NEAREST, &unfiltered)));
        }),
        Contender::new("decision", |i| {
            let scope = router.begin();
            let prompt = black_box(&prompts.queries[i % queries.len()]);
            embedder.embed_into(prompt, &mut vector).expect("the prompt has tokens");
            let found = index.nearest(&vector, NEAREST, &unfiltered).expect("the vector has a direction");
            let candidates: Vec<&Candidate> = found.iter().map(|found| &*found.candidate).collect();
            let query = Query { now: Some(0), ..Query::new(&vector) };
            drop(black_box(scope.route_nearest(query, &candidates).expect("the request is valid")));
        }),
    ];
    if let Some(graph) = &graph {
        contenders.push(Contender::new("usearch", |i| {
            drop(black_box(graph.nearest(&queries[i % queries.len()], NEAREST)));
        }));
    }
    rounds(run, &mut contenders, |contender, round| {
        let calls = if contender.name == "exact" { 3 } else { CALLS };
        for i in 0..calls {
            (contender.work)(round * CALLS + i);
        }
        (0..calls).map(|i| contender.time(round * CALLS + i)).collect()
    });
    report(run, n, "", &contenders);
    let mut caches = vec![0_u8; CACHES];
    rounds(run, &mut contenders, |contender, round| {
        caches.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
        vec![contender.time(round)]
    });
    report(run, n, "/cold", &contenders);
    Ok(())
}

struct Contender<'a> {
    name: &'static str,
    work: Box<dyn FnMut(usize) + 'a>,
    /// Nanoseconds of single calls, by round.
    times: Vec<Vec<f64>>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, work: impl FnMut(usize) + 'a) -> Self {
        Self { name, work: Box::new(work), times: Vec::new() }
    }

    fn time(&mut self, call: usize) -> f64 {
        let start = now();
        (self.work)(call);
        start.elapsed().as_secs_f64() * 1e9
    }

    /// The median of each round.
    fn medians(&self) -> Vec<f64> {
        self.times.iter().map(|times| Quartiles::of(times.iter().copied()).median).collect()
    }
}

/// Measures each contender in each round, for about the time of a comparison.
fn rounds(
    run: &Run,
    contenders: &mut [Contender<'_>],
    mut measure: impl FnMut(&mut Contender<'_>, usize) -> Vec<f64>,
) {
    for contender in &mut *contenders {
        contender.times.clear();
    }
    let (start, mut round) = (now(), 0);
    while start.elapsed() < 2 * run.time() || round < 16 {
        for contender in &mut *contenders {
            let times = measure(contender, round);
            contender.times.push(times);
        }
        round += 1;
    }
}

fn report(run: &Run, n: usize, suffix: &str, contenders: &[Contender<'_>]) {
    let medians: Vec<_> = contenders.iter().map(|contender| (contender.name, contender.medians())).collect();
    let of = |name: &str| medians.iter().find(|(it, _)| *it == name).map(|(_, medians)| medians.as_slice());
    let times: Vec<_> = medians
        .iter()
        .map(|(name, medians)| (*name, Quartiles::of(medians.iter().copied()).median))
        .collect();
    let ratio = |id: &str, name: &str, to: &str| {
        if let (Some(ones), Some(others)) = (of(name), of(to)) {
            let ratio = Quartiles::of(ones.iter().zip(others).map(|(one, other)| one / other));
            run.report(id, ratio, &times);
        }
    };
    ratio(&format!("nearest/{n}{suffix}"), "exact", "ours");
    ratio(&format!("nearest/{n}/usearch{suffix}"), "usearch", "ours");
    ratio(&format!("decision/{n}{suffix}"), "exact", "decision");
    let decision =
        contenders.iter().filter(|it| it.name == "decision").flat_map(|it| it.times.iter().flatten());
    let mut calls: Vec<f64> = decision.map(|time| time / 1e3).collect();
    calls.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| Quartiles::of(std::iter::once(calls[(calls.len() - 1) * percent / 100]));
    run.report(&format!("decision/{n}/p50{suffix}"), at(50), &[]);
    run.report(&format!("decision/{n}/p99{suffix}"), at(99), &[]);
}

/// The resident bytes of this process, on Linux.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok());
    pages.map_or(0.0, |pages| pages * 4096.0)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
