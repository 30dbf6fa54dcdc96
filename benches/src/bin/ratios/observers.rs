//! What observers cost: the router under each, and the facade's router, over core's router without an observer.

use crate::Run;
use anyhow::Result;
use tiny_dancer_benches::bridge::{Bridge, Subscriber};
use tiny_dancer_benches::{Case, Subject, Turns, scraped, subject_anywhere, subjects};

/// Requests of a turn in which one in a hundred is recorded, so that each turn has its share of what those cost.
const SAMPLED: u64 = 1000;

pub(crate) fn measure(run: &Run) -> Result<()> {
    // First, since from the next line on tracing is installed.
    sizes(run, &mut *scraped()?, 1)?;
    let (subjects, system) = subjects()?;
    for mut subject in subjects {
        match subject.name() {
            "none" => {}
            "metrics" => sizes(run, &mut *subject, 1)?,
            _ => sizes(run, &mut *subject, SAMPLED)?,
        }
    }
    eprintln!("traces: {}", system.shutdown());
    // Another subscriber beside the system's changes what all of `tracing` has to ask, so it comes last.
    let subscriber = Subscriber::new();
    let mut bridge = subject_anywhere("bridge", || Ok(Bridge))?;
    subscriber.within(|| sizes(run, &mut *bridge, SAMPLED))
}

/// Compares it with none at each size, in turns of at least so many requests.
fn sizes(run: &Run, subject: &mut dyn Subject, least: u64) -> Result<()> {
    for (size, case) in Case::all() {
        pair(run, &format!("{}/{size}", subject.name()), subject, &case, least)?;
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
