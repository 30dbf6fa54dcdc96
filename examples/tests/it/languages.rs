//! What the static embedder does with languages that its vocabulary is not made for: twelve of the everyday prompts,
//! translated into German, Spanish and Chinese. docs/model.md has the table.

use serde::Deserialize;
use std::path::Path;
use tiny_dancer::{ModelType, Query, Router};
use tiny_dancer_embed::Embedder;
use tiny_dancer_examples::data::{CANDIDATES, Memory, Prompt};

#[derive(Deserialize)]
struct Translated {
    id: String,
    de: String,
    es: String,
    zh: String,
}

/// Means over the prompts of one language.
#[derive(Debug, Default)]
struct Summary {
    /// Tokens a prompt.
    tokens: f32,
    /// The cosine between two different prompts.
    among_themselves: f32,
    /// The similarity of the nearest profile.
    nearest: f32,
    /// How often the English prompt is the nearest of the 150.
    found: usize,
    lightweight: usize,
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn summary(memory: &Memory, router: &Router, prompts: &[Prompt], texts: &[(&str, String)]) -> Summary {
    let mut summary = Summary::default();
    let vectors: Vec<Vec<f32>> = texts
        .iter()
        .map(|(_, text)| {
            let mut vector = Vec::new();
            summary.tokens += memory.embedder.embed_into(text, &mut vector).unwrap().tokens as f32;
            vector
        })
        .collect();
    let count = texts.len() as f32;
    for (i, (id, _)) in texts.iter().enumerate() {
        let nearest = |a: &&Prompt, b: &&Prompt| {
            cosine(&a.embedding, &vectors[i]).total_cmp(&cosine(&b.embedding, &vectors[i]))
        };
        summary.found += usize::from(prompts.iter().max_by(nearest).unwrap().id == *id);
        summary.nearest += memory.profiles.nearest(&vectors[i], 1).unwrap()[0].1 / count;
        let others = vectors.iter().enumerate().filter(|&(j, _)| j != i);
        let cosines: f32 = others.map(|(_, other)| cosine(other, &vectors[i])).sum();
        summary.among_themselves += cosines / (count - 1.0) / count;
        let response = router.route_set(Query::new(&vectors[i]), &memory.profiles, CANDIDATES).unwrap();
        summary.lightweight += usize::from(response.model == ModelType::Lightweight);
    }
    summary.tokens /= count;
    summary
}

#[test]
fn prompts_in_other_languages_are_far_from_the_memory_and_go_to_the_powerful_model() {
    let memory = Memory::load().unwrap();
    let router = Router::new(memory.config()).unwrap();
    let prompts = memory.prompts().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/languages.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Translated> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let english = |row: &Translated| prompts.iter().find(|prompt| prompt.id == row.id).unwrap().text.clone();
    let of = |text: &dyn Fn(&Translated) -> String| {
        let texts: Vec<(&str, String)> = rows.iter().map(|row| (row.id.as_str(), text(row))).collect();
        summary(&memory, &router, &prompts, &texts)
    };
    let (en, de, es, zh) =
        (of(&english), of(&|row| row.de.clone()), of(&|row| row.es.clone()), of(&|row| row.zh.clone()));
    for (name, summary) in [("English", &en), ("German", &de), ("Spanish", &es), ("Chinese", &zh)] {
        eprintln!("{name}: {summary:?}");
    }
    assert!(en.found == rows.len() && en.lightweight > 0, "{en:?}");
    for other in [de, es, zh] {
        assert!(other.nearest < 0.3 && other.lightweight == 0, "{other:?}");
    }
}
