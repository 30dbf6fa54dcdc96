//! The costs of observers and of a quality budget: the router with each, and the facade's router, over core's router without.

use crate::Run;
use anyhow::Result;
use tiny_dancer_benches::bridge::{Bridge, Subscriber};
use tiny_dancer_benches::{Case, Subject, Turns, budgeted, facade_metrics, subject_at_places, subjects};

/// Requests of a turn where one in a hundred is recorded, so that each turn has its share of recorded ones.
const SAMPLED: u64 = 1000;

pub(crate) fn measure(run: &Run) -> Result<()> {
    sizes(run, &mut *budgeted()?, 1)?;
    // Before the next line, which installs tracing.
    sizes(run, &mut *facade_metrics()?, 1)?;
    let (subjects, system) = subjects()?;
    for mut subject in subjects {
        match subject.name() {
            "none" => {}
            "metrics" => sizes(run, &mut *subject, 1)?,
            _ => sizes(run, &mut *subject, SAMPLED)?,
        }
    }
    eprintln!("traces: {}", system.shutdown());
    // Last, since a second subscriber makes every check of `tracing` slower.
    let subscriber = Subscriber::new();
    let mut bridge = subject_at_places("bridge", || Ok(Bridge))?;
    subscriber.within(|| sizes(run, &mut *bridge, SAMPLED))
}

/// Compares it with no observer at each size, in turns of `least` requests or more.
fn sizes(run: &Run, subject: &mut dyn Subject, least: u64) -> Result<()> {
    for (size, case) in Case::all() {
        pair(run, &format!("{}/{size}", subject.name()), subject, &case, least)?;
    }
    Ok(())
}

fn pair(run: &Run, id: &str, observed: &mut dyn Subject, case: &Case, least: u64) -> Result<()> {
    if run.selects(id) {
        let mut plain = subject_at_places("none", || Ok(()))?;
        let mut turns = Turns::default();
        turns.add("none", |times| plain.route(case, times));
        turns.add_at_least("observed", least, |times| observed.route(case, times));
        // With many candidates an observer costs a few percent, and measuring that takes longer.
        let time = if case.candidates().len() < 100 { run.time() } else { 4 * run.time() };
        run.report_ratio(id, &turns.measure(time), "observed", "none");
    }
    Ok(())
}
