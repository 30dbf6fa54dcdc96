//! What can only be seen from outside the crate.

mod allocations;
