//! Tests of the public interface, in other processes too.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod killed;
mod leased;
