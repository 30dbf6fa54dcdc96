//! Routing by a search of a set, over reading the same bytes once.

use crate::Run;
use anyhow::Result;
use std::hint::black_box;
use tiny_dancer::parts::core::{Query, Router};
use tiny_dancer::{RouterConfig, RoutingResponse};
use tiny_dancer_benches::{Turns, set};
use tiny_dancer_core::testing::kernels::embeddings;

/// The number of nearest candidates that a request is routed by.
const NEAREST: usize = 64;

pub(crate) fn measure(run: &Run) -> Result<()> {
    for candidates in [10_000, 100_000, 1_000_000] {
        let id = format!("search/{candidates}x384");
        // A million rows are 1.5 GB, and making them takes long.
        if !run.selects(&id) || (candidates == 1_000_000 && !run.full) {
            continue;
        }
        let (candidates, query) = set::random(candidates, 384)?;
        let (router, mut response) = (Router::new(RouterConfig::default())?, RoutingResponse::default());
        let query = Query { now: Some(0), ..Query::new(&query) };
        let mut turns = Turns::default();
        turns.add("read", |times| (0..times).for_each(|_| set::read(black_box(embeddings(&candidates)))));
        turns.add("search", |times| {
            for _ in 0..times {
                let found = router.route_set_into(black_box(query), &candidates, NEAREST, &mut response);
                found.expect("the query is valid");
                black_box(&response);
            }
        });
        run.report_ratio(&id, &turns.measure(run.time()), "search", "read");
    }
    Ok(())
}
