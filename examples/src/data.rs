//! Everyday prompts, the memory that they are routed against, and the embedder of both. See `data/README.md`.

use anyhow::{Context, ensure};
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tiny_dancer::{Candidate, CandidateSet, Clock, Metadata, RiskBudget, RouterConfig, RoutingRequest};
use tiny_dancer_embed::{Embedder, StaticEmbedder};

/// How many candidates a request has: as many as the joint pass reads.
pub const CANDIDATES: usize = 64;

/// The promise: at most 15% of the lightweight model's answers are insufficient, with 95% confidence, for traffic like the
/// rows that certified the model.
pub const RISK: RiskBudget = RiskBudget { alpha: 0.15, delta: 0.05 };

/// One prompt, ready to be routed.
#[derive(Debug)]
pub struct Prompt {
    /// The prompt's name.
    pub id: String,
    /// One of eighteen kinds.
    pub kind: String,
    /// The prompt itself.
    pub text: String,
    /// Its embedding, by the memory's embedder.
    pub embedding: Vec<f32>,
    /// The nearest profiles of the memory, nearest first.
    pub candidates: Vec<Candidate>,
}

impl Prompt {
    /// The request to route.
    pub fn request(&self) -> RoutingRequest<'_> {
        RoutingRequest::new(&self.embedding, &self.candidates)
    }
}

/// Profiles of past requests, and the embedder that made their embeddings and makes those of prompts.
#[derive(Debug)]
pub struct Memory {
    /// The embedder.
    pub embedder: StaticEmbedder,
    /// The profiles, as if they were made now.
    pub profiles: CandidateSet,
}

#[derive(Deserialize)]
struct PromptRow {
    id: String,
    kind: String,
    prompt: String,
}

#[derive(Deserialize)]
struct ProfileRow {
    id: String,
    success_rate: f32,
    win_rate: f32,
    access_count: u64,
    metadata: Metadata,
}

impl Memory {
    /// Reads the memory.
    ///
    /// # Errors
    /// If a file of `examples/data` can't be read, or its embeddings are of another embedder.
    pub fn load() -> anyhow::Result<Self> {
        let (embedder, created_at) = (StaticEmbedder::new(), Clock::system().unix_seconds());
        let rows: Vec<ProfileRow> = lines("memory.jsonl")?;
        let embeddings = embeddings("memory.safetensors", &embedder.id().to_string())?;
        ensure!(rows.len() == embeddings.len(), "{} profiles, {} embeddings", rows.len(), embeddings.len());
        let profile = |(row, embedding): (ProfileRow, Vec<f32>)| Candidate {
            id: row.id,
            embedding,
            metadata: row.metadata,
            created_at,
            access_count: row.access_count,
            success_rate: row.success_rate,
            win_rate: row.win_rate,
        };
        let profiles = CandidateSet::new(rows.into_iter().zip(embeddings).map(profile).collect())?;
        Ok(Self { embedder, profiles })
    }

    /// The configuration of a router for vectors of this embedder, with the promise [`RISK`].
    pub fn config(&self) -> RouterConfig {
        RouterConfig {
            embedder: Some(self.embedder.id().to_string()),
            risk: Some(RISK),
            ..Default::default()
        }
    }

    /// The nearest profiles, nearest first.
    ///
    /// # Errors
    /// If the query has other dimensions.
    pub fn nearest(&self, query: &[f32]) -> anyhow::Result<Vec<Candidate>> {
        let nearest = self.profiles.nearest(query, CANDIDATES)?;
        Ok(nearest.into_iter().filter_map(|(profile, _)| self.profiles.candidate(profile)).collect())
    }

    /// Reads the everyday prompts, and embeds them.
    ///
    /// # Errors
    /// If their file can't be read, or one can't be embedded.
    pub fn prompts(&self) -> anyhow::Result<Vec<Prompt>> {
        let prompt = |PromptRow { id, kind, prompt: text }: PromptRow| {
            let mut embedding = Vec::new();
            self.embedder.embed_into(&text, &mut embedding).with_context(|| id.clone())?;
            Ok(Prompt { candidates: self.nearest(&embedding)?, id, kind, text, embedding })
        };
        lines("prompts.jsonl")?.into_iter().map(prompt).collect()
    }
}

/// A file of `examples/data`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// Reads JSON lines.
fn lines<T: DeserializeOwned>(name: &str) -> anyhow::Result<Vec<T>> {
    let path = file(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {}", path.display(), number + 1))
    };
    text.lines().enumerate().map(line).collect()
}

/// Reads embeddings that `tiny-dancer profiles` wrote.
fn embeddings(name: &str, embedder: &str) -> anyhow::Result<Vec<Vec<f32>>> {
    let path = file(name);
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let named = header.metadata().as_ref().and_then(|metadata| metadata.get("embedder"));
    ensure!(
        named.is_some_and(|named| named == embedder),
        "{}: embedder {named:?}, expected {embedder}: data/README.md has the command that makes the file",
        path.display()
    );
    let tensors = SafeTensors::deserialize(&bytes)?;
    let tensor = tensors.tensor("embeddings")?;
    let (dtype, shape) = (tensor.dtype(), tensor.shape());
    let (Dtype::F16, &[_, dimensions]) = (dtype, shape) else {
        anyhow::bail!("{}: {dtype:?} of shape {shape:?}, expected F16 of two dimensions", path.display())
    };
    let values: Vec<f32> =
        tensor.data().as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect();
    Ok(values.chunks(dimensions).map(<[f32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_has_an_embedding_and_candidates_of_the_memory_nearest_first() {
        let memory = Memory::load().unwrap();
        let prompts = memory.prompts().unwrap();
        assert_eq!(prompts.len(), 150);
        for Prompt { id, embedding, candidates, .. } in &prompts {
            assert_eq!(
                (embedding.len(), candidates.len()),
                (memory.embedder.dimensions(), CANDIDATES),
                "{id}"
            );
            let similarity = |candidate: &Candidate| -> f32 {
                candidate.embedding.iter().zip(embedding).map(|(a, b)| a * b).sum()
            };
            let similarities: Vec<f32> = candidates.iter().map(similarity).collect();
            assert!(similarities.is_sorted_by(|a, b| a >= &(b - 1e-3)), "{id}: {similarities:?}");
            assert!(candidates.iter().all(|candidate| candidate.metadata.contains_key("subject")), "{id}");
        }
    }

    #[test]
    fn a_memory_of_another_embedder_is_refused() {
        let error = embeddings("memory.safetensors", "mine").unwrap_err().to_string();
        assert!(error.contains("expected mine"), "{error}");
        let error = embeddings("prompts.safetensors", "mine").unwrap_err().to_string();
        assert!(error.contains("embedder None, expected mine"), "{error}");
    }
}
