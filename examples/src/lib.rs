//! What the examples share: real prompts and what is remembered, a collector in the process, and things to look at.

pub mod collector;
pub mod data;
pub mod progress;
pub mod stop;
pub mod table;
