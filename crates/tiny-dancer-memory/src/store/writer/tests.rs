use super::*;
use crate::store::Reader;
use crate::store::in_process::{Gate, InProcessStore};
use crate::store::tests::{decision, entries, entry, log, remember};
use std::sync::mpsc::{Receiver, Sender, channel};
use tiny_dancer_core::observer::MemoryErrorKind;

fn full() -> StoreError {
    StoreError::Full { path: "memory.db".into() }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { path: "memory.db".into(), detail: "a test".into() }
}

/// What is reported, in short.
#[derive(Debug, PartialEq)]
enum Said {
    Stored(usize),
    Failed(usize, MemoryErrorKind),
    Lost(usize, MemoryErrorKind),
}

/// A writer that commits again only when it is called.
fn writer(store: impl Store, capacity: usize) -> (Writer, Receiver<Said>) {
    writer_with(store, capacity, Pauses { gather: Duration::ZERO, retry: Duration::MAX })
}

fn writer_with(store: impl Store, capacity: usize, pauses: Pauses) -> (Writer, Receiver<Said>) {
    let (sender, receiver) = channel();
    let report = move |report| {
        let said = match report {
            Report::Stored { changes, .. } => Said::Stored(changes),
            Report::Failed { changes, error } => Said::Failed(changes, error.kind()),
            Report::Lost { changes, error } => Said::Lost(changes, error.kind()),
        };
        // A test may have ended.
        let _ = sender.send(said);
    };
    (Writer::start(store, capacity, pauses, report).unwrap(), receiver)
}

fn entries_of(numbers: std::ops::Range<u8>) -> impl Iterator<Item = Change> {
    numbers.map(|number| remember(entry(number)))
}

fn gated(capacity: usize) -> (Writer, InProcessStore, Receiver<usize>, Sender<()>) {
    let (entered, when_entered) = channel();
    let (opens, open) = channel();
    let store = InProcessStore::default();
    let (writer, _) = writer(Gate { store: store.clone(), entered, open }, capacity);
    (writer, store, when_entered, opens)
}

#[test]
fn what_was_sent_is_in_the_store_when_flush_returns() {
    let store = InProcessStore::default();
    let (writer, reports) = writer(store.clone(), 100);
    assert_eq!(writer.flush().unwrap(), 0);
    writer.send(entries_of(0..3)).unwrap();
    assert_eq!(writer.flush().unwrap(), 3);
    assert_eq!(entries(&store).len(), 3);
    assert_eq!(reports.try_iter().collect::<Vec<_>>(), [Said::Stored(3)]);
    writer.send([log(decision(1))]).unwrap();
    assert_eq!(writer.flush().unwrap(), 4);
    assert_eq!(writer.queued(), 0);
}

#[test]
fn all_that_comes_during_a_commit_is_committed_together() {
    let (writer, store, entered, opens) = gated(100);
    writer.send(entries_of(0..1)).unwrap();
    assert_eq!(entered.recv().unwrap(), 1);
    for number in 1..50 {
        writer.send(entries_of(number..number + 1)).unwrap();
    }
    opens.send(()).unwrap();
    assert_eq!(entered.recv().unwrap(), 49);
    opens.send(()).unwrap();
    writer.flush().unwrap();
    assert_eq!(store.kept().commits, [1, 49]);
}

#[test]
fn changes_are_gathered_until_a_flush_or_a_receipt_waits_for_them() {
    let store = InProcessStore::default();
    let pauses = Pauses { gather: Duration::MAX, retry: Duration::MAX };
    let (writer, _) = writer_with(store.clone(), 100, pauses);
    let first = |numbers| {
        writer.send(entries_of(numbers)).unwrap();
        // Then the thread has seen it, and does not commit it.
        while !writer.shared.lock().gathering {
            std::thread::yield_now();
        }
    };
    first(0..1);
    writer.send(entries_of(1..3)).unwrap();
    assert_eq!(writer.flush().unwrap(), 3);
    first(3..4);
    let receipt = writer.send_for_receipt(entries_of(4..5)).unwrap();
    assert!(matches!(writer.wait_for(&receipt), Fate::Durable));
    first(5..6);
    drop(writer);
    assert_eq!(store.kept().commits, [3, 2, 1]);
}

#[test]
fn changes_are_gathered_up_to_those_of_one_commit() {
    let (store, capacity) = (InProcessStore::default(), usize::MAX);
    let pauses = Pauses { gather: Duration::MAX, retry: Duration::MAX };
    let (writer, reports) = writer_with(store, capacity, pauses);
    let again = entries_of(0..1).next().unwrap();
    writer.send(std::iter::repeat_n(again, BATCH)).unwrap();
    assert_eq!(reports.recv().unwrap(), Said::Stored(BATCH));
}

#[test]
fn a_commit_has_a_bounded_number_of_changes() {
    let (writer, store, entered, opens) = gated(usize::MAX);
    writer.send(entries_of(0..1)).unwrap();
    assert_eq!(entered.recv().unwrap(), 1);
    writer.send((0..=BATCH).map(|_| Change::Expire(crate::Expiry::default()))).unwrap();
    drop(opens);
    writer.flush().unwrap();
    assert_eq!(store.kept().commits, [1, BATCH, 1]);
}

#[test]
fn sending_does_not_wait_for_a_commit_and_a_full_queue_refuses() {
    let (writer, store, entered, opens) = gated(4);
    writer.send(entries_of(0..2)).unwrap();
    entered.recv().unwrap();
    writer.send(entries_of(2..4)).unwrap();
    // The changes of the commit still occupy the queue.
    assert_eq!(writer.queued(), 4);
    let error = writer.send(entries_of(4..5)).unwrap_err();
    assert!(matches!(error, StoreError::QueueFull { capacity: 4 }), "{error}");
    drop(opens);
    assert_eq!(writer.flush().unwrap(), 4);
    assert_eq!(entries(&store).len(), 4);
}

#[test]
fn changes_that_do_not_fit_together_are_all_refused() {
    let store = InProcessStore::default();
    let (writer, _) = writer(store.clone(), 3);
    assert_eq!(writer.send(entries_of(0..4)).unwrap_err().kind(), MemoryErrorKind::QueueFull);
    assert_eq!(writer.flush().unwrap(), 0);
}

#[test]
fn after_a_full_disk_the_changes_are_kept_and_committed_later_in_their_order() {
    let (writer, store, entered, opens) = gated(100);
    store.kept().errors.push_back(full());
    writer.send(entries_of(0..2)).unwrap();
    entered.recv().unwrap();
    let flush = writer.begin_flush();
    opens.send(()).unwrap();
    let error = writer.wait(&flush).unwrap_err();
    assert_eq!((error.kind(), error.is_temporary(), writer.queued()), (MemoryErrorKind::Full, true, 2));
    writer.send([remember(crate::Entry { prompt: None, ..entry(1) })]).unwrap();
    drop(opens);
    assert_eq!(writer.flush().unwrap(), 3);
    assert_eq!(store.kept().commits, [3]);
    assert_eq!(entries(&store)[1].prompt, None);
}

#[test]
fn changes_are_committed_again_without_a_call() {
    let store = InProcessStore::default();
    store.kept().errors.push_back(full());
    let (writer, reports) = writer_with(store, 100, Pauses { gather: Duration::ZERO, retry: Duration::ZERO });
    writer.send(entries_of(0..2)).unwrap();
    assert_eq!(
        reports.iter().take(2).collect::<Vec<_>>(),
        [Said::Failed(2, MemoryErrorKind::Full), Said::Stored(2)]
    );
    drop(writer);
}

#[test]
fn a_change_that_cannot_be_stored_is_lost_alone() {
    let (writer, store, entered, opens) = gated(100);
    writer.send(entries_of(0..1)).unwrap();
    entered.recv().unwrap();
    let bad = crate::Entry { embedding: vec![1.0], ..entry(9) };
    writer.send(entries_of(1..20).chain([remember(bad)]).chain(entries_of(20..40))).unwrap();
    drop(opens);
    let error = writer.flush().unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (MemoryErrorKind::EmbedderMismatch, false));
    assert_eq!(writer.flush().unwrap(), 40);
    assert_eq!(entries(&store).len(), 40);
}

#[test]
fn a_loss_is_returned_by_the_next_flush_and_by_no_later_one() {
    let store = InProcessStore::default();
    store.kept().errors.push_back(corrupt());
    let (writer, reports) = writer(store, 100);
    writer.send(entries_of(0..1)).unwrap();
    assert_eq!(reports.recv().unwrap(), Said::Lost(1, MemoryErrorKind::Corrupt));
    assert_eq!(writer.flush().unwrap_err().kind(), MemoryErrorKind::Corrupt);
    assert_eq!(writer.flush().unwrap(), 0);
}

#[test]
fn all_flushes_that_wait_return_the_error() {
    let (writer, store, entered, opens) = gated(100);
    store.kept().errors.push_back(corrupt());
    writer.send(entries_of(0..1)).unwrap();
    entered.recv().unwrap();
    let flushes = [(); 3].map(|()| writer.begin_flush());
    drop(opens);
    for flush in flushes {
        assert_eq!(writer.wait(&flush).unwrap_err().kind(), MemoryErrorKind::Corrupt);
    }
    assert_eq!(writer.flush().unwrap(), 0);
}

#[test]
fn dropping_a_writer_commits_what_waits() {
    let (writer, store, entered, opens) = gated(100);
    writer.send(entries_of(0..1)).unwrap();
    entered.recv().unwrap();
    writer.send(entries_of(1..10)).unwrap();
    drop(opens);
    drop(writer);
    assert_eq!(entries(&store).len(), 10);
}

#[test]
fn what_a_dropped_writer_cannot_commit_is_reported_as_lost() {
    let store = InProcessStore::default();
    store.kept().errors.extend([full(), full()]);
    let (writer, reports) = writer(store, 100);
    writer.send(entries_of(0..5)).unwrap();
    assert_eq!(reports.recv().unwrap(), Said::Failed(5, MemoryErrorKind::Full));
    drop(writer);
    assert_eq!(reports.iter().collect::<Vec<_>>(), [Said::Lost(5, MemoryErrorKind::Full)]);
}

#[test]
fn a_store_and_a_callback_that_panic_do_not_end_the_writer() {
    struct Panics(InProcessStore);

    impl Store for Panics {
        fn commit(&mut self, changes: &[Change]) -> Result<Committed, StoreError> {
            assert!(!changes.contains(&remember(entry(1))), "a test");
            self.0.commit(changes)
        }

        fn compact(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
            self.0.reader()
        }
    }

    let writer = Writer::new(Panics(InProcessStore::default()), 100, |report| panic!("{report:?}")).unwrap();
    writer.send(entries_of(1..2)).unwrap();
    assert!(matches!(*writer.flush().unwrap_err(), StoreError::Panicked));
    writer.send(entries_of(2..4)).unwrap();
    assert_eq!(writer.flush().unwrap(), 2);
}
