//! The workspace as cargo and git describe it, and commands in it.

use anyhow::{Context, Result, bail};
use cargo_metadata::{Message, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// The workspace of this program.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// The folder of cargo's builds.
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
            // Not deleted without a commit, and no link to a folder.
            .filter(|file| self.root.join(file).is_file())
            .map(ToOwned::to_owned)
            .collect();
        if !files.contains("Cargo.toml") {
            bail!("git does not track the root's Cargo.toml, so its list of files is incomplete");
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

/// Runs a build of cargo's that reports its artifacts as JSON, and returns the program of this target.
pub(crate) fn built(build: &mut Command, target: &str) -> Result<PathBuf> {
    let messages = output(build)?;
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == target
            // The tests inside of a program have its name.
            && !(artifact.target.is_bin() && artifact.profile.test)
            && let Some(program) = artifact.executable
        {
            return Ok(program.into());
        }
    }
    bail!("cargo built {target} and did not report its path");
}

/// Runs a command to its end and returns its output; an error has all of its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&printed));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?}"))
}
