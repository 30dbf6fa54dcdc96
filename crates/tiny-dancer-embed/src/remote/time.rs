//! Time and chance, which tests control.

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

pub(super) trait Time: Debug + Send + Sync {
    /// The time since a fixed point.
    fn now(&self) -> Duration;

    fn wait(&self, duration: Duration);

    /// At least 0, less than 1.
    fn random(&self) -> f64;
}

/// The machine's clock.
#[derive(Debug)]
pub(super) struct SystemTime(Instant);

impl Default for SystemTime {
    fn default() -> Self {
        Self(now())
    }
}

impl Time for SystemTime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&self, duration: Duration) {
        thread::sleep(duration);
    }

    fn random(&self) -> f64 {
        // Each state of the standard library's hash has other keys.
        let bits = RandomState::new().hash_one(0_u8);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of this crate, which tests replace")]
fn now() -> Instant {
    Instant::now()
}
