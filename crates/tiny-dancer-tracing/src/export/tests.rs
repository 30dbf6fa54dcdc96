use super::*;
use crate::testing::{Line, Recorder, WAIT, lines};
use crate::{TracingConfig, TracingObserver, TracingSystem};
use opentelemetry_sdk::error::OTelSdkError;
use std::sync::Mutex;
use tiny_dancer_core::testing::{candidate, router, toy_model};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tracing_subscriber::layer::SubscriberExt;

fn checked(shutdown_timeout: Duration) -> Checked {
    TracingConfig { shutdown_timeout, ..Default::default() }.check().unwrap()
}

fn open_spans(pipeline: &Pipeline, n: usize) {
    for _ in 0..n {
        pipeline.span("a span", vec![], &Context::new());
    }
}

/// Refuses everything.
#[derive(Debug)]
struct Refuses;

impl SpanExporter for Refuses {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("refused".into()))
    }
}

/// Blocks in an export until it is released.
#[derive(Debug)]
struct Hangs(Mutex<mpsc::Receiver<()>>);

impl SpanExporter for Hangs {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }
}

/// Lines that no router causes: an exporter that fails twice and recovers, and a system that loses spans.
pub(crate) fn lines_about_exporting() -> Vec<Line> {
    lines(|| {
        let ledger = Ledger::default();
        ledger.book(2, Some("refused"));
        ledger.book(3, Some("refused"));
        ledger.book(5, None);
        ledger.book(7, None);

        for signal in [Signal::LogRecords, Signal::MetricPoints] {
            let ledger = Ledger::new(0, BatchReports::of(signal));
            ledger.book(2, Some("refused"));
            ledger.book(5, None);
        }

        let system = TracingSystem::new(TracingConfig {
            // A port on which no program listens.
            otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
            otlp_logs: true,
            shutdown_timeout: Duration::from_millis(50),
            ..Default::default()
        });
        system.pipeline().log_start();
        open_spans(&system.pipeline(), 1);
        let records = tracing_subscriber::registry().with(system.log_layer().unwrap());
        tracing::subscriber::with_default(records, || tracing::error!("a line"));
    })
    .1
}

#[test]
fn a_failing_collector_is_logged_once_and_so_is_its_recovery() {
    let lines = lines_about_exporting();
    let number = |line: &Line| {
        let keys = [fields::SPANS_LOST, fields::LOG_RECORDS_LOST, fields::METRIC_POINTS_FAILED];
        keys.into_iter().find_map(|key| line.fields.get(key)?.parse::<u64>().ok())
    };
    let logged: Vec<_> = lines.iter().map(|line| (&*line.message, number(line))).collect();
    assert_eq!(
        logged,
        [
            ("spans can't be exported", None),
            ("spans are exported again", Some(5)),
            ("log records can't be exported", None),
            ("log records are exported again", Some(2)),
            ("metrics can't be exported", None),
            ("metrics are exported again", Some(2)),
            ("tracing started", None),
            ("spans were lost", Some(1)),
            ("log records were lost", Some(1)),
        ]
    );
}

#[test]
fn an_attempt_after_the_deadline_is_not_made() {
    let deadline = Deadline::default();
    assert!(deadline.wait(Duration::ZERO, false));
    assert!(!deadline.has_passed());
    deadline.set(Duration::from_secs(3_600));
    for is_retry_after in [false, true] {
        assert!(!deadline.wait(Duration::from_secs(3_601), is_retry_after));
        assert!(deadline.wait(Duration::ZERO, is_retry_after));
    }
    deadline.set(Duration::ZERO);
    assert!(deadline.has_passed());
    assert!(!deadline.wait(Duration::ZERO, false));
}

#[test]
fn refused_spans_and_the_reason_are_logged_once() {
    let ((), lines) = lines(|| {
        let reports = BatchReports::default();
        let ledger = Ledger::new(0, reports.clone());
        for _ in 0..2 {
            reports.refuse(3, "too old".to_owned());
            ledger.book(5, None);
        }
    });
    let errors: Vec<_> = lines.iter().map(|line| &*line.fields[fields::ERROR_MESSAGE]).collect();
    assert_eq!(errors, ["3 of 5 spans were refused: too old"]);
}

#[test]
fn spans_that_arrive_are_flushed() {
    let recorder = Recorder::new(TracingConfig::default());
    open_spans(&recorder.pipeline, 3);
    let report = recorder.pipeline.shutdown();
    assert_eq!(report, ShutdownReport { flushed: 3, ..Default::default() });
    assert_eq!(report.to_string(), "3 spans flushed, 0 dropped, 0 failed");
    assert_eq!(recorder.finish().len(), 3);
}

#[test]
fn spans_that_are_refused_count_as_failed() {
    let mut exporters = Exporters::new(2048, 512, WAIT);
    exporters.add(Refuses, BatchReports::default());
    let pipeline = Pipeline::new(&checked(Duration::from_secs(60)), exporters);
    open_spans(&pipeline, 3);
    assert_eq!(pipeline.shutdown(), ShutdownReport { failed: 3, ..Default::default() });
}

/// A pipeline whose exporter hangs until the sender is dropped. Its deadline passes earlier.
fn hanging() -> (mpsc::Sender<()>, Pipeline) {
    let (release, held) = mpsc::channel();
    let mut exporters = Exporters::new(2048, 512, WAIT);
    exporters.add(Hangs(Mutex::new(held)), BatchReports::default());
    (release, Pipeline::new(&checked(Duration::from_millis(50)), exporters))
}

#[test]
fn a_hanging_exporter_costs_at_most_a_full_queue_and_the_deadline() {
    let (release, pipeline) = hanging();
    // More than the queue holds. Opening them does not block.
    open_spans(&pipeline, 5_000);
    let report = pipeline.shutdown();
    assert_eq!((report.flushed, report.lost(), report.timed_out), (0, 5_000, true));
    drop(release);
}

/// The number of lost spans is a counter, which must not decrease when an exporter succeeds late.
#[test]
fn spans_that_are_exported_after_the_deadline_stay_lost() {
    let (release, pipeline) = hanging();
    open_spans(&pipeline, 3);
    let report = pipeline.shutdown();
    assert_eq!((report.flushed, report.lost(), report.timed_out), (0, 3, true));
    drop(release);
    let mut looks = 0..6_000;
    while pipeline.ledgers[0].flushed.load(Ordering::SeqCst) < 3 {
        looks.next().expect("the exporter continues when it is released");
        std::thread::sleep(Duration::from_millis(10));
    }
    let ShutdownReport { dropped, failed, .. } = report;
    assert_eq!(pipeline.counts(), ExportCounts { made: 3, dropped, failed, ..Default::default() });
}

#[test]
fn a_request_without_a_free_slot_is_lost_as_a_whole() {
    const SPANS: u64 = 5;
    let (release, held) = mpsc::channel();
    let mut exporters = Exporters::new(1, 512, WAIT);
    exporters.add(Hangs(Mutex::new(held)), BatchReports::default());
    let pipeline = Arc::new(Pipeline::new(&checked(Duration::from_secs(60)), exporters));
    let observer = TracingObserver::of(Arc::clone(&pipeline));
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    let candidates = [candidate("a", 0.9, 1.0), candidate("b", 0.8, 1.0)];
    for _ in 0..10 {
        router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    }
    // One may hang in the export, and one waits.
    let counts = pipeline.counts();
    assert_eq!((counts.made, counts.dropped % SPANS), (10 * SPANS, 0));
    assert!(counts.dropped >= 8 * SPANS, "{counts:?}");
    drop(release);
    let report = pipeline.shutdown();
    assert_eq!((report.flushed, report.dropped), (10 * SPANS - counts.dropped, counts.dropped));
}

/// Accepts every export. Dropping it blocks until it is released.
#[derive(Debug)]
struct BlocksOnDrop(Mutex<mpsc::Receiver<()>>);

impl SpanExporter for BlocksOnDrop {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

impl Drop for BlocksOnDrop {
    fn drop(&mut self) {
        // A shutdown that waits for this drop gets another report, so that the test fails instead of hanging.
        let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(60));
    }
}

#[test]
fn an_exporter_that_blocks_on_drop_delays_a_shutdown_only_until_the_deadline() {
    let (release, held) = mpsc::channel();
    let mut exporters = Exporters::new(2048, 512, WAIT);
    exporters.add(BlocksOnDrop(Mutex::new(held)), BatchReports::default());
    let pipeline = Pipeline::new(&checked(Duration::from_millis(500)), exporters);
    open_spans(&pipeline, 1);
    assert!(pipeline.shutdown().timed_out);
    drop(release);
}

#[test]
fn a_hanging_exporter_delays_no_other() {
    let (release, held) = mpsc::channel();
    let mut exporters = Exporters::new(2048, 512, WAIT);
    let memory = crate::testing::Memory::default();
    exporters.add(memory, BatchReports::default());
    exporters.add(Hangs(Mutex::new(held)), BatchReports::default());
    let pipeline = Pipeline::new(&checked(Duration::from_secs(2)), exporters);
    open_spans(&pipeline, 2);
    let report = pipeline.shutdown();
    assert_eq!((report.flushed, report.lost(), report.timed_out), (2, 2, true));
    drop(release);
}

#[test]
fn a_second_shutdown_repeats_the_report_of_the_first() {
    let system = TracingSystem::new(TracingConfig { enable_stdout: false, ..Default::default() });
    let _ = system.observer().unwrap();
    assert_eq!(system.shutdown(), system.shutdown());
    assert!(matches!(system.observer().unwrap_err(), InitError::ShutDown));
}
