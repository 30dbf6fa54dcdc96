//! `tiny-dancer export`: a memory as JSON lines, which `import` reads.

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;
use tiny_dancer::Metadata;
use tiny_dancer_memory::{Entry, Reader, SqliteReader};

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// The file of the memory. Other programs may use it at the same time.
    #[arg(long, value_name = "FILE")]
    memory: PathBuf,
}

/// A line of the output, with the keys of `import`.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lightweight_correct: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    powerful_correct: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedder: Option<&'a str>,
    embedding: Vec<f32>,
}

/// Prints each entry, oldest first.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let reader = SqliteReader::open(&args.memory)?;
    let embedder = reader.vectors()?.and_then(|vectors| vectors.embedder);
    let mut output = BufWriter::new(stdout().lock());
    let mut written = Ok(());
    reader.entries(&mut |entry| {
        // After an error, such as a closed pipe, nothing more is written.
        if written.is_ok() {
            written = write_line(&mut output, entry, embedder.as_deref());
        }
    })?;
    written.and_then(|()| Ok(output.flush()?)).context("cannot write to standard output")
}

fn write_line(output: &mut impl Write, entry: Entry, embedder: Option<&str>) -> anyhow::Result<()> {
    let Entry { id, created_at, tenant, user, metadata, embedding, prompt, verdict } = entry;
    let line = Line {
        id: id.to_string(),
        created_at,
        tenant,
        user,
        metadata,
        prompt,
        lightweight_correct: verdict.map(|verdict| verdict.lightweight),
        powerful_correct: verdict.and_then(|verdict| verdict.powerful),
        verdict_source: verdict.map(|verdict| verdict.source.name()),
        verdict_at: verdict.and_then(|verdict| verdict.at),
        embedder,
        embedding,
    };
    serde_json::to_writer(&mut *output, &line).map_err(std::io::Error::from)?;
    Ok(output.write_all(b"\n")?)
}
