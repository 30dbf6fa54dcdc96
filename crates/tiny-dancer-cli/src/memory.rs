//! `tiny-dancer memory`: what is in a memory, and its upkeep.

use crate::print;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tiny_dancer_memory::{Change, Erasure, Reader, SqliteReader, SqliteStore, Stats, Store};

#[derive(Args)]
pub(crate) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Subcommand)]
enum MemoryCommand {
    /// Copy the memory to a new file, while other programs use it.
    Backup {
        #[command(flatten)]
        file: File,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Give the room of what was removed back to the file system. No other program may be writing the memory.
    Compact(File),
    /// Erase the data of a tenant or a user, so that no byte of them is left in the files. No other program may be writing
    /// the memory.
    Erase {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        whose: Whose,
    },
    /// Show what the memory holds, while other programs use it.
    Stats(File),
    /// Read the whole memory and list what is wrong. The exit code is 1 if something is.
    Verify(File),
}

#[derive(Args)]
struct File {
    /// The file of the memory.
    #[arg(long, value_name = "FILE")]
    memory: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Whose {
    /// The tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The user: of the tenant, or without `--tenant` of no tenant.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub(crate) fn memory(args: &MemoryArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        MemoryCommand::Backup { file, to } => {
            SqliteReader::open(&file.memory)?.back_up(to)?;
            print(format_args!("{} copied to {}", file.memory.display(), to.display()))?;
        }
        MemoryCommand::Compact(file) => compact(&file.memory)?,
        MemoryCommand::Erase { file, whose } => erase(&file.memory, whose)?,
        MemoryCommand::Stats(file) => stats(&file.memory)?,
        MemoryCommand::Verify(file) => {
            let findings = SqliteReader::open(&file.memory)?.verify()?;
            if !findings.is_empty() {
                findings.iter().try_for_each(print)?;
                return Ok(ExitCode::FAILURE);
            }
            print(format_args!("{} is sound", file.memory.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a memory for writing. A file that does not exist is an error, where [`SqliteStore::open`] makes it.
fn open(path: &Path) -> anyhow::Result<(SqliteStore, SqliteReader)> {
    let reader = SqliteReader::open(path)?;
    Ok((SqliteStore::open(path)?, reader))
}

fn compact(path: &Path) -> anyhow::Result<()> {
    let (mut store, reader) = open(path)?;
    let before = reader.stats()?.bytes;
    store.compact()?;
    let (before, after) = (HumanBytes(before), HumanBytes(reader.stats()?.bytes));
    print(format_args!("{}: {before} before, {after} now", path.display()))
}

fn erase(path: &Path, whose: &Whose) -> anyhow::Result<()> {
    let erasure = match (whose.tenant.clone(), whose.user.clone()) {
        (tenant, Some(user)) => Erasure::User { tenant, user },
        (tenant, None) => Erasure::Tenant(tenant.unwrap_or_default()),
    };
    let (mut store, _) = open(path)?;
    let erased = store.commit(&[Change::Erase(erasure)])?.erased;
    print(format_args!("{} entries and {} of the decision log erased", erased.entries, erased.log_entries))
}

fn stats(path: &Path) -> anyhow::Result<()> {
    let reader = SqliteReader::open(path)?;
    let (Stats { entries, evidence, log_entries, bytes }, vectors) = (reader.stats()?, reader.vectors()?);
    let line = |name: &str, value: &dyn Display| print(format_args!("{name:<24}{value:>16}"));
    line("entries", &entries)?;
    line("  with a verdict", &evidence)?;
    line("  without", &(entries - evidence))?;
    line("decision log", &log_entries)?;
    line("size", &HumanBytes(bytes).to_string())?;
    if let Some(vectors) = vectors {
        line("dimensions", &vectors.dimensions)?;
        line("embedder", &vectors.embedder.as_deref().unwrap_or("unknown"))?;
    }
    Ok(())
}
