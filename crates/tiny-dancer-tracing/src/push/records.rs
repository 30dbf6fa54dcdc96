//! The queue of log records, and the thread that sends them.

use super::{described, start};
use crate::checked::Logs;
use crate::config::InitError;
use crate::fields::TARGET;
use crate::ledger::Ledger;
use crate::otlp::Poster;
use crate::scope;
use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tiny_dancer_core::Clock;

thread_local! {
    /// Whether this thread sends log records. Its own lines are no records, which would cause others.
    static SENDS: Cell<bool> = const { Cell::new(false) };
}

/// A record and its target, the scope of its code.
type Record = (Cow<'static, str>, LogRecord);

/// The queue of log records. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogRecords {
    /// `None` is the last message. The ledger's slots bound the number of messages.
    queue: Sender<Option<Record>>,
    ledger: Arc<Ledger>,
    is_closed: Arc<AtomicBool>,
}

impl LogRecords {
    /// Whether a record of this thread would be queued.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed) && !SENDS.get()
    }

    /// Queues a record, or counts it as dropped. Never waits.
    pub(super) fn push(&self, target: Cow<'static, str>, record: LogRecord) {
        if self.ledger.admit(1) {
            // The receiver ends only after a shutdown, which counts the record as dropped.
            let _ = self.queue.send(Some((target, record)));
        }
    }

    /// Takes no more records, and sends the queued ones at once.
    pub(crate) fn close(&self) {
        if !self.is_closed.swap(true, Ordering::Relaxed) {
            let _ = self.queue.send(None);
        }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

/// Starts the thread that sends log records, and returns their queue.
pub(crate) fn log_records(
    config: &Logs,
    poster: Poster,
    resource: &ResourceAttributesWithSchema,
) -> Result<(LogRecords, JoinHandle<()>), InitError> {
    let (queue, received) = channel();
    let ledger = Arc::new(Ledger::new(config.queue_size, poster.reports().clone()));
    let (resource, schema_url) = described(resource);
    let batches = Batches {
        received,
        ledger: Arc::clone(&ledger),
        size: config.batch_size,
        delay: config.schedule_delay,
        clock: Clock::system(),
    };
    let counts = Arc::clone(&ledger);
    let thread = start("tiny-dancer-logs", move || {
        SENDS.set(true);
        for batch in batches {
            let records = batch.len() as u64;
            let sent = poster.send(&request(batch, resource.clone(), schema_url.clone()));
            counts.book(records, sent.err().as_deref());
        }
    })?;
    Ok((LogRecords { queue, ledger, is_closed: Arc::default() }, thread))
}

/// The batches of a queue: each is full, or its first record has waited for `delay`, or it is the last.
struct Batches {
    received: Receiver<Option<Record>>,
    ledger: Arc<Ledger>,
    size: usize,
    delay: Duration,
    clock: Clock,
}

impl Iterator for Batches {
    type Item = Vec<Record>;

    fn next(&mut self) -> Option<Vec<Record>> {
        let mut batch = vec![self.received.recv().ok().flatten()?];
        let start = self.clock.tick();
        while batch.len() < self.size {
            match self.received.recv_timeout(self.delay.saturating_sub(self.clock.since(start))) {
                Ok(Some(record)) => batch.push(record),
                Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                    // The next call ends.
                    self.received = channel().1;
                    break;
                }
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        self.ledger.leave(batch.len() as u64, batch.len() as u64);
        Some(batch)
    }
}

/// The message of a batch, whose records are grouped by their targets.
fn request(batch: Vec<Record>, resource: Resource, schema_url: String) -> ExportLogsServiceRequest {
    let mut scopes: Vec<(Cow<'static, str>, Vec<LogRecord>)> = Vec::new();
    for (target, record) in batch {
        match scopes.iter_mut().find(|(known, _)| *known == target) {
            Some((_, records)) => records.push(record),
            None => scopes.push((target, vec![record])),
        }
    }
    let scope_logs = scopes.into_iter().map(|(target, log_records)| {
        let scope = match &*target {
            TARGET => scope::router(),
            _ => InstrumentationScope::builder(target).build(),
        };
        ScopeLogs { scope: Some((&scope, None).into()), log_records, schema_url: String::new() }
    });
    let scope_logs = scope_logs.collect();
    let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs, schema_url }];
    ExportLogsServiceRequest { resource_logs }
}
