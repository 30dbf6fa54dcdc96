//! What an observer costs: the router under it, over the router that nobody watches.

use crate::Run;
use anyhow::Result;
use tiny_dancer_benches::bridge::{Bridge, Subscriber};
use tiny_dancer_benches::{Case, Subject, Turns, subject_anywhere, subjects};

/// Requests of a turn in which one in a hundred is recorded, so that each turn has its share of what those cost.
const SAMPLED: u64 = 1000;

pub(crate) fn measure(run: &Run) -> Result<()> {
    let (subjects, system) = subjects()?;
    for mut subject in subjects {
        if subject.name() == "none" {
            continue;
        }
        for (size, case) in Case::all() {
            let id = format!("{}/{size}", subject.name());
            let least = if subject.name() == "metrics" { 1 } else { SAMPLED };
            pair(run, &id, &mut *subject, &case, least)?;
        }
    }
    eprintln!("traces: {}", system.shutdown());
    // Another subscriber beside the system's changes what all of `tracing` has to ask, so it comes last.
    let subscriber = Subscriber::new();
    let mut bridge = subject_anywhere("bridge", || Ok(Bridge))?;
    for (size, case) in Case::all() {
        subscriber.within(|| pair(run, &format!("bridge/{size}"), &mut *bridge, &case, SAMPLED))?;
    }
    Ok(())
}

fn pair(run: &Run, id: &str, watched: &mut dyn Subject, case: &Case, least: u64) -> Result<()> {
    if run.wants(id) {
        let mut alone = subject_anywhere("none", || Ok(()))?;
        let mut turns = Turns::default();
        turns.add("none", |times| alone.route(case, times));
        turns.add_at_least("watched", least, |times| watched.route(case, times));
        // Of many candidates an observer costs a few percent, which takes longer to tell.
        let time = if case.candidates().len() < 100 { run.time() } else { 4 * run.time() };
        run.tell_ratio(id, &turns.measure(time), "watched", "none");
    }
    Ok(())
}
