//! The nearest remembered requests, found in process and while others are inserted.
//!
//! The router decides by what is known about requests near the query. An [`Index`] holds them as
//! [`Candidate`](tiny_dancer_core::Candidate)s and finds the nearest:
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
//! Entries are appended to a growing segment. At 512 entries it is sealed: its rows no longer change, and the next segment
//! begins. A replaced or removed entry leaves its row, which is only marked. A segment of which less than half is live is
//! dissolved, and its live entries are appended to the growing one.
//!
//! ```text
//! insert, remove, expire --> writer --publishes--> Snapshot { sealed: [512] [512] ... [512], growing: [n < 512] }
//!                                                      ^
//! nearest ---------------------------------------------'
//! ```
//!
//! A search reads the snapshot that was published last and never waits for a writer. A method that writes returns after
//! its snapshot is published, so the next search of any thread sees it. Snapshots share their segments: publishing one
//! copies the list of the growing segment's entries, and for a removal the list of segments.
//!
//! # What it lacks
//!
//! The index is in memory alone, and it does not know which embedder made its vectors.

mod codes;
mod index;
mod kernel;
mod passes;
mod rotation;
mod segment;
mod snapshot;
#[cfg(test)]
mod testing;

pub use index::Index;
pub use snapshot::{Neighbour, Snapshot};
