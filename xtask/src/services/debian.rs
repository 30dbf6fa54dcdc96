//! Programs out of Debian's packages, without root and without installing them.

use crate::workspace::output;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that is on `PATH`, or was unpacked before, or is fetched now.
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

/// A copy of an unpacked program that looks for what Debian puts into an absolute folder in its working folder instead.
///
/// Without root nothing can be put into that folder. The path is a constant in the program; the copy has one of the same
/// length there, which means the working folder.
pub(crate) fn relocated(program: &Path, folder: &str, copy: &Path) -> Result<()> {
    let mut bytes = fs::read(program).with_context(|| program.display().to_string())?;
    let (from, to) = (folder.as_bytes(), "./".repeat(folder.len().div_ceil(2)));
    let found: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from).collect();
    let places: Vec<_> = found.into_iter().map(|(at, _)| at).collect();
    if places.is_empty() {
        bail!("{} does not look into {folder}", program.display());
    }
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(&to.as_bytes()[..from.len()]);
    }
    fs::write(copy, bytes)?;
    fs::set_permissions(copy, fs::metadata(program)?.permissions())?;
    Ok(())
}

fn runs(program: &Path) -> bool {
    let mut command = Command::new(program);
    let status = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Downloads a package and unpacks it under its name.
fn fetch(package: &str, folder: &Path) -> Result<()> {
    let downloads = folder.join("download").join(package);
    // What an earlier try left may be half a file.
    let _ = fs::remove_dir_all(&downloads);
    fs::create_dir_all(&downloads)?;
    let download =
        |options: &[OsString]| output(apt_get(options).args(["download", package]).current_dir(&downloads));
    if download(&[]).is_err() {
        // The machine's lists are missing or too old. They are its owner's, so take lists of our own.
        let options = own_lists(folder)?;
        output(apt_get(&options).arg("update"))?;
        download(&options)?;
    }
    let archive = fs::read_dir(&downloads)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {package} left no archive"))?;
    let unpacking = folder.join(format!("{package}.unpacking"));
    let _ = fs::remove_dir_all(&unpacking);
    output(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacking))?;
    let unpacked = folder.join(package);
    let _ = fs::remove_dir_all(&unpacked);
    fs::rename(&unpacking, &unpacked)?;
    Ok(())
}

fn apt_get(options: &[OsString]) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").args(options);
    command
}

/// Options that make apt keep its lists and caches under `folder`.
fn own_lists(folder: &Path) -> Result<Vec<OsString>> {
    let (lists, cache) = (folder.join("apt/lists"), folder.join("apt/cache"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    let option = |name: &str, path: &Path| {
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        [OsString::from("--option"), option]
    };
    let mut options = [option("Dir::State::lists", &lists), option("Dir::Cache", &cache)].concat();
    // Root's downloads are made by a user who may not write here.
    options.extend(["--option", "APT::Sandbox::User=root"].map(OsString::from));
    Ok(options)
}
