//! Tests of the public interface.

mod allocations;
mod names;
#[cfg(feature = "serde")]
mod serde;
