//! Programs out of Debian's packages, without root and without installing them.

use crate::workspace::output;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that is on `PATH`, or was unpacked before, or is fetched now.
pub(crate) fn program(package: &str, program: &str, folder: &Path) -> Result<PathBuf> {
    program_run_by(|program| Command::new(program), package, program, folder)
}

/// The same for a program that needs more than its path to run, such as variables.
pub(crate) fn program_run_by(
    command: impl Fn(&Path) -> Command,
    package: &str,
    program: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let installed = PathBuf::from(program);
    if runs(&mut command(&installed)) {
        return Ok(installed);
    }
    let unpacked = folder.join(package).join("usr/bin").join(program);
    if !runs(&mut command(&unpacked)) {
        fetch(package, folder, |_| Ok(vec![package.to_owned()]))?;
    }
    if !runs(&mut command(&unpacked)) {
        bail!("{} does not run", unpacked.display());
    }
    Ok(unpacked)
}

/// Downloads a package with all that it needs and that is not installed, and unpacks that under the package's name.
pub(crate) fn fetch_with_dependencies(package: &str, folder: &Path) -> Result<()> {
    fetch(package, folder, |options| {
        let install = ["--print-uris", "--no-install-recommends", "install", package];
        Ok(named(&output(apt_get(options).args(install))?))
    })
}

/// The packages that `apt-get --print-uris` would download, by the names of their files.
fn named(uris: &str) -> Vec<String> {
    let file = |line: &str| {
        line.strip_prefix('\'')?.split_whitespace().nth(1)?.split_once('_').map(|it| it.0.to_owned())
    };
    uris.lines().filter_map(file).collect()
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

/// Whether a program can say its version.
pub(crate) fn runs(command: &mut Command) -> bool {
    let status = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Downloads packages, chosen with apt's options, and unpacks them over one another under `name`.
fn fetch(name: &str, folder: &Path, packages: impl Fn(&[OsString]) -> Result<Vec<String>>) -> Result<()> {
    let downloads = folder.join("download").join(name);
    // What an earlier try left may be half a file.
    let _ = fs::remove_dir_all(&downloads);
    fs::create_dir_all(&downloads)?;
    let download = |options: &[OsString]| {
        let packages = packages(options)?;
        output(apt_get(options).arg("download").args(packages).current_dir(&downloads))
    };
    if download(&[]).is_err() {
        // The machine's lists are missing or too old. They are its owner's, so take lists of our own.
        let options = own_lists(folder)?;
        output(apt_get(&options).arg("update"))?;
        download(&options)?;
    }
    let unpacking = folder.join(format!("{name}.unpacking"));
    let _ = fs::remove_dir_all(&unpacking);
    let mut archives = fs::read_dir(&downloads)?.collect::<Result<Vec<_>, _>>()?;
    archives.retain(|file| file.path().extension().is_some_and(|extension| extension == "deb"));
    if archives.is_empty() {
        bail!("apt-get download left no archive for {name}");
    }
    for archive in archives {
        output(Command::new("dpkg").arg("-x").arg(archive.path()).arg(&unpacking))?;
    }
    let unpacked = folder.join(name);
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

#[cfg(test)]
mod tests {
    #[test]
    fn packages_are_named_by_their_files() {
        let uris = "Reading package lists...\nThe following NEW packages will be installed:\n  libogg0\n\
                    'http://mirror/pool/libogg0_1.3.5-3_amd64.deb' libogg0_1.3.5-3_amd64.deb 23580 SHA256:0\n\
                    'http://mirror/pool/c_148%7edeb12u1_amd64.deb' chromium_148.0%7edeb12u1_amd64.deb 75091228 SHA256:0\n";
        assert_eq!(super::named(uris), ["libogg0", "chromium"]);
    }
}
