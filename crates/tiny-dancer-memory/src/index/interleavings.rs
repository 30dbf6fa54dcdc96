//! Interleavings of writers, readers and sealing, chosen at random by `shuttle`.
//!
//! `shuttle` runs all threads of a test as coroutines of one thread, and changes between them only where they call it. So the
//! index runs with its real pointer and lock, and calls `shuttle` around each use of them.

use super::Index;
use crate::segment::SEGMENT;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, TryLockError};
use tiny_dancer_core::{Candidate, Metadata};

/// The interleavings of each test.
const INTERLEAVINGS: usize = 300;

thread_local! {
    /// Whether this thread runs a test of this module.
    static INTERLEAVED: Cell<bool> = const { Cell::new(false) };
}

/// Lets other threads run.
pub(super) fn pause() {
    if INTERLEAVED.get() {
        shuttle::thread::yield_now();
    }
}

/// Lets other threads run until the lock is free.
pub(super) fn wait_for<T>(lock: &Mutex<T>) {
    while INTERLEAVED.get() && matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        shuttle::thread::yield_now();
    }
}

/// Runs a test with many interleavings of its threads.
fn interleave(test: impl Fn() + Send + Sync + 'static) {
    INTERLEAVED.set(true);
    shuttle::check_random(test, INTERLEAVINGS);
    INTERLEAVED.set(false);
}

fn entry(id: impl Into<String>) -> Candidate {
    Candidate { id: id.into(), embedding: vec![1.0], ..Candidate::default() }
}

/// The ids of a search for all entries, each once.
fn found(index: &Index) -> BTreeSet<String> {
    let found = index.nearest(&[1.0], usize::MAX, &Metadata::new()).unwrap();
    let ids: BTreeSet<_> = found.iter().map(|found| found.candidate.id.clone()).collect();
    assert_eq!(ids.len(), found.len(), "an entry is found twice");
    ids
}

/// An index whose growing segment has room for this number of entries.
fn nearly_full(room: usize) -> Arc<Index> {
    let index = Index::new(1);
    index.insert((room..SEGMENT).map(|i| entry(format!("old{i}"))).collect()).unwrap();
    Arc::new(index)
}

#[test]
fn a_thread_finds_what_it_has_inserted_while_others_insert_and_seal() {
    interleave(|| {
        let index = nearly_full(4);
        let threads = ["a", "b", "c"].map(|name| {
            let index = index.clone();
            shuttle::thread::spawn(move || {
                for i in 0..3 {
                    index.insert(vec![entry(format!("{name}{i}"))]).unwrap();
                    let found = found(&index);
                    assert!((0..=i).all(|i| found.contains(&format!("{name}{i}"))), "{name}{i} is not found");
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(found(&index).len(), SEGMENT - 4 + 9);
    });
}

#[test]
fn a_search_finds_all_entries_of_a_call_or_none() {
    interleave(|| {
        let index = nearly_full(3);
        let writer = index.clone();
        let writer = shuttle::thread::spawn(move || {
            for call in 0..3 {
                // The second and third call seal a segment between their entries, or remove what is sealed.
                writer.insert(["x", "y"].map(|name| entry(format!("{name}{call}"))).to_vec()).unwrap();
            }
        });
        let reader = shuttle::thread::spawn(move || {
            for _ in 0..4 {
                let found = found(&index);
                for call in 0..3 {
                    let both = ["x", "y"].map(|name| found.contains(&format!("{name}{call}")));
                    assert_eq!(both[0], both[1], "half of a call is found");
                }
            }
        });
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_removed_entry_is_in_no_later_snapshot() {
    interleave(|| {
        let index = nearly_full(2);
        let inserting = index.clone();
        let inserting = shuttle::thread::spawn(move || {
            for i in 0..4 {
                inserting.insert(vec![entry(format!("new{i}"))]).unwrap();
            }
        });
        let removing = shuttle::thread::spawn(move || {
            for i in 2..5 {
                let id = format!("old{i}");
                assert!(index.remove(&id));
                for _ in 0..3 {
                    assert!(!found(&index).contains(&id), "{id} is found again");
                }
            }
        });
        inserting.join().unwrap();
        removing.join().unwrap();
    });
}

#[test]
fn no_entry_is_found_twice_or_lost_while_segments_are_sealed_dissolved_and_erased() {
    interleave(|| {
        let index = nearly_full(2);
        let tenant = Metadata::from([("tenant".to_owned(), "a".to_owned())]);
        let of_tenant = Candidate { metadata: tenant.clone(), ..entry("tenant") };
        index.insert(vec![of_tenant]).unwrap();
        let kept: BTreeSet<_> = (0..SEGMENT).step_by(3).skip(1).map(|i| format!("old{i}")).collect();
        let writers = [0, 1].map(|half| {
            let (index, kept, tenant) = (index.clone(), kept.clone(), tenant.clone());
            shuttle::thread::spawn(move || {
                // More than half of the entries go, in two steps, and the rest moves to another segment.
                index.insert(vec![entry(format!("new{half}"))]).unwrap();
                let removed: Vec<_> = (2..SEGMENT)
                    .filter(|i| i % 2 == half && !kept.contains(&format!("old{i}")))
                    .map(|i| format!("old{i}"))
                    .collect();
                index.write(|writer| removed.iter().for_each(|id| assert!(writer.remove(id))));
                if half == 0 {
                    assert_eq!(index.remove_matching(&tenant), 1);
                }
            })
        });
        let reader = {
            let (index, kept) = (index.clone(), kept.clone());
            shuttle::thread::spawn(move || {
                for _ in 0..4 {
                    assert!(found(&index).is_superset(&kept), "an entry is lost");
                }
            })
        };
        for writer in writers {
            writer.join().unwrap();
        }
        reader.join().unwrap();
        let expected: BTreeSet<_> = kept.into_iter().chain(["new0".to_owned(), "new1".to_owned()]).collect();
        assert_eq!(found(&index), expected);
    });
}
