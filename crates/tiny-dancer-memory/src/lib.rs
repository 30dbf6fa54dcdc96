//! A memory of requests, by which the router decides and which learns from verdicts.
//!
//! The router is as good as what is known about requests near the query. A [`Memory`] remembers each request that it routes. When a
//! verdict on the lightweight answer comes, the request becomes evidence for those near it:
//!
//! ```
//! use tiny_dancer_core::{Reason, Router, RouterConfig};
//! use tiny_dancer_memory::{Context, Memory, MemoryConfig, Verdict};
//!
//! let router = Router::new(RouterConfig::default())?;
//! let memory = Memory::in_process(MemoryConfig::default())?; // `Memory::open("memory.db")` survives a restart
//! let context = || Context { tenant: Some("acme".into()), ..Context::default() };
//!
//! let routed = memory.route(router.begin(), &[0.6, 0.8], context())?;
//! assert_eq!(routed.response.reason, Reason::NoEvidence);
//!
//! // As late as you like, and as often as it is sent.
//! memory.record(&router, routed.id, Verdict::lightweight(0.9))?;
//! assert_ne!(memory.route(router.begin(), &[0.6, 0.8], context())?.response.reason, Reason::NoEvidence);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ```text
//! embedding --> search --> router --> Routed { id, response }
//!                  ^                     |
//!                  |                     v
//! index of the tenant <-- verdict -- pending request --> queue --> writer's thread --> Store
//!                                        ^                                              |
//!                                        `------- late verdicts, restarts <-------------'
//! ```
//!
//! [`Memory::route`] waits neither for a disk nor for a writer. Evidence and the last requests are in memory, all of them and the
//! decision log in a [`Store`], such as [`SqliteStore`]. A tenant has an index of its own, so that no search sees another
//! tenant's entries. [`Memory::erase`] removes data everywhere.
//!
//! # The index
//!
//! An [`Index`] holds evidence as [`Candidate`](tiny_dancer_core::Candidate)s and finds the nearest, also without a memory:
//!
//! ```
//! use tiny_dancer_core::{Candidate, Metadata, Router, RouterConfig, RoutingRequest};
//! use tiny_dancer_memory::Index;
//!
//! let index = Index::new(2);
//! let acme: Metadata = [("tenant".to_owned(), "acme".to_owned())].into();
//! index.insert(vec![
//!     Candidate { id: "1".into(), embedding: vec![3.0, 4.0], metadata: acme.clone(), ..Default::default() },
//!     Candidate { id: "2".into(), embedding: vec![1.0, 0.0], ..Default::default() },
//! ])?;
//!
//! // A tenant sees its own entries.
//! let query = [1.0, 0.0];
//! let found = index.nearest(&query, 64, &acme)?;
//! assert_eq!((found.len(), found[0].candidate.id.as_str(), found[0].similarity), (1, "1", 0.6));
//!
//! let candidates: Vec<Candidate> = found.iter().map(|found| (*found.candidate).clone()).collect();
//! let router = Router::new(RouterConfig::default())?;
//! let response = router.route(RoutingRequest::new(&query, &candidates))?;
//! assert_eq!(response.decisions.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Segments and snapshots
//!
//! Entries are appended to a growing segment. At 64 entries it is sealed: its rows no longer change, and the next segment
//! begins. Neighbours of one length are merged, up to 4,096 entries, so that a search reads few long pieces of memory. A replaced
//! or removed entry leaves its row, which is only marked. A segment of which less than half is live is dissolved, and its live
//! entries are appended to the growing one.
//!
//! ```text
//! insert, remove, expire --> writer --publishes--> Snapshot { sealed: [4096] [4096] ... [64], growing: [n < 64] }
//!                                                      ^
//! nearest ---------------------------------------------'
//! ```
//!
//! A search reads the snapshot that was published last and never waits for a writer. A method that writes returns after
//! its snapshot is published, so the next search of any thread sees it. Snapshots share their segments: publishing one
//! copies the list of the growing segment's entries, and for a removal the list of segments.
//!
//! # A search in two passes
//!
//! A scan of all vectors is limited by the bandwidth of memory, so most of them are read in a short form. When a segment is
//! sealed, each of its vectors gets two codes: one bit and one byte a dimension.
//!
//! The one-bit code is that of `RaBitQ` (Gao and Long, SIGMOD 2024). With the mean `c` of the vectors, a vector is
//! `x = c + r`. A random rotation `P` spreads `r` evenly over the dimensions, and the code is the signs `s` of `P r`, each 1
//! or -1. For a query `q`, with `y = P (q - c)`:
//!
//! ```text
//! <q, x> = <q, c> - <c, c> + <c, x> + <q - c, r>
//! <q - c, r> = <y, P r>,    estimated by <y, s> |r|^2 / |P r|_1
//! ```
//!
//! The estimate has no bias, and its standard error is `|q - c| |r|^2 / |P r|_1` times `sqrt(1 - 2 / pi)`. `<y, s>` is a sum
//! of one byte for each four dimensions, from a table of sixteen, which one instruction reads for 64 vectors.
//!
//! A row is dropped where its estimate is more than two and a half standard errors below the `k`-th best that is known. The
//! second pass compares what is left by bytes, whose error is a hundred times smaller, and about as many rows as are searched
//! for are compared at full precision. So each similarity is exact, and what can be missed is a neighbour whose estimate is
//! off by more than two and a half standard errors. The mean recall of the 64 nearest is at least 0.999 on the drawn vectors of a
//! test. It is lower where very many vectors lie near very few points: docs/performance.md has that of a million copies of 120
//! prompts. Up to 512 matching entries, or eight times as many as are searched for, are all compared at full precision,
//! and so are embeddings of fewer than 64 dimensions.
//!
//! The example `search_time` prints the time of a search beside that of an exact scan, the recall, and the bytes of an
//! entry: for `d` dimensions `5 d + d / 8` of vectors and codes, and some 200 of names, times and pointers.
//!
//! The same calls in the same order give the same results on any machine: all kernels have the same arithmetic, and the
//! rotation is fixed.
//!
//! # What it lacks
//!
//! An index is in memory alone, and it does not know which embedder made its vectors; a [`Memory`] does. A search reads codes
//! of all segments: there is no graph or tree, so its time grows with the number of entries. Several processes cannot share
//! the evidence of one file while it changes.

mod codes;
mod config;
mod index;
mod kernel;
mod memory;
mod passes;
mod record;
mod rotation;
mod segment;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;

pub use config::{ConfigError, MemoryConfig};
pub use index::Index;
pub use memory::{
    AccountKeeper, KeepError, Keeping, Memory, OpenError, ReEmbedError, ReEmbedded, RecordError,
    RememberError, Routed, re_embed,
};
pub use record::{Context, Draws, Entry, LogEntry, RequestId, Served, Tokens, Usage, Verdict, VerdictSource};
pub use snapshot::{Neighbour, Snapshot};
pub use store::{
    Change, Committed, Erasure, Expiry, Reader, Removed, Report, SqliteReader, SqliteStore, Stats, Store,
    StoreError, Vectors, Writer,
};
