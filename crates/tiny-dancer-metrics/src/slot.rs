//! Small numbers for threads: no two living threads have the same, and a new thread gets one that a dead thread had.
//!
//! A number says which shard a thread writes to. That it goes on to the next thread is what keeps the counts of dead
//! threads: their shard stays where it is, and its next owner counts on. So there are as many shards as there ever
//! were threads at a time, nothing is copied, and the order in which shards are added up never changes. That order
//! matters: sums of floats that are added in another order may come out smaller by a rounding, which Prometheus would
//! take for a restart.

use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

static POOL: Pool = Pool::new();

thread_local! {
    static SLOT: Rc<Slot> = Rc::new(POOL.claim());
}

/// The numbers that no thread has.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<Unclaimed>);

#[derive(Debug)]
struct Unclaimed {
    returned: Vec<usize>,
    /// This one and those above were never claimed.
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

    /// The lock is also what lets the next owner of a number see all that the last one wrote.
    fn unclaimed<T>(&self, with: impl FnOnce(&mut Unclaimed) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A claimed number. Dropped, it is free for the next claim.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: &'static Pool,
    number: usize,
}

impl Slot {
    /// This thread's. The reference can't leave the thread, and the number stays claimed as long as one is kept.
    #[inline]
    pub(crate) fn current() -> Rc<Self> {
        // A thread that is being torn down and still routes, from another destructor, gets a number for the moment.
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
