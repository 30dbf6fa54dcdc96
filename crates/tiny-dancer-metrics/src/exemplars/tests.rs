use super::*;
use std::sync::atomic::AtomicBool;

fn exemplar(number: u64) -> Exemplar {
    let trace = u128::from(number) << 64 | u128::from(!number);
    Exemplar { span: SpanIds { trace, span: number }, value: number as f64, time: number as i64 }
}

#[test]
fn the_newest_exemplar_of_a_bucket_is_read() {
    let exemplars = Exemplars::new(3);
    assert_eq!(exemplars.of(&ROUTING_LATENCY, 1), [None; 3]);
    exemplars.latency.write(1, 2, exemplar(7));
    exemplars.latency.write(1, 2, exemplar(8));
    assert_eq!(exemplars.of(&ROUTING_LATENCY, 1), [None, None, Some(exemplar(8))]);
    assert_eq!(exemplars.of(&ROUTING_LATENCY, 0), [None; 3]);
    exemplars.errors.write(0, 0, exemplar(9));
    assert_eq!(exemplars.of(&ERRORS, 0), [Some(exemplar(9))]);
    assert_eq!(exemplars.of(&crate::catalogue::OUTCOMES, 0), []);
}

#[test]
fn a_reader_sees_whole_exemplars_while_threads_write() {
    let (slot, done) = (Slot::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let slot = &slot;
                scope.spawn(move || (1..20_000).for_each(|number| slot.write(exemplar(number * 2 + thread))))
            })
            .collect();
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(read) = slot.read() {
                    assert_eq!(read, exemplar(read.span.span));
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(slot.read().is_some());
}
