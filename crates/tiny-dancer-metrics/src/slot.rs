//! Small numbers for threads: living threads have different numbers, and a new thread gets that of an ended one.
//!
//! The number selects the shard that a thread writes to. Reuse keeps the counts of ended threads: their shard stays where
//! it is, and its next owner counts on. So there are as many shards as there were threads at one time, nothing is copied,
//! and shards are always added up in the same order. The order matters: a sum of floats in another order may be smaller
//! by a rounding error, which Prometheus would take for a restart.

use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

static POOL: Pool = Pool::new();

thread_local! {
    static SLOT: Rc<Slot> = Rc::new(POOL.claim());
}

/// The unclaimed numbers.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<Unclaimed>);

#[derive(Debug)]
struct Unclaimed {
    returned: Vec<usize>,
    /// This number and those above were never claimed.
    next: usize,
}

impl Pool {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Unclaimed { returned: Vec::new(), next: 0 }))
    }

    pub(crate) fn claim(&'static self) -> Slot {
        let number = self.unclaimed(|unclaimed| {
            unclaimed.returned.pop().unwrap_or_else(|| {
                unclaimed.next += 1;
                unclaimed.next - 1
            })
        });
        Slot { pool: self, number }
    }

    /// The lock also makes all writes of a number's last owner visible to the next one.
    fn unclaimed<T>(&self, with: impl FnOnce(&mut Unclaimed) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A claimed number. When it is dropped, the number is free again.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: &'static Pool,
    number: usize,
}

impl Slot {
    /// This thread's slot. References cannot leave the thread, and the number stays claimed while one exists.
    #[inline]
    pub(crate) fn current() -> Rc<Self> {
        // A destructor of another thread-local may route after this one is destroyed: it gets a temporary number.
        SLOT.try_with(Rc::clone).unwrap_or_else(|_| Rc::new(POOL.claim()))
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.unclaimed(|unclaimed| unclaimed.returned.push(self.number));
    }
}

#[cfg(test)]
mod tests;
