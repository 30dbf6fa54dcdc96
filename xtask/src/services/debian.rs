//! Programs from Debian's packages, unpacked without root instead of installed.

use crate::workspace::output;
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program from `PATH`, or else from its unpacked package under `folder`, which is fetched once.
pub(crate) fn program(package: &str, program: &str, folder: &Path) -> Result<PathBuf> {
    let installed = PathBuf::from(program);
    if runs(&installed) {
        return Ok(installed);
    }
    let unpacked = folder.join(package).join("usr/bin").join(program);
    if !runs(&unpacked) {
        fetch(package, folder)?;
    }
    if !runs(&unpacked) {
        bail!("{} does not run", unpacked.display());
    }
    Ok(unpacked)
}

/// The folder of an unpacked package, which is fetched once. For programs and libraries that are not under `PATH`, or print no
/// version.
pub(crate) fn unpacked(package: &str, folder: &Path) -> Result<PathBuf> {
    let unpacked = folder.join(package);
    if !unpacked.exists() {
        fetch(package, folder)?;
    }
    Ok(unpacked)
}

/// Whether a program prints its version.
fn runs(program: &Path) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Downloads a package and unpacks it in a folder of its name.
fn fetch(package: &str, folder: &Path) -> Result<()> {
    let downloads = folder.join("download").join(package);
    // An interrupted download may have left half a file.
    let _ = fs::remove_dir_all(&downloads);
    fs::create_dir_all(&downloads)?;
    let download = |options: &[String]| {
        output(Command::new("apt-get").args(options).args(["download", package]).current_dir(&downloads))
    };
    if download(&[]).is_err() {
        // The machine's package lists are missing or too old, and only root may write them.
        let options = own_lists(folder)?;
        output(Command::new("apt-get").args(&options).arg("update"))?;
        download(&options)?;
    }
    let unpacking = folder.join(format!("{package}.unpacking"));
    let _ = fs::remove_dir_all(&unpacking);
    let Some(archive) = fs::read_dir(&downloads)?.next() else { bail!("apt-get downloaded no {package}") };
    output(Command::new("dpkg").arg("-x").arg(archive?.path()).arg(&unpacking))?;
    let unpacked = folder.join(package);
    let _ = fs::remove_dir_all(&unpacked);
    fs::rename(&unpacking, &unpacked)?;
    Ok(())
}

/// Options that make apt keep its lists and caches under `folder`.
fn own_lists(folder: &Path) -> Result<Vec<String>> {
    let (lists, cache) = (folder.join("apt/lists"), folder.join("apt/cache"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    Ok(vec![
        format!("--option=Dir::State::lists={}", lists.display()),
        format!("--option=Dir::Cache={}", cache.display()),
        // Where root runs it, apt downloads as a user that may not write here.
        "--option=APT::Sandbox::User=root".to_owned(),
    ])
}
