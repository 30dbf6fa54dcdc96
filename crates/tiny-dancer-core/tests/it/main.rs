//! What can only be seen from outside the crate.

mod allocations;
#[cfg(feature = "serde")]
mod serde;
