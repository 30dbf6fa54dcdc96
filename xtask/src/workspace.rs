//! Where everything is, as cargo tells it.

use anyhow::{Context, Result, bail};
use cargo_metadata::{Message, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// The workspace that this program belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The resolved graph, all features on, for every platform.
    pub(crate) metadata: Metadata,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let metadata = resolve(&[])?;
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            metadata,
        })
    }

    /// The files that git tracks or would track, by their path from the root.
    pub(crate) fn files(&self) -> Result<BTreeSet<String>> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let files: BTreeSet<_> = output(&mut git)?
            .split_terminator('\0')
            // Deleted and not committed yet, or a link to a folder.
            .filter(|file| self.root.join(file).is_file())
            .map(ToOwned::to_owned)
            .collect();
        if !files.contains("Cargo.toml") {
            bail!("git does not know the root's Cargo.toml, so it can't know the rest");
        }
        Ok(files)
    }
}

/// The resolved graph with all features on.
pub(crate) fn resolve(options: &[&str]) -> Result<Metadata> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new()
        .manifest_path(root)
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .other_options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .exec()
        .context("cargo metadata")
}

/// `cargo` with these words as arguments.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments.split_whitespace());
    command
}

/// Runs a build of cargo's that says in JSON what it made, and returns the program of this target.
pub(crate) fn built(build: &mut Command, target: &str) -> Result<PathBuf> {
    let messages = output(build)?;
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == target
            && let Some(program) = artifact.executable
        {
            return Ok(program.into());
        }
    }
    bail!("cargo built {target} and does not say where");
}

/// Runs a command to its end and returns what it printed; an error says what it complained about.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?}"))
}
