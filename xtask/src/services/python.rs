//! Packages for Python, unpacked without installing anything.

use crate::workspace::output;
use anyhow::Result;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of these packages, each `name==version`, without their dependencies. They are fetched once.
pub(crate) fn packages(folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    // The name depends on all versions, so that a new one is fetched, and has room in a file system.
    let mut versions = DefaultHasher::new();
    packages.hash(&mut versions);
    let first = packages.first().map_or("none", |package| *package).replace("==", "-");
    let unpacked = folder.join(format!("python-{first}-{:016x}", versions.finish()));
    if !unpacked.exists() {
        let unpacking = folder.join("python.unpacking");
        let _ = fs::remove_dir_all(&unpacking);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        output(pip.args(["--only-binary", ":all:", "--target"]).arg(&unpacking).args(packages))?;
        fs::rename(&unpacking, &unpacked)?;
    }
    Ok(unpacked)
}
