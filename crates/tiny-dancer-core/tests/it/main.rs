//! What can only be seen from outside the crate.

mod allocations;
mod names;
#[cfg(feature = "serde")]
mod serde;
