//! Embeddings of rows and requests: made from their prompts, or read from files.

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::sync::LazyLock;
use tiny_dancer_embed::{EmbedError, Embedder, StaticEmbedder};
use tiny_dancer_train::vectors::Vectors;

/// The embedder of prompts. It takes some milliseconds to make, which commands without prompts don't spend.
static STATIC: LazyLock<StaticEmbedder> = LazyLock::new(StaticEmbedder::new);

/// The name of the embedder of prompts, in place of its id.
pub(crate) const STATIC_NAME: &str = "static";

/// The embedder of embeddings in files.
#[derive(Args)]
pub(crate) struct EmbedderArgs {
    /// The embedder that made the files of embeddings: its id, or `static` for the one that embeds prompts. Not needed
    /// for files that name it, as those of `profiles` do. The model must be made for this embedder; for an unknown
    /// embedder, that is not checked.
    #[arg(long, value_name = "ID")]
    embedder: Option<String>,
}

impl EmbedderArgs {
    /// Reads rows with the embeddings of a file. Without a file, embeds their prompts and counts them on a terminal. The number of rows is
    /// unknown before, since they may come from a pipe.
    pub(crate) fn read<T, E>(
        &self,
        file: Option<&Path>,
        read: impl FnOnce(Vectors<'_>) -> Result<T, E>,
    ) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        let named = self.embedder.clone().map(|name| if name == STATIC_NAME { id() } else { name });
        if let Some(path) = file {
            return Ok(read(Vectors::File { path, embedder: named.as_deref() })?);
        }
        let id = id();
        if let Some(named) = named.filter(|named| *named != id) {
            bail!("the prompts are embedded by embedder {id}, but --embedder is {named}");
        }
        // indicatif draws on standard error, and only where that is a terminal.
        let bar = ProgressBar::no_length()
            .with_style(ProgressStyle::with_template("{spinner} {pos} prompts embedded, {per_sec}")?);
        let embed = |text: &str, vector: &mut Vec<f32>| {
            bar.inc(1);
            Ok(STATIC.embed_into(text, vector).map(|_| ())?)
        };
        let rows = read(Vectors::Prompts { embedder: &id, embed: &embed });
        bar.finish_and_clear();
        Ok(rows?)
    }
}

/// The id of the embedder of prompts.
pub(crate) fn id() -> String {
    STATIC.id().to_string()
}

/// Whether prompts are embedded as the memory was.
pub(crate) fn check(memory: Option<&str>) -> anyhow::Result<()> {
    let id = id();
    match memory {
        Some(memory) if memory == id => Ok(()),
        Some(memory) => bail!("the prompt is embedded by embedder {id}, the memory by {memory}"),
        None => {
            bail!("the prompt is embedded by embedder {id}, the memory by an unknown one: use --embedder")
        }
    }
}

/// The vector of one prompt.
pub(crate) fn embed(prompt: &str) -> Result<Vec<f32>, EmbedError> {
    let mut vector = vec![];
    STATIC.embed_into(prompt, &mut vector)?;
    Ok(vector)
}
