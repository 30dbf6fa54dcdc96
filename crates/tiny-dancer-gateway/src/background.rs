//! Work that follows an answer, such as a comparison. A stop lets it finish for some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that no client waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Background {
    tasks: TaskTracker,
    end: CancellationToken,
    cut_off: Arc<AtomicUsize>,
}

impl Background {
    /// Runs work in a task of its own; `cut_off` runs after it if it could not finish.
    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
        cut_off: impl FnOnce() + Send + 'static,
        runtime: &Handle,
    ) {
        let (end, count) = (self.end.clone(), Arc::clone(&self.cut_off));
        let task = async move {
            if end.run_until_cancelled_owned(work).await.is_none() {
                count.fetch_add(1, Ordering::Relaxed);
                cut_off();
            }
        };
        drop(self.tasks.spawn_on(task, runtime));
    }

    /// Waits until all work has ended.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until all work has ended, or until a time, and then cuts the rest off. Returns how much was cut off.
    pub(crate) async fn drain(&self, until: Instant) -> usize {
        if timeout_at(until, self.finish()).await.is_err() {
            self.end.cancel();
            self.finish().await;
        }
        self.cut_off.load(Ordering::Relaxed)
    }
}
