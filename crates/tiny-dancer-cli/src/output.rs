//! Where a command writes: files that appear whole, and take the place of regular files alone.
//!
//! Links are followed to what they name. The content is written beside, and renamed at the end, so that a half-written
//! file never carries the name, and what stood there keeps its permissions.

use anyhow::{Context, bail};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Links from one name to the next, at most: what Linux follows.
const MAX_LINKS: usize = 40;

/// A file that can be written, as far as can be known before.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
}

impl Output {
    /// Checks, before hours of work, that a file can be written here.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Ok(target) = fs::read_link(&path) else { break };
            path = path.parent().unwrap_or(Path::new("")).join(target);
        }
        let output = Self { path };
        output.permissions()?;
        output.beside()?;
        Ok(output)
    }

    /// What it writes to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty file in the same folder, which goes away unless it is renamed.
    pub(crate) fn beside(&self) -> anyhow::Result<NamedTempFile> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tiny-dancer-").suffix(".part");
        // As any new file, of which the user's mask takes its share.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes the whole content.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let (mut file, permissions) = (self.beside()?, self.permissions()?);
        let written = file.write_all(bytes).and_then(|()| {
            permissions.map_or(Ok(()), |permissions| file.as_file().set_permissions(permissions))?;
            file.as_file().sync_all()
        });
        written
            .and_then(|()| file.persist(&self.path).map_err(|error| error.error))
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    /// The permissions of the regular file that is there, if any.
    fn permissions(&self) -> anyhow::Result<Option<fs::Permissions>> {
        match fs::metadata(&self.path) {
            Ok(there) if there.is_file() => Ok(Some(there.permissions())),
            Ok(_) => bail!("cannot write {}: not a regular file", self.path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", self.path.display())),
        }
    }
}

#[cfg(test)]
mod tests;
