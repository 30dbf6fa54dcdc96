//! What the examples share: real prompts and their memory, a collector in the process, tables and a progress bar.

pub mod collector;
pub mod data;
pub mod progress;
pub mod stop;
pub mod table;

/// Runs the code of the page on logs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/bring-your-own-logs.md")]
struct BringYourOwnLogs;

/// Compiles the code of the page on the memory.
#[cfg(doctest)]
#[doc = include_str!("../../docs/memory.md")]
struct TheMemory;
