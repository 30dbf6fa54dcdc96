//! `tiny-dancer explain`: the effect of each candidate and feature on the confidence of one request.
//!
//! Each number comes from routing the request again: without one candidate, or with one feature of all candidates at
//! a neutral value. The effect of an ablation depends on the other candidates and features, so effects don't add up.

use crate::embedding::EmbedderArgs;
use crate::route::Request;
use crate::{Memory, print, router};
use anyhow::Context;
use clap::Args;
use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;
use tiny_dancer::parts::core::Router;
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::{Candidate, CandidateSet, Feature, RoutingRequest, RoutingResponse};
use tiny_dancer_train::lines::MAX_LINE_BYTES;

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The model's file; by default the embedded model for the embedder of the vectors.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The number of candidates to show. Those with the largest effect come first.
    #[arg(long, default_value_t = 10)]
    top: usize,
}

pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let past = args.memory.remember(&args.embedder)?;
    let router = router(args.model.as_deref(), past.embedder.as_deref())?;
    let memory = CandidateSet::new(past.candidates())?;
    let mut text = vec![];
    let input = std::io::stdin().lock();
    input.take(MAX_LINE_BYTES as u64).read_to_end(&mut text).context("cannot read standard input")?;
    let request =
        Request::read(&text, past.embedder.as_deref()).context("standard input is not one request")?;
    let nearest = memory.nearest(&request.embedding, JOINT_CANDIDATES)?;
    let candidates: Vec<_> = nearest.iter().filter_map(|&(place, _)| memory.candidate(place)).collect();
    print(report(&router, &request, &candidates, args.top)?)
}

fn route(router: &Router, request: &Request, candidates: &[Candidate]) -> anyhow::Result<RoutingResponse> {
    Ok(router.route(RoutingRequest { query: request.query(), candidates })?)
}

fn report(
    router: &Router,
    request: &Request,
    candidates: &[Candidate],
    top: usize,
) -> anyhow::Result<String> {
    let whole = route(router, request, candidates)?;
    let mut text = String::new();
    writeln!(
        text,
        "request {}: {}, {}; confidence {:.4}, uncertainty {:.4}, {} candidates\n",
        request.id,
        whole.model.name(),
        whole.reason.name(),
        whole.confidence,
        whole.uncertainty,
        candidates.len()
    )?;

    writeln!(text, "{:<18} {:<22} {:>12} {:>9}", "feature", "neutral value", "confidence", "effect")?;
    for feature in Feature::ALL {
        let (neutral, ablated) = without(feature, &request.embedding, candidates);
        let confidence = route(router, request, &ablated)?.confidence;
        let effect = whole.confidence - confidence;
        writeln!(text, "{:<18} {neutral:<22} {confidence:>12.4} {effect:>+9.4}", feature.name())?;
    }

    let mut effects = vec![];
    for left_out in 0..candidates.len() {
        let mut rest = candidates.to_vec();
        rest.remove(left_out);
        effects.push((left_out, route(router, request, &rest)?.confidence));
    }
    effects.sort_by(|a, b| (whole.confidence - b.1).abs().total_cmp(&(whole.confidence - a.1).abs()));
    let width =
        candidates.iter().map(|candidate| candidate.id.chars().count()).max().unwrap_or_default().max(9);
    writeln!(
        text,
        "\n{:<width$} {:>10} {:>12} {:>6} {:>9} {:>12} {:>9}",
        "candidate", "similarity", "success rate", "count", "by itself", "without it", "effect"
    )?;
    for &(index, confidence) in effects.iter().take(top) {
        let candidate = &candidates[index];
        let decision = whole.decisions.iter().find(|decision| decision.candidate == index);
        let own = decision.map_or_else(|| "-".to_owned(), |decision| format!("{:.4}", decision.confidence));
        writeln!(
            text,
            "{:<width$} {:>10.4} {:>12.3} {:>6} {own:>9} {confidence:>12.4} {:>+9.4}",
            candidate.id,
            cosine(&request.embedding, &candidate.embedding),
            candidate.success_rate,
            candidate.access_count,
            whole.confidence - confidence,
        )?;
    }
    let hidden = effects.len().saturating_sub(top);
    if hidden > 0 {
        write!(text, "and {hidden} with a smaller effect")?;
    }
    Ok(text.trim_end().to_owned())
}

/// The candidates with one feature at a neutral value, and a text on that value.
fn without(feature: Feature, query: &[f32], candidates: &[Candidate]) -> (String, Vec<Candidate>) {
    let mut ablated = candidates.to_vec();
    let mean = |rate: fn(&Candidate) -> f32| {
        (candidates.iter().map(rate).sum::<f32>() / candidates.len().max(1) as f32).clamp(0.0, 1.0)
    };
    let success_rate = mean(|candidate| candidate.success_rate);
    let win_rate = mean(|candidate| candidate.win_rate).min(success_rate);
    for candidate in &mut ablated {
        match feature {
            Feature::Frequency => candidate.access_count = 0,
            Feature::MetadataOverlap => candidate.metadata.clear(),
            Feature::Recency => candidate.created_at = i64::MIN,
            Feature::Similarity => candidate.embedding = orthogonal(query, &candidate.embedding),
            Feature::SuccessRate => {
                (candidate.success_rate, candidate.win_rate) = (success_rate, win_rate);
            }
            _ => {}
        }
    }
    let neutral = match feature {
        Feature::SuccessRate => format!("{success_rate:.3}, their mean"),
        Feature::Recency => "0, very old".to_owned(),
        Feature::Frequency => "0, never seen".to_owned(),
        Feature::Similarity => "0, unlike".to_owned(),
        Feature::MetadataOverlap => "0, nothing shared".to_owned(),
        _ => "unchanged".to_owned(),
    };
    (neutral, ablated)
}

/// The part of an embedding that is orthogonal to the query; an arbitrary orthogonal vector if that part is almost 0.
fn orthogonal(query: &[f32], embedding: &[f32]) -> Vec<f32> {
    let squared = dot(query, query);
    let share = dot(query, embedding) / squared;
    let rest: Vec<f32> =
        query.iter().zip(embedding).map(|(&q, &e)| (f64::from(e) - share * f64::from(q)) as f32).collect();
    if dot(&rest, &rest) > 1e-8 * dot(embedding, embedding) {
        return rest;
    }
    // Two of the query's coordinates, swapped, one with its sign changed.
    let mut swapped = vec![0.0; query.len()];
    let largest =
        (0..query.len()).max_by(|&a, &b| query[a].abs().total_cmp(&query[b].abs())).unwrap_or_default();
    let other = usize::from(largest == 0);
    if let [_, _, ..] = query {
        (swapped[largest], swapped[other]) = (-query[other], query[largest]);
        swapped
    } else {
        embedding.to_vec()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_dancer::RouterConfig;

    fn candidate(id: &str, embedding: [f32; 3], success_rate: f32) -> Candidate {
        Candidate {
            id: id.to_owned(),
            embedding: embedding.into(),
            success_rate,
            access_count: 5,
            ..Default::default()
        }
    }

    fn request() -> Request {
        Request::read(br#"{"id": "x", "embedding": [1, 0.5, 0.2], "now": 5}"#, None).unwrap()
    }

    #[test]
    fn an_ablation_is_the_routers_confidence_without_the_candidate() {
        let router = Router::new(RouterConfig::default()).unwrap();
        let candidates = [candidate("good", [1.0, 0.4, 0.1], 1.0), candidate("bad", [0.9, 0.6, 0.3], 0.0)];
        let whole = route(&router, &request(), &candidates).unwrap().confidence;
        let text = report(&router, &request(), &candidates, 5).unwrap();
        for (name, rest) in [("good", &candidates[1..]), ("bad", &candidates[..1])] {
            let confidence = route(&router, &request(), rest).unwrap().confidence;
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(line.contains(&format!("{confidence:.4} {:>+9.4}", whole - confidence)), "{text}");
        }
        assert!(text.contains("success_rate       0.500, their mean"), "{text}");
    }

    #[test]
    fn no_more_than_the_top_candidates_are_shown() {
        let router = Router::new(RouterConfig::default()).unwrap();
        let candidates = [candidate("one", [1.0, 0.4, 0.1], 1.0), candidate("two", [0.9, 0.6, 0.3], 0.0)];
        assert!(
            report(&router, &request(), &candidates, 1).unwrap().ends_with("and 1 with a smaller effect")
        );
    }

    #[test]
    fn an_orthogonal_embedding_has_similarity_0_and_a_length() {
        for embedding in [[1.0, 0.4, 0.1], [2.0, 1.0, 0.4], [-0.3, 0.7, 0.0]] {
            let orthogonal = orthogonal(&request().embedding, &embedding);
            assert!(cosine(&request().embedding, &orthogonal).abs() < 1e-5, "{orthogonal:?}");
            assert!(dot(&orthogonal, &orthogonal) > 1e-6);
        }
    }
}
