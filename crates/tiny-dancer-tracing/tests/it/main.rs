//! The tracing system from outside: on the wire, on the standard error, in a process of its own.

#![expect(clippy::unwrap_used, reason = "in a helper of a test it fails the test, as it should")]

mod allocations;
mod collector;
mod export;
mod failures;
mod init;
mod jaeger;
mod logs;
mod otlp;
mod parents;
mod process;
mod push;
mod sampling;
mod thrift;
