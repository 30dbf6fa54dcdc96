//! `tiny-dancer import`: requests of a log into a memory.

use crate::embedding::{self, STATIC_NAME};
use crate::{causes, note_unread, print};
use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tiny_dancer::Clock;
use tiny_dancer_memory::{
    Entry, Memory, MemoryConfig, RequestId, SqliteStore, Store, Verdict, VerdictSource,
};
use tiny_dancer_train::fields::{FieldError, Fields};
use tiny_dancer_train::lines;
use tiny_dancer_train::rows::ReadError;

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// JSON lines, plain or `.zst`, see docs/bring-your-own-logs.md: `id`, `prompt` or `embedding`, `lightweight_correct`,
    /// `powerful_correct`, `created_at`, and what `export` writes.
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// The file of the memory, made if it does not exist. No other program may be writing it.
    #[arg(long, value_name = "FILE")]
    memory: PathBuf,
    /// The embedder of the memory: its id, or `static` for the one that embeds prompts. By default that of the memory, then
    /// that of the first row, then `static`.
    #[arg(long, value_name = "ID")]
    embedder: Option<String>,
    /// Store the prompts, so that another embedder can embed them later.
    #[arg(long)]
    store_prompts: bool,
}

/// The keys of a row.
pub(crate) const KEYS: &[&str] = &[
    "created_at",
    "embedder",
    "embedding",
    "id",
    "lightweight_correct",
    "metadata",
    "powerful_correct",
    "prompt",
    "split",
    "subject",
    "tenant",
    "user",
    "verdict_at",
    "verdict_source",
];

/// Adds the rows that the memory does not have. So after an interruption the same command goes on.
pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot listen to Ctrl-C")?;
    // indicatif draws on standard error, and only where that is a terminal.
    let bar =
        ProgressBar::no_length().with_style(ProgressStyle::with_template("{spinner} {pos} rows, {per_sec}")?);
    let mut target = Target { args, open: None, new: 0, known: 0, failure: None };
    let read = lines::read(&args.rows, KEYS, |fields| {
        bar.inc(1);
        if interrupted.load(Ordering::Relaxed) {
            target.failure = Some(anyhow::anyhow!("interrupted: the same command goes on with this row"));
        } else {
            target.take(fields)?;
        }
        // Any error ends the reading.
        target.failure.as_ref().map_or(Ok(()), |_| Err(FieldError::Missing { field: "id", expected: "" }))
    });
    bar.finish_and_clear();
    let Target { open, new, known, failure, .. } = target;
    // What was read before an error stays.
    if let Some((memory, _)) = &open {
        memory.flush()?;
    }
    print(format_args!("{new} requests imported into {}, {known} were known", args.memory.display()))?;
    match (read, failure) {
        (Err(ReadError::Line { path, line, .. }), Some(failure)) => {
            bail!("{}: line {line}: {}", path.display(), causes(&failure))
        }
        (read, _) => note_unread(&args.rows, &read?.unread),
    }
    Ok(ExitCode::SUCCESS)
}

/// The memory that receives the rows.
struct Target<'a> {
    args: &'a ImportArgs,
    /// The memory and its embedder, once the first row is read.
    open: Option<(Memory, Option<String>)>,
    new: usize,
    known: usize,
    /// An error that is not one of a field.
    failure: Option<anyhow::Error>,
}

impl Target<'_> {
    fn take(&mut self, fields: Fields) -> Result<(), FieldError> {
        let row = Row::take(fields)?;
        match self.remember(row) {
            Ok(true) => self.new += 1,
            Ok(false) => self.known += 1,
            Err(error) => self.failure = Some(error),
        }
        Ok(())
    }

    fn remember(&mut self, row: Row) -> anyhow::Result<bool> {
        let (memory, embedder) = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(open(self.args, row.embedder.clone())?),
        };
        let Row { entry, embedder: named, embedded } = row;
        if let Some(named) = named
            && embedder.as_ref() != Some(&named)
        {
            bail!(
                "the row is of embedder {named}, the memory of {}",
                embedder.as_deref().unwrap_or("an unknown one")
            );
        }
        let mut entry = entry;
        if !embedded {
            embedding::check(embedder.as_deref())?;
            let prompt = entry.prompt.as_deref().unwrap_or_default();
            entry.embedding = embedding::embed(prompt).context("prompt")?;
        }
        Ok(memory.remember(entry)?)
    }
}

fn open(args: &ImportArgs, named: Option<String>) -> anyhow::Result<(Memory, Option<String>)> {
    let store = SqliteStore::open(&args.memory)?;
    let stored = store.reader()?.vectors()?;
    let asked = args.embedder.clone().map(|name| if name == STATIC_NAME { embedding::id() } else { name });
    let embedder = match (asked, stored) {
        (Some(asked), _) => Some(asked),
        (None, Some(stored)) => stored.embedder,
        (None, None) => Some(named.unwrap_or_else(embedding::id)),
    };
    let config = MemoryConfig {
        embedder: embedder.clone(),
        store_prompts: args.store_prompts,
        // The service that uses the memory decides what it keeps.
        max_age: None,
        max_entries: usize::MAX,
        log_max_age: None,
        ..MemoryConfig::default()
    };
    Ok((Memory::with_store(store, config)?, embedder))
}

/// A row of the file.
struct Row {
    entry: Entry,
    /// The id of the embedder, if the row names it.
    embedder: Option<String>,
    /// Whether the row has an embedding. If not, its prompt is embedded.
    embedded: bool,
}

impl Row {
    fn take(mut fields: Fields) -> Result<Self, FieldError> {
        let id = fields.text("id")?.ok_or(FieldError::Missing { field: "id", expected: "text" })?;
        let (prompt, embedding) = (fields.prompt()?, fields.vector("embedding")?);
        if prompt.is_none() && embedding.is_none() {
            return Err(FieldError::Neither { field: "prompt", other: "embedding" });
        }
        let created_at = fields.integer("created_at")?;
        let at = fields.integer("verdict_at")?.or(created_at.map(|seconds| seconds.saturating_mul(1000)));
        let source = match fields.text("verdict_source")? {
            None => VerdictSource::Client,
            Some(name) => name.parse().map_err(|_| FieldError::Unexpected {
                field: "verdict_source".to_owned(),
                actual: format!("{name:?}"),
                expected: "client or judge",
            })?,
        };
        let powerful = fields.score("powerful_correct")?.map(|score| score as f32);
        let lightweight = fields.score("lightweight_correct")?;
        let verdict = lightweight.map(|score| Verdict { lightweight: score as f32, powerful, source, at });
        let embedded = embedding.is_some();
        let entry = Entry {
            id: request_id(&id),
            created_at: created_at.unwrap_or_else(|| Clock::system().unix_seconds()),
            tenant: fields.text("tenant")?,
            user: fields.text("user")?,
            metadata: fields.metadata()?.unwrap_or_default(),
            embedding: embedding.unwrap_or_default(),
            prompt,
            verdict,
        };
        Ok(Self { entry, embedder: fields.text("embedder")?, embedded })
    }
}

/// The id of a request. A text that is no UUID gets one by its SHA-256 (version 8 of RFC 9562), so that the same row has the same
/// id each time.
fn request_id(text: &str) -> RequestId {
    text.parse().unwrap_or_else(|_| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(text)[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        RequestId::from_bytes(bytes)
    })
}
