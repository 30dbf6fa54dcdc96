//! A scrape of eight routers in each text format, in milliseconds.

use crate::Run;
use anyhow::Result;
use std::hint::black_box;
use tiny_dancer::observer::{Detail, Observer, RequestStart};
use tiny_dancer::parts::core;
use tiny_dancer::parts::core::observer::SpanIds;
use tiny_dancer::parts::metrics::exposition::{Format, export};
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::{MetricsCollector, MetricsConfig, Prices, RiskBudget, RouterConfig};
use tiny_dancer_benches::{Case, Turns};

/// The routers on one registry.
const ROUTERS: usize = 8;

pub(crate) fn measure(run: &Run) -> Result<()> {
    let formats =
        [("scrape/text", Format::Text), ("scrape/openmetrics", Format::OpenMetrics { created: false })];
    if !formats.iter().any(|(id, _)| run.selects(id)) {
        return Ok(());
    }
    let (registry, case) = (Registry::new(), Case::new(10, 384));
    let routers: Vec<_> = (0..ROUTERS).map(|number| router(&registry, number)).collect::<Result<_>>()?;
    for router in &routers {
        for _ in 0..1000 {
            router.route(case.request())?;
        }
    }
    let mut turns = Turns::default();
    for (id, format) in formats {
        let registry = &registry;
        turns.add(id, move |times| {
            for _ in 0..times {
                black_box(export(registry, format).map_or(0, |text| text.len()));
            }
        });
    }
    let measured = turns.measure(run.time());
    for (id, _) in formats {
        let time = measured.time(id);
        run.report(id, time.times(1e-6), &[("scrape", time.median)]);
    }
    Ok(())
}

/// A router with all families, whose requests leave exemplars.
fn router(registry: &Registry, number: usize) -> Result<core::Router<(Recorded, MetricsCollector)>> {
    let prices = Some(Prices { lightweight: 0.0002, powerful: 0.006, repeated: false });
    let const_labels = vec![("router".to_owned(), number.to_string())];
    let metrics = MetricsCollector::with_config(
        registry,
        &MetricsConfig { const_labels, prices, ..Default::default() },
    )?;
    let risk = Some(RiskBudget { alpha: 0.15, delta: 0.05 });
    let config = RouterConfig { risk, ..Default::default() };
    Ok(core::Router::with_observer(config, (Recorded, metrics))?)
}

/// Gives each request a span.
struct Recorded;

impl Observer for Recorded {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Unsuccessful
    }

    fn span(&self, (): &()) -> Option<SpanIds> {
        Some(SpanIds { trace: 1 << 127 | 1, span: 1 })
    }
}
