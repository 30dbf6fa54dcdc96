//! The router without an observer compared with the naive one, and with itself at a hundred times as many candidates and with
//! squares outside of f32's range.

use crate::Run;
use anyhow::Result;
use std::cell::RefCell;
use std::hint::black_box;
use tiny_dancer::parts::core::{Model, RouterConfig};
use tiny_dancer_benches::naive::Naive;
use tiny_dancer_benches::{Case, DIMENSIONS, Quartiles, Ring, Turns, subject_at_places};

pub(crate) fn measure(run: &Run) -> Result<()> {
    same(run)?;
    rotating(run)?;
    many(run)?;
    out_of_range(run)
}

/// The same request again and again.
fn same(run: &Run) -> Result<()> {
    for (size, case) in Case::all() {
        let id = format!("naive/{size}");
        if !run.selects(&id) {
            continue;
        }
        let mut router = subject_at_places("none", || Ok(()))?;
        let naive = Naive::new(&Model::embedded(), RouterConfig::default());
        let mut turns = Turns::default();
        turns.add("router", |times| router.route(&case, times));
        turns.add("naive", |times| {
            for _ in 0..times {
                black_box(naive.route(black_box(case.request()))).expect("the request is valid");
            }
        });
        run.report_ratio(&id, &turns.measure(run.time()), "naive", "router");
    }
    Ok(())
}

/// Another request each time.
fn rotating(run: &Run) -> Result<()> {
    for candidates in [1, 10, 100] {
        let id = format!("naive/{candidates}x384/rotating");
        if !run.selects(&id) {
            continue;
        }
        let ring = RefCell::new(Ring::new(candidates, 384));
        let mut router = subject_at_places("none", || Ok(()))?;
        let naive = Naive::new(&Model::embedded(), RouterConfig::default());
        let mut turns = Turns::default();
        turns.add("router", |times| router.route_around(&mut ring.borrow_mut(), times));
        turns.add("naive", |times| {
            for _ in 0..times {
                let mut ring = ring.borrow_mut();
                black_box(naive.route(ring.advance().request())).expect("the request is valid");
            }
        });
        run.report_ratio(&id, &turns.measure(run.time()), "naive", "router");
    }
    Ok(())
}

/// The time of one candidate of a thousand over that of one of ten.
fn many(run: &Run) -> Result<()> {
    for &dimensions in DIMENSIONS {
        let id = format!("per-candidate/{dimensions}");
        if !run.selects(&id) {
            continue;
        }
        let (few, many) = (Case::new(10, dimensions), Case::new(1000, dimensions));
        let (mut few_router, mut many_router) =
            (subject_at_places("none", || Ok(()))?, subject_at_places("none", || Ok(()))?);
        let mut turns = Turns::default();
        turns.add("10", |times| few_router.route(&few, times));
        turns.add("1000", |times| many_router.route(&many, times));
        let measured = turns.measure(run.time());
        let each: Quartiles = measured.ratio("1000", "10").times(10.0 / 1000.0);
        let times = [("10", measured.time("10").median), ("1000", measured.time("1000").median)];
        run.report(&id, each, &times);
    }
    Ok(())
}

/// The time of a request with squares outside of f32's range over that of a plain one.
fn out_of_range(run: &Run) -> Result<()> {
    for candidates in [1, 10, 100] {
        let id = format!("exact/{candidates}x384");
        if !run.selects(&id) {
            continue;
        }
        let case = Case::new(candidates, 384);
        let far = case.clone().out_of_range();
        let (mut plain_router, mut exact_router) =
            (subject_at_places("none", || Ok(()))?, subject_at_places("none", || Ok(()))?);
        let mut turns = Turns::default();
        turns.add("plain", |times| plain_router.route(&case, times));
        turns.add("exact", |times| exact_router.route(&far, times));
        run.report_ratio(&id, &turns.measure(run.time()), "exact", "plain");
    }
    Ok(())
}
