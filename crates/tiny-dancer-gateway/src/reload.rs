//! A new configuration while the gateway runs: at SIGHUP, or when the file has changed. No request is dropped: each one
//! ends with the configuration that it began with.

use crate::config::Config;
use crate::gateway::{Gateway, GatewayError};
use crate::metrics::ReloadResult;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Between two looks at the file.
const PERIOD: Duration = Duration::from_secs(1);

/// Why a new configuration is not used. The previous one stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A part of the gateway cannot be made, for example since a key cannot be a header.
    #[error(transparent)]
    Build(#[from] GatewayError),
    /// The configuration cannot be read, or has mistakes.
    #[error("{source}")]
    Config {
        /// Why: a [`ConfigError`](crate::ConfigError) where it has mistakes.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The configuration changes what stays as it is while the gateway runs.
    #[error("a restart is required for {}", List(changes))]
    Restart {
        /// All such changes.
        changes: Vec<Change>,
    },
}

/// A value that only a restart changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The key.
    pub key: &'static str,
    /// The value in use.
    pub running: String,
    /// The value of the new configuration.
    pub new: String,
}

struct List<'a>(&'a [Change]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Change { key, running, new }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{key} ({running} is in use, {new} is configured)")?;
        }
        Ok(())
    }
}

impl Gateway {
    /// Replaces the configuration. Requests that begin later have the new one. Memory, router, budget and metrics stay, and so do
    /// the circuits of models that stay.
    ///
    /// It takes the result of reading a configuration, so that one that cannot be read is logged and counted, too.
    ///
    /// # Errors
    /// [`ReloadError`] says why the previous configuration stays.
    pub fn reload<E>(&self, config: Result<Config, E>) -> Result<(), ReloadError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let before = self.serving.load_full();
        let next =
            config.map_err(|source| ReloadError::Config { source: source.into() }).and_then(|config| {
                let changes = fixed(&before.config, &config);
                if changes.is_empty() {
                    Ok(before.with(config)?)
                } else {
                    Err(ReloadError::Restart { changes })
                }
            });
        let (metrics, at) = (&before.context.metrics, before.context.clock.unix_seconds());
        let result = match &next {
            Ok(_) => ReloadResult::Success,
            Err(ReloadError::Restart { .. }) => ReloadResult::RestartRequired,
            Err(_) => ReloadResult::Invalid,
        };
        metrics.reload(result, at);
        match next {
            Ok(next) => {
                next.show_models();
                tracing::info!(mode = next.config.mode.name(), "configuration reloaded");
                self.serving.store(Arc::new(next));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the configuration is not reloaded, the previous one stays");
                Err(error)
            }
        }
    }
}

/// What differs, of all that is made once: the socket, the paths of the interface, the router and the memory.
fn fixed(running: &Config, new: &Config) -> Vec<Change> {
    let values = |config: &Config| {
        let none = || "none".to_owned();
        let risk = config.risk.map(|risk| format!("alpha {} and delta {}", risk.alpha, risk.delta));
        let budget = config.budget.as_ref().map(|budget| format!("{budget:?}"));
        let path = config.memory.path.as_ref().map(|path| path.display().to_string());
        [
            ("listen", config.listen.to_string()),
            ("provider", config.provider().name().to_owned()),
            ("risk", risk.unwrap_or_else(none)),
            ("budget", budget.unwrap_or_else(none)),
            ("memory.path", path.unwrap_or_else(none)),
            ("memory.store_prompts", config.memory.store_prompts.to_string()),
            ("shadow.rate", config.shadow_rate.to_string()),
        ]
    };
    let pairs = values(running).into_iter().zip(values(new));
    let pairs = pairs.filter(|((_, running), (_, new))| running != new);
    pairs.map(|((key, running), (_, new))| Change { key, running, new }).collect()
}

/// When a file was changed, and its length; `None` if it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

/// The reasons to read the configuration again: SIGHUP, and changes of its file.
#[derive(Debug)]
pub struct Reloads {
    file: Option<PathBuf>,
    /// The file as it was read.
    read: Stamp,
    /// The file at the last look.
    seen: Stamp,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Reloads {
    /// Make it before the file is read for the first time, so that no change is missed, and within a runtime.
    ///
    /// # Errors
    /// If the system cannot pass SIGHUP on.
    pub fn new(file: Option<PathBuf>) -> std::io::Result<Self> {
        let mut reloads = Self {
            file,
            read: None,
            seen: None,
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        };
        reloads.read = reloads.stamp();
        reloads.seen = reloads.read;
        Ok(reloads)
    }

    /// Reads the configuration for each reason, and replaces the gateway's. It never ends.
    pub async fn run<E>(
        mut self,
        gateway: Arc<Gateway>,
        read: impl Fn() -> Result<Config, E> + Send + Sync + 'static,
    ) where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let read = Arc::new(read);
        loop {
            self.next().await;
            let (gateway, read) = (Arc::clone(&gateway), Arc::clone(&read));
            // It reads files and certificates. The error is logged; a panic leaves the configuration as it is.
            let _ = tokio::task::spawn_blocking(move || gateway.reload(read())).await;
        }
    }

    /// Waits for a reason.
    async fn next(&mut self) {
        let mut looks = tokio::time::interval(PERIOD);
        loop {
            #[cfg(unix)]
            tokio::select! {
                Some(()) = self.hangup.recv() => {
                    self.read = self.stamp();
                    return;
                }
                _ = looks.tick() => {}
            }
            #[cfg(not(unix))]
            looks.tick().await;
            if self.has_changed() {
                return;
            }
        }
    }

    /// Whether the file differs from the one that was read, and not from the last look: one that is just being written is left
    /// alone until it rests.
    fn has_changed(&mut self) -> bool {
        let now = self.stamp();
        let rests = now == std::mem::replace(&mut self.seen, now);
        let has_changed = rests && now != self.read;
        if has_changed {
            self.read = now;
        }
        has_changed
    }

    fn stamp(&self) -> Stamp {
        let metadata = std::fs::metadata(self.file.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

#[cfg(test)]
mod tests;
