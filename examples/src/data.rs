//! Everyday prompts with their embeddings, and the memory that they are routed against. See `data/README.md`.

use anyhow::{Context, ensure};
use half::f16;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use tiny_dancer::{Candidate, Clock, RoutingRequest};

/// How many candidates a request has: as many as the joint pass reads.
pub const CANDIDATES: usize = 64;

/// One prompt, ready to be routed.
#[derive(Debug)]
pub struct Prompt {
    /// The prompt's name.
    pub id: String,
    /// One of eighteen kinds.
    pub kind: String,
    /// The prompt itself.
    pub text: String,
    /// all-MiniLM-L6-v2's embedding, 384 dimensions.
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
}

/// Reads the prompts and the memory, and retrieves the candidates of each prompt, as a vector store does.
///
/// # Errors
/// If a file of `examples/data` can't be read.
pub fn load() -> anyhow::Result<Vec<Prompt>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let memory = memory(&folder)?;
    let (rows, embeddings) = read::<PromptRow>(&folder, "prompts")?;
    let prompt = |(row, embedding): (PromptRow, Vec<f32>)| Prompt {
        candidates: nearest(&embedding, &memory),
        id: row.id,
        kind: row.kind,
        text: row.prompt,
        embedding,
    };
    Ok(rows.into_iter().zip(embeddings).map(prompt).collect())
}

/// The profiles of the memory, as if they were made now.
fn memory(folder: &Path) -> anyhow::Result<Vec<Candidate>> {
    let created_at = Clock::system().unix_seconds();
    let (rows, embeddings) = read::<ProfileRow>(folder, "memory")?;
    let profile = |(row, embedding): (ProfileRow, Vec<f32>)| Candidate {
        id: row.id,
        embedding,
        created_at,
        access_count: row.access_count,
        success_rate: row.success_rate,
        win_rate: row.win_rate,
        ..Default::default()
    };
    Ok(rows.into_iter().zip(embeddings).map(profile).collect())
}

fn nearest(query: &[f32], memory: &[Candidate]) -> Vec<Candidate> {
    let dot =
        |candidate: &&Candidate| -> f32 { candidate.embedding.iter().zip(query).map(|(a, b)| a * b).sum() };
    let mut order: Vec<_> = memory.iter().collect();
    order.sort_by(|a, b| dot(b).total_cmp(&dot(a)));
    order.into_iter().take(CANDIDATES).cloned().collect()
}

/// Reads `NAME.jsonl` and the embeddings of its lines from `NAME.safetensors`.
fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> anyhow::Result<(Vec<T>, Vec<Vec<f32>>)> {
    let file = |ending: &str| -> PathBuf { folder.join(name).with_extension(ending) };
    let path = file("jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |(number, line)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {}", path.display(), number + 1))
    };
    let rows: Vec<T> = text.lines().enumerate().map(line).collect::<Result<_, _>>()?;

    let path = file("safetensors");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let tensor = tensors.tensor("embeddings")?;
    let &[count, dimensions] = tensor.shape() else {
        anyhow::bail!(
            "{}: embeddings have shape {:?}, expected two dimensions",
            path.display(),
            tensor.shape()
        )
    };
    ensure!(
        tensor.dtype() == Dtype::F16,
        "{}: embeddings are {:?}, expected F16",
        path.display(),
        tensor.dtype()
    );
    ensure!(count == rows.len(), "{}: {count} embeddings, {} lines of text", path.display(), rows.len());
    let values: Vec<f32> =
        tensor.data().as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect();
    Ok((rows, values.chunks(dimensions).map(<[f32]>::to_vec).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_has_candidates_of_its_dimension() {
        let prompts = load().unwrap();
        assert_eq!(prompts.len(), 150);
        for prompt in &prompts {
            assert_eq!((prompt.embedding.len(), prompt.candidates.len()), (384, CANDIDATES), "{}", prompt.id);
            assert!(prompt.candidates.iter().all(|candidate| candidate.embedding.len() == 384));
        }
    }

    #[test]
    fn the_nearest_candidate_comes_first() {
        let at = |x: f32| Candidate { embedding: vec![x, 1.0 - x], ..Default::default() };
        let nearest = nearest(&[1.0, 0.0], &[at(0.1), at(0.9), at(0.5)]);
        assert_eq!(nearest[0].embedding, [0.9, 1.0 - 0.9]);
    }
}
