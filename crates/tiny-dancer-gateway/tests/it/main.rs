//! The gateway between plain HTTP clients and models that act.
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

mod budget;
mod clients;
mod conversations;
mod documentation;
mod failures;
mod memory;
mod models;
mod proxy;
mod real_rows;
mod reload;
mod running;
mod shadows;
