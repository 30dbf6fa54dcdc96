//! Output files: written whole, and replacing only regular files.
//!
//! Symbolic links are followed. The content is written to a temporary file in the same folder, which is renamed at
//! the end, so the output is never half-written. It has the permissions of the file that it replaces.

use anyhow::{Context, bail};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The maximum number of links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

/// A file to write, checked before the work that makes its content.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
}

impl Output {
    /// Checks that the file can be written, before the work that makes its content begins.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(target) = fs::read_link(&path) else { break };
            path = path.parent().unwrap_or(Path::new("")).join(target);
        }
        let output = Self { path };
        output.permissions()?;
        output.temporary()?;
        Ok(output)
    }

    /// The path of the file, with links followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty file in the same folder, which is removed unless it is renamed.
    pub(crate) fn temporary(&self) -> anyhow::Result<NamedTempFile> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tiny-dancer-").suffix(".part");
        // The mode of any new file, before the user's mask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes the whole content.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let (mut file, permissions) = (self.temporary()?, self.permissions()?);
        let written = file.write_all(bytes).and_then(|()| {
            permissions.map_or(Ok(()), |permissions| file.as_file().set_permissions(permissions))?;
            file.as_file().sync_all()
        });
        written
            .and_then(|()| file.persist(&self.path).map_err(|error| error.error))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    /// The permissions of the existing regular file, if any.
    fn permissions(&self) -> anyhow::Result<Option<fs::Permissions>> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.permissions())),
            Ok(_) => bail!("cannot write {}: not a regular file", self.path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests;
